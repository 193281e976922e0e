"""Files → passages → vectors → stores."""
