"""Whatever it takes to give documents back whole; warnings and identities of files; from when on each vector counts.

``embedded`` was 0 or 1 and now is the generation from which the vector counts, at the earliest: 1 stays right.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    "ALTER TABLE files ADD COLUMN warnings TEXT",
    "ALTER TABLE files ADD COLUMN ctime_ns INTEGER",
    "ALTER TABLE files ADD COLUMN inode INTEGER",
    "ALTER TABLE documents ADD COLUMN position INTEGER",
    "ALTER TABLE documents ADD COLUMN layout TEXT",
    "ALTER TABLE passages ADD COLUMN lead TEXT",
    "ALTER TABLE passages ADD COLUMN heading TEXT",
    "CREATE INDEX passages_embedded ON passages (embedded) WHERE embedded > 1",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
