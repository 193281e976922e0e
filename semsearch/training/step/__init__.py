"""One step: the model in training, its teacher, the losses, and gradients in micro-batches."""
