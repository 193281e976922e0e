"""Tasks of sentences: STS and transfer, their files, and the vectors that are kept."""
