"""Collections in PostgreSQL with pgvector: many writers and readers, on many machines."""
