"""The tables that only a collection in a folder has: vectors that are in no shard yet, and the shards."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, Table, Text

from indexer.storage.sql.schema import metadata

HEAD = "0004"
"""The newest migration."""

staged = Table(  # vectors that are in no shard yet
    "staged",
    metadata,
    Column("id", Integer, ForeignKey("passages.id", ondelete="CASCADE"), primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)

shards = Table(
    "shards",
    metadata,
    Column("name", Text, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
)
