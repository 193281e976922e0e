"""Keep one view of a store for all who search it, and replace it when the store has changed."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semsearch.search.asking.weights import Weights
from semsearch.search.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.storage.store import Store


@dataclass
class _Held:
    """A view with the number of those who use it."""

    view: View
    users: int = 0
    retired: bool = False

    def close_if_done(self) -> None:
        if self.retired and not self.users:
            self.view.snapshot.close()


class Views:
    """The latest view of a store. Safe to use from many threads.

    A view lasts until its last user is done with it, also when a newer one has taken its place.
    """

    def __init__(self, store: Store):
        """Watch a store."""
        self._store = store
        self._lock = threading.Lock()
        self._held: _Held | None = None

    @contextmanager
    def latest(self) -> Iterator[View]:
        """Give what the store shows now, pinned for as long as the context lasts."""
        held = self._take()
        try:
            yield held.view
        finally:
            with self._lock:
                held.users -= 1
                held.close_if_done()

    def forget(self) -> None:
        """Let the view that is kept go, such as when the collection's weights have changed."""
        with self._lock:
            self._retire()

    def _take(self) -> _Held:
        version = self._store.version()
        with self._lock:
            if self._held is None or self._held.view.snapshot.version != version:
                self._retire()
                self._held = _Held(self._look())
            self._held.users += 1
            return self._held

    def _look(self) -> View:
        snapshot = self._store.snapshot()
        try:
            return View(snapshot, Weights.of(self._store), self._store.name)
        except BaseException:
            snapshot.close()
            raise

    def _retire(self) -> None:
        if self._held is not None:
            self._held.retired = True
            self._held.close_if_done()
            self._held = None
