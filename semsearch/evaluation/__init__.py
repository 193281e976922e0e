"""Measure embedding and search quality, and compare two results."""
