"""Search in a database: the nearest vectors, the best words, and threads that share what one snapshot sees."""
