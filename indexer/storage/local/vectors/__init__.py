"""Raw vectors in immutable files, and the tables that know them."""
