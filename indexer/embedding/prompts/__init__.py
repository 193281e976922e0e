"""Texts → prompts: templates, the normalisation of texts, and encoders by name."""
