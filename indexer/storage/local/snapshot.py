"""A snapshot of a folder: one read transaction of SQLite, with the files of vectors and the index kept open."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from indexer.errors import StoreError
from indexer.storage.local.pinned import index_of, postings_of
from indexer.storage.local.sqlite import SQLITE, translated
from indexer.storage.local.words.fts import Known
from indexer.storage.sql.dialect import restricts
from indexer.storage.sql.reading import CatalogReader
from indexer.storage.sql.snapshot import CatalogSnapshot
from indexer.storage.vectors import best, check_queries, nearest, none, stack, widened
from indexer.types import Neighbours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from indexer.storage.local.on_disk.manifest_file import ManifestFile
    from indexer.storage.local.pinned import PinnedIndex, Shared, Vectors
    from indexer.storage.local.words.fts import Words
    from indexer.storage.manifest import Manifest
    from indexer.storage.store import Terms
    from indexer.storage.vectors import VectorIndex
    from indexer.types import Filter

FEW = 50_000
FEW_SHARE = 0.02
"""Allowed passages, or their share of all, up to which the raw vectors are compared one by one."""
DEEPER = 8
"""Times k passages among which a filter that lets more through is first looked for."""
SMALL = 20_000
"""Passages up to which a sample is drawn from the list of all."""


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
        super().__init__(path.parent.name, self._state[0])

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
        wanted = filter if restricts(filter) else None
        with self._reading() as catalog:
            if wanted is not None and (few := self._few(catalog, wanted)) is not None:
                return nearest(few, lambda ids: self._vectors.raw(catalog, ids), queries, k)
            index = index_of(self._shared, self._pinned, self._vectors, catalog, self._file, self._state, self._device)
        if wanted is None:
            return index.search(queries, k)  # outside of the lock: others may read meanwhile
        return self._filtered(index, queries, k, wanted)

    def _few(self, catalog: CatalogReader, wanted: Filter) -> np.ndarray | None:
        """Return the passages that a filter lets through, ascending; None where they are many."""

        def look() -> np.ndarray | None:
            most = max(FEW, int(FEW_SHARE * self.counts().passages))
            found = catalog.live(self.generation, wanted, limit=most + 1)
            return found if len(found) <= most else None

        return self._shared.get("few", (self.version, wanted), look)

    def _filtered(self, index: VectorIndex, queries: np.ndarray, k: int, wanted: Filter) -> Neighbours:
        """Search where a filter lets many through: ask the catalog of the best few, and list all only if these fail."""
        found = index.search(queries, min(DEEPER * k, self.counts().passages))
        ids = np.unique(found.ids[found.ids >= 0])
        with self._reading() as catalog:
            passing = catalog.live(self.generation, wanted, among=ids)
        kept = np.isin(found.ids, passing)
        if (kept.sum(axis=1) >= k).all():
            return best(np.where(kept, found.ids, -1), found.scores, k)

        with self._reading() as catalog:  # before the lock of what is shared, as everywhere
            allowed: np.ndarray = self._shared.get(
                "allowed", (self.version, wanted), lambda: catalog.live(self.generation, wanted)
            )
        return index.search(queries, k, allowed)

    def lexical(self, queries: Sequence[str], k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the best passages by BM25, with ``full``."""
        check_queries(1, np.zeros((1, 1)), k)
        k = min(k, self.counts().passages)
        found, full = [none(0, k)], []
        for query in queries:
            with self._reading() as catalog:
                state = self.version, self._state  # a compaction changes what words say, and keeps the version
                known: Known = self._shared.get("words", state, Known)
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
        wanted = filter if restricts(filter) else None
        with self._reading() as catalog:
            base, changes, removed = postings_of(self._shared, catalog, self._file, self._state)
        found = [none(0, k)]
        for query in queries:
            pairs = zip(base.products(query), changes.products(query), strict=True)
            ids, products = (np.concatenate(pair) for pair in pairs)
            kept = ~np.isin(ids, removed)
            found.append(self._best_passing(ids[kept], products[kept].astype(np.float32), k, wanted))
        return stack(found)

    def _best_passing(self, ids: np.ndarray, scores: np.ndarray, k: int, wanted: Filter | None) -> Neighbours:
        """Return the (1, k) best that a filter lets through, the catalog asked of no more than that takes."""
        depth, row = k if wanted is None else DEEPER * k, none(1, k)
        while k:
            least = np.partition(scores, len(ids) - depth)[len(ids) - depth] if len(ids) > depth else -np.inf
            top = ids[scores >= least]
            if wanted is None:
                passing = top
            else:
                with self._reading() as catalog:
                    passing = catalog.live(self.generation, wanted, among=top)
            mine = np.isin(ids, passing) & (scores >= least)
            row = best(ids[mine][None], scores[mine][None], k)
            if len(passing) >= k or len(top) == len(ids):
                break
            depth *= DEEPER
        return row

    def vectors(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n, d) float32 in the order of the ids."""
        with self._reading() as catalog:
            return widened(self._vectors.raw(catalog, np.asarray(ids, np.int64)))

    def live(self) -> np.ndarray:
        """Return (n,) int64, ascending: the shown passages that have a vector. For checks."""
        with self._reading() as catalog:
            return catalog.live(self.generation)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Return (m, d) float32 vectors of different passages."""
        draw = np.random.default_rng(seed)
        with self._reading() as catalog:
            if max(self.counts().passages, 4 * n) <= SMALL:
                live = catalog.live(self.generation)
                drawn = draw.choice(live, min(n, len(live)), replace=False)
            else:
                drawn = self._drawn(catalog, n, draw)
            return widened(self._vectors.raw(catalog, np.sort(drawn)))

    def _drawn(self, catalog: CatalogReader, n: int, draw: np.random.Generator) -> np.ndarray:
        """Return (m,) int64 passages with vectors, drawn by number, so that nobody has to list them all."""
        last, found = catalog.last_passage(), np.empty(0, np.int64)
        wanted = min(n, self.counts().embedded)
        for _ in range(64):
            if len(found) >= wanted:
                break
            tried = np.unique(draw.integers(1, last + 1, 4 * n))
            fresh = catalog.live(self.generation, among=tried[~np.isin(tried, found)])
            found = np.concatenate([found, draw.permutation(fresh)])
        return found[:wanted]

    def close(self) -> None:
        """End the transaction and let the files go."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()
                self._pinned.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            with suppress(SQLAlchemyError):  # of garbage that goes together, the connection may have gone first
                self.close()
