"""One encoder for many callers: the warm server, its client, and what agents ask it with."""
