"""A SQLite file: connections, transactions and errors."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Connection, CursorResult, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from indexer.errors import CorruptError, FormatError, LockedError, StoreError
from indexer.storage.local import schema
from indexer.storage.filters import matches_path


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLAlchemy's errors as ours (and those of SQLite itself, while a connection is made)."""
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:
        reason = str(error.orig if isinstance(error, DatabaseError) else error)
        if "locked" in reason or "busy" in reason:
            raise LockedError(f"{path} is locked by another program ({reason}); try again when it has ended") from error
        if "full" in reason or "disk I/O" in reason or "readonly" in reason or "unable to open" in reason:
            raise StoreError(f"cannot use {path}: {reason}; look at free space and permissions") from error
        raise CorruptError(f"{path} is damaged: {reason}; run `semsearch doctor`") from error
    except SQLAlchemyError as error:
        raise StoreError(f"{path}: {error}") from error


def run(
    connection: Connection, query: str, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
) -> CursorResult[Any]:
    """Execute SQL with named values; a list of them, once for each."""
    return connection.execute(text(query), values)


class Database:
    """One SQLite file. A writable one works in one transaction, from the first statement to ``flush`` or
    ``rollback``; a readable one takes a connection for each read, and may be asked by several threads."""

    def __init__(self, path: Path, writable: bool):
        self.path = path
        self._writable = writable
        self._engine = _engine(path, writable)
        self._connection: Connection | None = None  # the writer's
        self._lock = threading.RLock()  # one writer connection may be asked by several threads

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new catalog with the newest tables. It is whole or absent, whenever the process dies."""
        from indexer.storage.local.migrations import upgrade

        catalog = cls(path, writable=True)
        with translated(path), catalog.writing() as connection:
            upgrade(connection)
        catalog.flush()
        return catalog

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection in a transaction: several statements see one state."""
        with translated(self.path):
            if self._writable:
                with self._lock:
                    yield self._writer()
            else:
                with self._engine.connect() as connection, connection.begin():
                    yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The writer's connection; a failure undoes this step alone."""
        with self._lock, translated(self.path), self._writer().begin_nested():
            yield self._writer()

    def _writer(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        if not self._connection.in_transaction():
            self._connection.begin()
        return self._connection

    def rollback(self) -> None:
        with self._lock, translated(self.path):
            if self._connection is not None:
                self._connection.rollback()

    def flush(self) -> None:
        """Make what was written durable, without publishing anything."""
        with self._lock, translated(self.path):
            if self._connection is not None:
                try:
                    self._connection.commit()
                except BaseException:  # a full disk: SQLite has undone it all already, the connection must know
                    self._connection.rollback()
                    raise

    def shrink(self) -> None:
        """Give the space of deleted rows back to the disk. Ends the transaction."""
        self.flush()
        with self._lock, translated(self.path), self._engine.connect() as connection:
            driver = connection.connection.driver_connection  # VACUUM works outside of transactions only
            for statement in (
                "INSERT INTO words (words) VALUES ('optimize')",
                "VACUUM",
                "PRAGMA busy_timeout = 0",  # do not wait for readers: the next checkpoint will do
                "PRAGMA wal_checkpoint(TRUNCATE)",
                "PRAGMA busy_timeout = 30000",
            ):
                driver.execute(statement).fetchall()

    def outdated(self) -> bool:
        """Whether the tables are those of an older version. Raises FormatError for those of a newer one."""
        with self.reading() as connection:
            found = run(connection, "SELECT version_num FROM alembic_version").scalar()
        if found is None or found > schema.HEAD:
            raise FormatError(
                f"{self.path} is at migration {found}, this version of semsearch knows up to {schema.HEAD}: "
                "install a newer semsearch"
            )
        return found != schema.HEAD

    def migrate(self) -> None:
        """Bring the tables up to date, in one step."""
        from indexer.storage.local.migrations import upgrade

        with self.writing() as connection:
            upgrade(connection)
        self.flush()


def _engine(path: Path, writable: bool) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path.absolute())), connect_args={"check_same_thread": False, "timeout": 30}
    )

    @event.listens_for(engine, "connect")
    def connect(connection, _record) -> None:
        connection.isolation_level = None  # transactions are ours to begin, not the driver's
        connection.create_function(
            "matches_path", 2, lambda globs, name: matches_path(tuple(json.loads(globs)), name), deterministic=True
        )
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL", "busy_timeout = 30000"):
            connection.execute(f"PRAGMA {pragma}")
        if not writable:
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writable else "BEGIN")

    return engine
