"""Run Alembic's migrations of one database over a connection that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection


def upgrade(connection: Connection, scripts: Path, revision: str = "head") -> None:
    """Bring the tables to ``revision`` within the connection's transaction.

    Args:
        connection: In a transaction.
        scripts: The folder of the database's migrations.
        revision: The last of them to run.
    """
    from alembic import command  # here: it takes 0.2 s to import and is rarely needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
