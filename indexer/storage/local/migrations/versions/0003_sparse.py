"""A table for sparse vectors."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """CREATE TABLE sparse (id INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
           terms BLOB NOT NULL)"""
    )
