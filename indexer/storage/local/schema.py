"""The tables of catalog.sqlite. Migrations build them; these definitions say what the newest migration arrives at."""

from __future__ import annotations

from sqlalchemy import (
    BLOB,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

HEAD = "0003"
"""The newest migration."""

metadata = MetaData()

state = Table(
    "state",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("generation", Integer, nullable=False),  # of the last commit that changed what a search sees
    Column("oldest", Integer, nullable=False),  # oldest generation whose rows are all still here
)

roots = Table(
    "roots",
    metadata,
    Column("path", Text, primary_key=True),
    Column("options", Text, nullable=False),  # JSON
)

files = Table(
    "files",
    metadata,
    Column("path", Text, primary_key=True),
    Column("root", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    Column("digest", Text),
    Column("status", Text, nullable=False),
    Column("reason", Text),
)

documents = Table(
    "documents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("record", Text),
    Column("kind", Text, nullable=False),
    Column("title", Text),
    Column("fields", Text, nullable=False),  # JSON object of strings
    Column("mtime_ns", Integer, nullable=False),
    Column("digest", BLOB, nullable=False),  # of everything that a hit shows, to see that it has not changed
    Column("missing", Integer, nullable=False),  # passages that have no vector yet
    Column("outdated", Integer, nullable=False, server_default=text("0")),  # 1: newer contents of the file are pending
    Column("born", Integer),  # first generation that shows it; NULL: pending
    Column("died", Integer),  # first generation that no longer does
    sqlite_autoincrement=True,
)
Index("documents_path", documents.c.path)
Index("documents_born", documents.c.born)
Index("documents_died", documents.c.died, sqlite_where=documents.c.died.isnot(None))
Index("documents_outdated", documents.c.path, sqlite_where=text("outdated = 1 AND died IS NULL"))
Index("documents_pending", documents.c.missing, documents.c.path, sqlite_where=documents.c.born.is_(None))

passages = Table(
    "passages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("document_id", Integer, ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("text", Text, nullable=False),
    Column("digest", Integer, nullable=False),  # 64 bits of the text's hash: finds equal texts, which are then compared
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("line_start", Integer, nullable=False),
    Column("line_end", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("page", Integer),
    Column("embedded", Integer, nullable=False),
    sqlite_autoincrement=True,
)
Index("passages_document", passages.c.document_id)
Index("passages_digest", passages.c.digest)
Index("passages_unembedded", passages.c.id, sqlite_where=text("embedded = 0"))

staged = Table(  # vectors that are in no shard yet
    "staged",
    metadata,
    Column("id", Integer, ForeignKey("passages.id", ondelete="CASCADE"), primary_key=True),
    Column("vector", BLOB, nullable=False),
)

sparse = Table(  # sparse vectors, in collections that have them
    "sparse",
    metadata,
    Column("id", Integer, ForeignKey("passages.id", ondelete="CASCADE"), primary_key=True),
    Column("terms", BLOB, nullable=False),  # as postings.py packs them
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

LEXICAL = (
    # What a search by words sees: the published passages, with their document's title.
    """CREATE VIEW words_content AS SELECT p.id AS id, coalesce(d.title, '') AS title, p.text AS text
       FROM passages p JOIN documents d ON d.id = p.document_id 
       WHERE d.born < coalesce(d.died, d.born + 1)""",
    """CREATE VIRTUAL TABLE words USING fts5(title, text, content='words_content', content_rowid='id',
       tokenize='porter unicode61 remove_diacritics 2')""",
)
"""Full text, as FTS5 keeps it: no copy of the texts, they are read through the view."""
