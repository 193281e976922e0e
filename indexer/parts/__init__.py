"""A run in parts: read and embedded side by side, on one machine or many, and taken into one collection."""
