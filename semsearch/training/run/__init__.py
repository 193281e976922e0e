"""A run around its steps: its folder, its card, what it will take, its processes."""
