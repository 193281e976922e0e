"""Tables, JSON and JSON lines: each record is a document."""
