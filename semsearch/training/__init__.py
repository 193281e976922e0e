"""Training of adapters: recipes, data, the contrastive loss, gradient caching, the trainer."""
