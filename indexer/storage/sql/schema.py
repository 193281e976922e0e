"""The tables that every SQL store has, in SQLAlchemy Core.

A document is born with the first commit that shows it and dies with the first that no longer does. A passage notes the
commit from which its vector counts. Migrations build the tables; these definitions say where they arrive.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData()

Id = BigInteger().with_variant(Integer, "sqlite")

state = Table(
    "state",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("generation", Id, nullable=False),  # of the last commit that changed what a search sees
    Column("oldest", Id, nullable=False),  # oldest generation whose rows are all still here
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
    Column("size", Id, nullable=False),
    Column("mtime_ns", Id, nullable=False),
    Column("digest", Text),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("warnings", Text),  # JSON list; NULL: none
    Column("ctime_ns", Id),  # NULL: not known
    Column("inode", Id),
)

documents = Table(
    "documents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("path", Text, nullable=False),
    Column("record", Text),
    Column("kind", Text, nullable=False),
    Column("title", Text),
    Column("fields", Text, nullable=False),  # JSON object of strings
    Column("mtime_ns", Id, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # of everything that a hit shows, to see that it has not changed
    Column("missing", Integer, nullable=False),  # passages that have no vector yet
    Column("outdated", Integer, nullable=False, server_default=text("0")),  # 1: newer contents of the file are pending
    Column("born", Id),  # first generation that shows it; NULL: pending
    Column("died", Id),  # first generation that no longer does
    Column("position", Integer),  # among the documents of its file; NULL: staged before positions were kept
    Column("layout", Text),  # JSON: what else it takes to give the document back whole
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
    Column("id", Id, primary_key=True),
    Column("document_id", Id, ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("text", Text, nullable=False),
    Column("digest", Id, nullable=False),  # 64 bits of the text's hash: finds equal texts, which are then compared
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("line_start", Integer, nullable=False),
    Column("line_end", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("page", Integer),
    Column("embedded", Id, nullable=False),  # generation from which its vector counts, at the earliest; 0: it has none
    Column("lead", Text),  # the text between the passage before and this one; NULL: staged before it was kept
    Column("heading", Text),
    sqlite_autoincrement=True,
)
Index("passages_document", passages.c.document_id)
Index("passages_digest", passages.c.digest)
Index("passages_unembedded", passages.c.id, sqlite_where=text("embedded = 0"))
Index("passages_embedded", passages.c.embedded, sqlite_where=text("embedded > 1"))

sparse = Table(  # sparse vectors, in collections that have them
    "sparse",
    metadata,
    Column("id", Id, ForeignKey("passages.id", ondelete="CASCADE"), primary_key=True),
    Column("terms", LargeBinary, nullable=False),  # as postings.py packs them
)
