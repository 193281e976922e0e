"""Full text leaves out contents that were replaced before they were ever shown (born and dead in one generation)."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("DROP VIEW words_content")
    op.execute(
        """CREATE VIEW words_content AS SELECT p.id AS id, coalesce(d.title, '') AS title, p.text AS text
           FROM passages p JOIN documents d ON d.id = p.document_id
           WHERE d.born < coalesce(d.died, d.born + 1)"""
    )
