"""Search by words: FTS5 and its older tokenizer, and the inverted lists of sparse vectors."""
