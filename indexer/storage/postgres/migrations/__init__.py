"""Alembic migrations of a collection's schema, run where a collection is made or was written by an older version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from indexer.storage.sql import migrating

if TYPE_CHECKING:
    from sqlalchemy import Connection


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables of the first schema in the search path to ``revision``, within the connection's transaction."""
    migrating.upgrade(connection, Path(__file__).parent, revision)
