"""files → documents → passages."""
