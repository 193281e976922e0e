"""What agents ask: four read-only tools over the Model Context Protocol, on standard input and at ``/mcp``."""
