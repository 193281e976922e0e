"""One collection in one folder: SQLite for files, passages and words, safetensors for vectors, FAISS for the index."""
