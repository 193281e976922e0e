"""A snapshot of a folder: one read transaction of SQLite, with the files of vectors and the index kept open."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import StoreError
from indexer.storage.local.pinned import index_of, postings_of
from indexer.storage.local.sqlite import SQLITE, translated
from indexer.storage.sql.dialect import restricts
from indexer.storage.sql.packed_terms import unpack
from indexer.storage.sql.reading import CatalogReader
from indexer.storage.sql.snapshot import CatalogSnapshot
from indexer.storage.vectors import best, check_queries, nearest, none, stack
from indexer.types import Neighbours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from indexer.storage.local.fts import Words
    from indexer.storage.local.manifest_file import ManifestFile
    from indexer.storage.local.pinned import PinnedIndex, Shared, Vectors
    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Terms
    from indexer.types import Filter

FEW = 4_096
"""Allowed passages up to which the raw vectors are compared one by one, exact whatever the index's kind."""


class LocalSnapshot(CatalogSnapshot):
    """What one commit of a LocalStore shows; see ``Snapshot``. Made by ``LocalStore.snapshot``."""

    def __init__(
        self,
        path: Path,
        connection: Connection,
        manifest: ManifestFile,
        vectors: Vectors,
        index: PinnedIndex,
        shared: Shared,
        words: Words,
        device: str,
    ):
        """Take over the connection, which is in its transaction."""
        self._path = path
        self._name = path.parent.name
        self._connection = connection
        self._catalog = CatalogReader(connection, SQLITE)
        self._lock = threading.RLock()  # a connection is for one thread at a time
        self._closed = False
        self._file = manifest
        self._vectors = vectors
        self._pinned = index
        self._shared = shared
        self._words = words
        self._device = device
        self._state = self._catalog.state()
        super().__init__(self._state[0])

    @property
    def manifest(self) -> Manifest:
        """The manifest of the collection that the snapshot is of."""
        return self._file.manifest

    @contextmanager
    def _reading(self) -> Iterator[CatalogReader]:
        with self._lock, translated(self._path):
            if self._closed:
                raise StoreError(f"this snapshot of {self._name} is closed; take another one")
            yield self._catalog

    def dense(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the nearest passages."""
        queries = check_queries(self.manifest.dim, queries, k)
        k = min(k, self.counts().passages)
        if not k or not len(queries):
            return none(len(queries), k)
        with self._reading() as catalog:
            allowed = catalog.live(self.generation, filter) if restricts(filter) else None
            if allowed is not None and len(allowed) <= FEW:
                return nearest(allowed, lambda ids: self._vectors.raw(catalog, ids), queries, k)
            index = index_of(self._shared, self._pinned, self._vectors, catalog, self._file, self._state, self._device)
        return index.search(queries, k, allowed)  # outside of the lock: others may read meanwhile

    def lexical(self, queries: Sequence[str], k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the best passages by BM25, with ``full``."""
        check_queries(1, np.zeros((1, 1)), k)
        k = min(k, self.counts().passages)
        found, full = [none(0, k)], []
        for query in queries:
            with self._reading() as catalog:
                known: dict[str, int] = self._shared.get("words", self.version, dict)
                ids, scores, most = self._words.search(catalog.connection, query, k, self.generation, filter, known)
            found.append(best(np.array([ids], np.int64), np.array([scores], np.float32), k))
            full.append(most)
        rows = stack(found)
        return Neighbours(rows.ids, rows.scores, np.array(full, np.float32))

    def sparse(self, queries: Sequence[Terms], k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the best passages by weighted terms."""
        check_queries(1, np.zeros((1, 1)), k)
        self._need_sparse()
        k = min(k, self.counts().passages)
        with self._reading() as catalog:
            allowed = catalog.live(self.generation, filter) if restricts(filter) else None
            base, changes, removed = postings_of(self._shared, catalog, self._file, self._state)
        found = [none(0, k)]
        for query in queries:
            pairs = zip(base.products(query), changes.products(query), strict=True)
            ids, products = (np.concatenate(pair) for pair in pairs)
            kept = ~np.isin(ids, removed)
            if allowed is not None:
                kept &= np.isin(ids, allowed)
            ids, products = ids[kept], products[kept]
            if len(ids) > k > 0:
                good = products >= np.partition(products, len(ids) - k)[len(ids) - k]
                ids, products = ids[good], products[good]
            found.append(best(ids[None], products[None].astype(np.float32), k))
        return stack(found)

    def vectors(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n, d) float32 in the order of the ids."""
        with self._reading() as catalog:
            return self._vectors.raw(catalog, np.asarray(ids, np.int64)).astype(np.float32)

    def terms(self, ids: Sequence[int] | np.ndarray) -> list[dict[int, int]]:
        """Return the weighted terms of each passage."""
        self._need_sparse()
        numbers = np.asarray(ids, np.int64)
        with self._reading() as catalog:
            found = dict(zip(*catalog.terms(numbers), strict=True))
        if absent := set(numbers.tolist()) - found.keys():
            raise StoreError(f"passage {min(absent)} has no terms; run `semsearch doctor`")
        return [unpack(found[number]) for number in numbers.tolist()]

    def _need_sparse(self) -> None:
        if self.manifest.sparse is None:
            raise StoreError(
                f"{self._name} has no sparse index; to have one, index into a new collection with --sparse"
            )

    def live(self) -> np.ndarray:
        """Return (n,) int64, ascending: the shown passages that have a vector. For checks."""
        with self._reading() as catalog:
            return catalog.live(self.generation)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Return (m, d) float32 vectors of different passages."""
        with self._reading() as catalog:
            live = catalog.live(self.generation)
            drawn = np.random.default_rng(seed).choice(live, min(n, len(live)), replace=False)
            return self._vectors.raw(catalog, np.sort(drawn)).astype(np.float32)

    def close(self) -> None:
        """End the transaction and let the files go."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()
                self._pinned.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()
