"""Bytes → clean text: encodings, terminals' marks, runs of encoded bytes."""
