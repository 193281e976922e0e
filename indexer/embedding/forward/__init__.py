"""Token ids → vectors: a plain forward for every family, and faster ones that give the same."""
