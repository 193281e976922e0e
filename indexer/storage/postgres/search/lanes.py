"""Several connections that see one and the same snapshot, so that threads need not wait for each other's queries."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlalchemy import text

from indexer.errors import StoreError
from indexer.storage.postgres.server.failures import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

T = TypeVar("T")
MOST = 4
"""Connections of one snapshot."""


class Lanes(Generic[T]):
    """A first connection and more that import its snapshot, opened when several threads ask at a time.

    Each has something of its own made for it (``T``), which is given to one thread at a time.
    """

    def __init__(
        self, first: Connection, another: Callable[[str], Connection], make: Callable[[Connection], T], where: str
    ) -> None:
        """Take over the first connection, which is in a REPEATABLE READ transaction.

        Args:
            first: It.
            another: Returns a connection in a transaction of the snapshot of this name.
            make: Returns what is made for a connection.
            where: The server, for messages.
        """
        self._snapshot: str = first.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        self._another = another
        self._make = make
        self._where = where
        self._open = [first]
        self._idle: list[T] = [make(first)]
        self._most = MOST
        self._change = threading.Condition()
        self.closed = False

    @contextmanager
    def take(self) -> Iterator[T]:
        """Give one to this thread.

        Raises:
            StoreError: They have been closed.
        """
        lane = self._taken()
        try:
            with translated(self._where):
                yield lane
        finally:
            with self._change:
                self._idle.append(lane)
                self._change.notify()
            if self.closed:
                self._end()

    def _taken(self) -> T:
        with self._change:
            while not self._idle and len(self._open) >= self._most and not self.closed:
                self._change.wait()
            if self.closed:
                raise StoreError("this snapshot is closed; take another one")
            if self._idle:
                return self._idle.pop()
            try:
                with translated(self._where):
                    connection = self._another(self._snapshot)
                    self._open.append(connection)
                    return self._make(connection)
            except StoreError:  # too many connections: make do with those that there are
                self._most = len(self._open)
        return self._taken()

    def close(self) -> None:
        """End the transactions; one that is in use ends with its use."""
        self.closed = True
        with self._change:
            self._change.notify_all()
        self._end()

    def _end(self) -> None:
        with self._change:
            if len(self._idle) < len(self._open):
                return
            while self._open:
                with suppress(StoreError), translated(self._where):  # the server may be gone
                    self._open.pop().close()
            self._idle.clear()
