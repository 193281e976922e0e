"""A view: what one generation of a collection shows, and the vectors and index to search it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import CorruptError, StoreError
from indexer.storage.local.files import unchanged
from indexer.storage.manifest import Manifest
from indexer.storage.local.postings import Postings
from indexer.storage.local.shards import DTYPES, ShardSet
from indexer.storage.local.sql_catalog import SqlCatalog
from indexer.storage.vectors import LayeredIndex, VectorIndex, nearest, none
from indexer.types import Filter, Neighbours

if TYPE_CHECKING:
    from indexer.storage.local.faiss_index import FaissIndex

VECTORS = "vectors"
FEW = 4_096
"""Allowed passages up to which the raw vectors are compared one by one, exact whatever the index's kind."""
BLOCK = 8_192
LAYERED = 0.1
"""Share of changed passages up to which inverted lists are kept, and searched together with those of the changes."""
SAMPLE = 65_536
"""Vectors that an index's cells or ranges are fitted to."""


class View:
    """Fixed to one generation; files are opened on first use. Safe to read from several threads."""

    def __init__(self, path: Path, manifest: Manifest, catalog: SqlCatalog, generation: int, device: str):
        self.path = path
        self.manifest = manifest
        self.generation = generation
        self._catalog = catalog
        self._device = device
        self._dtype = DTYPES[manifest.vector_dtype]
        self._lock = threading.Lock()
        self._shards: ShardSet | None = None
        self._index: VectorIndex | None = None
        self._base: tuple[int, Postings] | None = None  # of a generation, ours or an earlier one
        self._postings: tuple[Postings, Postings, np.ndarray] | None = None

    def at(self, generation: int, manifest: Manifest) -> View:
        """The same files seen at another generation."""
        view = View(self.path, manifest, self._catalog, generation, self._device)
        view._shards, view._base = self._shards, self._base
        return view

    def close(self) -> None:
        """Let go of mapped files."""
        self._shards = self._index = self._base = self._postings = None

    def look_again(self) -> None:
        """Forget which shards there are: they have been replaced."""
        self._shards = None

    def allowed(self, filter: Filter | None) -> np.ndarray:
        return self._catalog.live(self.generation, filter)

    def search(self, queries: np.ndarray, k: int, filter: Filter | None) -> Neighbours:
        if filter is None or filter == Filter():
            return self.index().search(queries, k)
        allowed = self.allowed(filter)
        if len(allowed) <= FEW:
            return nearest(allowed, self.raw, queries, k)
        return self.index().search(queries, k, allowed)

    def search_terms(self, query: Mapping[int, int], k: int, filter: Filter | None) -> Neighbours:
        base, changes, removed = self.postings()
        parts = base.products(query), changes.products(query)
        ids, products = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        kept = ~np.isin(ids, removed)
        if filter is not None and filter != Filter():
            kept &= np.isin(ids, self.allowed(filter))
        ids, products = ids[kept], products[kept]
        if len(ids) > k:
            good = products >= np.partition(products, len(ids) - k)[len(ids) - k]
            ids, products = ids[good], products[good]
        order = np.lexsort((ids, -products))[:k]
        found = none(1, k)
        found.ids[0, : len(order)], found.scores[0, : len(order)] = ids[order], products[order]
        return found

    # Sparse vectors

    def postings(self) -> tuple[Postings, Postings, np.ndarray]:
        """(inverted lists of an earlier generation, those of passages added since, ids removed since)."""
        with self._lock:
            if self._postings is None:
                base = self._base
                if base is not None and base[0] >= self._catalog.state()[1]:
                    added, removed = self._catalog.changes(base[0], self.generation)
                    if len(added) + len(removed) <= LAYERED * len(base[1]):
                        self._postings = base[1], Postings(*self._catalog.terms(added)), removed
                        return self._postings
                ids, blobs = self._catalog.terms()
                live = np.isin(ids, self._catalog.live(self.generation))
                whole = Postings(ids[live], list(itertools.compress(blobs, live)))
                self._base = self.generation, whole
                self._postings = whole, Postings(ids[:0], []), ids[:0]
            return self._postings

    # Vectors

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        return self.raw(np.asarray(ids, np.int64)).astype(np.float32)

    def raw(self, ids: np.ndarray) -> np.ndarray:
        """(n, d) as stored, from the shards and from those yet in the catalog."""
        shards = self._shards or self._listed()
        while True:
            try:
                vectors = self._gather(shards, ids)
            except StoreError:
                newest = self._listed()  # a writer may have moved the vectors to other shards since we looked
                if newest.shards == shards.shards:
                    raise
                shards = newest
            else:
                self._shards = shards
                return vectors

    def _listed(self) -> ShardSet:
        return ShardSet(self.path / VECTORS, self._catalog.shards(), self.manifest.dim, self._dtype)

    def _gather(self, shards: ShardSet, ids: np.ndarray) -> np.ndarray:
        """(n, d) from these shards and from what is staged."""
        present, sealed = shards.find(ids)
        if present.all():
            return sealed
        absent = np.flatnonzero(~present)
        staged, blobs = self._catalog.staged(np.unique(ids[absent]))
        at = np.searchsorted(staged, ids[absent])
        if not len(staged) or not np.array_equal(staged[np.minimum(at, len(staged) - 1)], ids[absent]):
            raise StoreError(f"passage {int(ids[absent][0])} has no vector; run `semsearch doctor`")
        vectors = np.empty((len(ids), self.manifest.dim), self._dtype)
        vectors[present] = sealed
        vectors[absent] = self.matrix(blobs)[at]
        return vectors

    def matrix(self, blobs: Sequence[bytes]) -> np.ndarray:
        """(n, d) as stored, of staged vectors."""
        try:
            return np.frombuffer(b"".join(blobs), self._dtype).reshape(len(blobs), self.manifest.dim)
        except ValueError as error:
            raise CorruptError(f"staged vectors have a wrong length in {self.path}; run `semsearch doctor`") from error

    # The index

    def index(self) -> VectorIndex:
        """The saved index, where it is whole, with what has changed since; else one made of the vectors."""
        with self._lock:
            if self._index is None:
                base = self.saved()
                added, removed = self._catalog.changes(self.manifest.index.generation if base else 0, self.generation)
                if base is None:
                    self._index = self.build(added)
                elif len(added) or len(removed):
                    base.remove(removed)
                    self._index = LayeredIndex(base, self.build(added))
                else:
                    self._index = base
            return self._index

    def saved(self) -> FaissIndex | None:
        """The FAISS file; None where it is not the one that was written, or of no use to this generation."""
        from indexer.storage.local.faiss_index import FaissIndex

        note = self.manifest.index
        if note is None or note.generation < self._catalog.state()[1]:
            return None
        path = self.path / note.name
        if not unchanged(path, note.size, note.mtime_ns, note.sha256):
            return None
        try:
            index = FaissIndex.load(path, self.manifest.dim, note.kind, self._device)
        except CorruptError:
            return None
        return index if len(index) == note.rows else None

    def build(self, ids: np.ndarray, kind: str = "flat") -> VectorIndex:
        """An index of these passages (n,) ascending."""
        from indexer.storage.local.faiss_index import FaissIndex

        index = FaissIndex(self.manifest.dim, kind, self.manifest.vector_dtype, self._device, rows=len(ids))
        if kind != "flat" and len(ids):
            index.train(self.raw(np.random.default_rng(0).choice(ids, min(len(ids), SAMPLE), replace=False)))
        for start in range(0, len(ids), BLOCK):
            part = ids[start : start + BLOCK]
            index.add(part, self.raw(part))
        return index
