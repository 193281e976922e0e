"""The first tables.

Written out rather than taken from schema.py: a migration describes what was, and stays as it is.
"""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), generation INTEGER NOT NULL, oldest INTEGER NOT NULL)",
    "INSERT INTO state VALUES (1, 0, 0)",
    "CREATE TABLE roots (path TEXT NOT NULL PRIMARY KEY, options TEXT NOT NULL)",
    """CREATE TABLE files (path TEXT NOT NULL PRIMARY KEY, root TEXT NOT NULL, size INTEGER NOT NULL,
       mtime_ns INTEGER NOT NULL, digest TEXT, status TEXT NOT NULL, reason TEXT)""",
    """CREATE TABLE documents (id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, record TEXT,
       kind TEXT NOT NULL, title TEXT, fields TEXT NOT NULL, mtime_ns INTEGER NOT NULL, digest BLOB NOT NULL,
       missing INTEGER NOT NULL, outdated INTEGER NOT NULL DEFAULT 0, born INTEGER, died INTEGER)""",
    "CREATE INDEX documents_path ON documents (path)",
    "CREATE INDEX documents_born ON documents (born)",
    "CREATE INDEX documents_died ON documents (died) WHERE died IS NOT NULL",
    "CREATE INDEX documents_outdated ON documents (path) WHERE outdated = 1 AND died IS NULL",
    "CREATE INDEX documents_pending ON documents (missing, path) WHERE born IS NULL",
    """CREATE TABLE passages (id INTEGER PRIMARY KEY AUTOINCREMENT,
       document_id INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE, text TEXT NOT NULL,
       digest INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, line_start INTEGER NOT NULL,
       line_end INTEGER NOT NULL, tokens INTEGER NOT NULL, page INTEGER, embedded INTEGER NOT NULL)""",
    "CREATE INDEX passages_document ON passages (document_id)",
    "CREATE INDEX passages_digest ON passages (digest)",
    "CREATE INDEX passages_unembedded ON passages (id) WHERE embedded = 0",
    """CREATE TABLE staged (id INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
       vector BLOB NOT NULL)""",
    """CREATE TABLE shards (name TEXT NOT NULL PRIMARY KEY, rows INTEGER NOT NULL, size INTEGER NOT NULL,
       mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL)""",
    """CREATE VIEW words_content AS SELECT p.id AS id, coalesce(d.title, '') AS title, p.text AS text
       FROM passages p JOIN documents d ON d.id = p.document_id WHERE d.born IS NOT NULL""",
    """CREATE VIRTUAL TABLE words USING fts5(title, text, content='words_content', content_rowid='id',
       tokenize='porter unicode61 remove_diacritics 2')""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
