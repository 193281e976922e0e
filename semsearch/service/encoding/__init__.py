"""One thread that encodes for all callers of a server: what waits, who is read next, who has gone."""
