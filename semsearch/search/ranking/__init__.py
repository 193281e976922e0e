"""Candidates of each retriever → one ranking → the passages that become hits."""
