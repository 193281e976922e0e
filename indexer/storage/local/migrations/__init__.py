"""Alembic migrations of catalog.sqlite, run on opening a collection that an older version wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from indexer.storage.sql import migrating

if TYPE_CHECKING:
    from sqlalchemy import Connection


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to ``revision`` within the connection's transaction."""
    migrating.upgrade(connection, Path(__file__).parent, revision)
