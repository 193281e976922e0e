"""One transaction of a writer, over any database: from its first statement until it is flushed or rolled back."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine


class WritingTransaction:
    """A connection that collects changes until ``flush`` makes them durable, or ``rollback`` drops them."""

    def __init__(self, engine: Engine, translated: Callable[[], AbstractContextManager[None]]) -> None:
        """Connect at the first statement.

        Args:
            engine: Makes the connection.
            translated: Returns a context that raises the database's errors as ours.
        """
        self.engine = engine
        self._translated = translated
        self._connection: Connection | None = None
        self._lock = threading.RLock()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Give the connection, in its transaction."""
        with self._lock, self._translated():
            if self._connection is None:
                self._connection = self.engine.connect()
            if not self._connection.in_transaction():
                self._connection.begin()
            yield self._connection

    @contextmanager
    def step(self) -> Iterator[Connection]:
        """Give the connection for a few statements; a failure undoes these alone."""
        with self.connection() as connection, connection.begin_nested():
            yield connection

    def rollback(self) -> None:
        """Undo everything since the last flush."""
        with self._lock, self._translated():
            if self._connection is not None:
                self._connection.rollback()

    def flush(self) -> None:
        """Make everything durable."""
        with self._lock, self._translated():
            if self._connection is not None:
                try:
                    self._connection.commit()
                except BaseException:  # a full disk: the database has undone it all already, the connection must know
                    self._connection.rollback()
                    raise

    def close(self) -> None:
        """Drop what was not flushed."""
        with self._lock:
            connection, self._connection = self._connection, None
            try:
                if connection is not None:
                    with self._translated():
                        connection.close()
            finally:
                self.engine.dispose()
