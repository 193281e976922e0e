"""Search in one collection: a query's text → ranked passages → hits."""
