"""GGUF files → model folders in transformers' layout, tensor by tensor, with neither torch nor transformers."""
