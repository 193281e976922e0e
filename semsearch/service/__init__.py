"""Warm server: one encoder and any number of collections for many callers over HTTP."""
