"""The server of a database: its address, connections to it, what its refusals mean, and the collections it keeps."""
