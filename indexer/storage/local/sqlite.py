"""SQLite's own: connections, transactions, errors, and the conditions that other databases write differently."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    TableValuedAlias,
    and_,
    create_engine,
    event,
    exists,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from indexer.errors import CorruptError, FormatError, LockedError, StoreError
from indexer.storage.database import WritingTransaction
from indexer.storage.filters import matches_path
from indexer.storage.local.vectors.tables import HEAD
from indexer.storage.sql.schema import documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np

BUSY_SECONDS = 30
"""Seconds that a writer waits for the file."""


class SqliteDialect:
    """Sets of ids travel as JSON, and paths are matched by our own function; see ``sql.dialect.Dialect``."""

    def among(self, column: ColumnElement[int], ids: Iterable[int] | np.ndarray) -> ColumnElement[bool]:
        """Return the condition that a column is one of the ids."""
        numbers = [int(number) for number in ids]
        each = func.json_each(json.dumps(numbers)).table_valued("value")
        return column.in_(select(each.c.value))

    def path_matches(self, globs: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a document's path matches a glob; each distinct path is looked at once."""
        other = documents.alias("other")
        paths = select(other.c.path).distinct().subquery()
        return documents.c.path.in_(select(paths.c.path).where(func.matches_path(json.dumps(globs), paths.c.path) == 1))

    def field_is(self, name: str, values: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a document's field has one of the values."""
        each = func.json_each(documents.c.fields).table_valued("key", "value", name="field")
        return exists(select(literal(1)).select_from(each).where(and_(each.c.key == name, each.c.value.in_(values))))

    def field_names(self) -> TableValuedAlias:
        """Return the names of a document's fields as rows."""
        return func.json_each(documents.c.fields).table_valued("key", name="field")

    def insert(self, table: Table) -> Insert:
        """Return an INSERT that can say what to do where the row is there already."""
        return insert(table)


SQLITE = SqliteDialect()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLAlchemy's errors as ours, and those of SQLite itself while a connection is made."""
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:
        reason = str(error.orig if isinstance(error, DatabaseError) else error)
        if "locked" in reason or "busy" in reason:
            raise LockedError(f"{path} is locked by another program ({reason}); try again when it has ended") from error
        if any(word in reason for word in ("full", "disk I/O", "readonly", "unable to open")):
            raise StoreError(f"cannot use {path}: {reason}; look at free space and permissions") from error
        raise CorruptError(f"{path} is damaged: {reason}; run `semsearch doctor`") from error
    except SQLAlchemyError as error:
        raise StoreError(f"{path}: {error}") from error


def reading_engine(path: Path) -> Engine:
    """Return an engine whose connections only read, each in one transaction, and leave no trace when they close.

    A connection that may write would, on closing, remove what lies under the name that its write-ahead log had when
    it was opened. That can by then be the log of a collection that has taken this one's place.
    """

    def connect() -> sqlite3.Connection:
        name = f"file:{quote(str(path.absolute()))}"
        options: dict[str, Any] = {"uri": True, "check_same_thread": False, "timeout": BUSY_SECONDS}
        try:
            connection: sqlite3.Connection = sqlite3.connect(f"{name}?mode=ro", **options)
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            log = path.with_name(path.name + "-wal")
            if os.access(path.parent, os.W_OK) or not os.access(path, os.R_OK) or (log.exists() and log.stat().st_size):
                raise
            connection = sqlite3.connect(f"{name}?mode=ro&immutable=1", **options)  # nobody can write here
        return connection

    return _prepared(create_engine("sqlite://", creator=connect, poolclass=NullPool), "BEGIN", ("query_only = ON",))


def writing_engine(path: Path) -> Engine:
    """Return the engine of a writer."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path.absolute(), check_same_thread=False, timeout=BUSY_SECONDS)

    pragmas = ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL")
    return _prepared(create_engine("sqlite://", creator=connect, poolclass=NullPool), "BEGIN IMMEDIATE", pragmas)


def _prepared(engine: Engine, begin: str, pragmas: Sequence[str]) -> Engine:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are ours to begin, not the driver's
        connection.create_function(
            "matches_path", 2, lambda globs, name: matches_path(tuple(json.loads(globs)), name), deterministic=True
        )
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    @event.listens_for(engine, "handle_error")
    def failed(context: Any) -> None:
        # After Ctrl-C SQLAlchemy would give the connection up with its cursor open, and the lock with it.
        if not isinstance(context.original_exception, Exception):
            context.is_disconnect = False

    return engine


class WritingDatabase(WritingTransaction):
    """A writer's connection to one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(writing_engine(path), lambda: translated(path))

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new file with the newest tables. It is whole or absent, whenever the process dies."""
        database = cls(path)
        database.migrate()
        return database

    def shrink(self) -> None:
        """Give the space of deleted rows back to the disk. Ends the transaction."""
        self.flush()
        with translated(self.path), self.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection  # VACUUM works outside of transactions only
            for statement in (
                "INSERT INTO words (words) VALUES ('optimize')",
                "VACUUM",
                "PRAGMA busy_timeout = 0",  # do not wait for readers: the next checkpoint will do
                "PRAGMA wal_checkpoint(TRUNCATE)",
                f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS}",
            ):
                driver.execute(statement).fetchall()

    def migrate(self) -> None:
        """Bring the tables up to date, in one step."""
        from indexer.storage.local.migrations import upgrade

        with self.step() as connection:
            upgrade(connection)
        self.flush()


def outdated(connection: Connection, path: Path) -> bool:
    """Tell whether the tables are those of an older version.

    Raises:
        FormatError: They are those of a newer one.
    """
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is None or found > HEAD:
        raise FormatError(
            f"{path} is at migration {found}, this version of semsearch knows up to {HEAD}: install a newer semsearch"
        )
    return bool(found != HEAD)
