"""Folders: what there is to read in them, what is left out, and what changed."""
