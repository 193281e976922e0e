"""The index of the vectors: planned, built, grown, measured and searched, with FAISS."""
