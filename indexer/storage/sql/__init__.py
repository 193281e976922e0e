"""The catalog in SQL: files, documents, passages and terms, in statements that every database understands."""
