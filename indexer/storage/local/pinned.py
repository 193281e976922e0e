"""The vectors and indexes that one snapshot of a folder sees; what neighbouring snapshots share is made once."""

from __future__ import annotations

import itertools
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from sqlalchemy import select

from indexer.errors import CorruptError, StoreError, UsageError
from indexer.storage.local.index.devices import on_device
from indexer.storage.local.vectors.shards import Shard, ShardSet
from indexer.storage.local.vectors.tables import shards as shards_table
from indexer.storage.local.vectors.tables import staged as staged_table
from indexer.storage.local.words.postings import Postings
from indexer.storage.vectors import DTYPES, LayeredIndex, VectorIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path

    from indexer.storage.local.index.faiss_index import FaissIndex
    from indexer.storage.local.index.refined import RefinedIndex
    from indexer.storage.local.on_disk.manifest_file import IndexFile, ManifestFile
    from indexer.storage.sql.reading import CatalogReader

VECTORS = "vectors"
"""Folder of the shards."""
BLOCK = 8_192
LAYERED = 0.1
"""Share of changed passages up to which inverted lists are kept, and searched together with those of the changes."""

T = TypeVar("T")


class Shared:
    """What the snapshots of one store share: of each kind, the thing that was made last."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._made: dict[str, tuple[Hashable, Any]] = {}

    def get(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return the thing of this key, made where the last one of its kind has another."""
        with self._lock:
            if kind not in self._made or self._made[kind][0] != key:
                self._made[kind] = key, make()
            made: T = self._made[kind][1]
            return made

    def last(self, kind: str) -> tuple[Hashable, Any] | None:
        """Return (key, thing) that was made last of a kind."""
        return self._made.get(kind)

    def clear(self) -> None:
        """Let everything go."""
        self._made.clear()


def listed(catalog: CatalogReader) -> list[Shard]:
    """Return the registered shards."""
    rows = catalog.connection.execute(select(shards_table).order_by(shards_table.c.name))
    return [Shard(*row) for row in rows]


def staged(
    catalog: CatalogReader, ids: np.ndarray | None = None, limit: int | None = None
) -> tuple[np.ndarray, list[bytes]]:
    """Return (ids ascending, vectors as bytes) of those asked for that are in no shard yet; None asks for the first."""
    query = select(staged_table.c.id, staged_table.c.vector).order_by(staged_table.c.id).limit(limit)
    if ids is not None:
        query = query.where(catalog.dialect.among(staged_table.c.id, ids))
    rows = catalog.connection.execute(query).all()
    return np.array([row[0] for row in rows], np.int64), [row[1] for row in rows]


class Vectors:
    """The raw vectors of one state: from its shards and from the rows that are in none yet."""

    def __init__(self, folder: Path, shards: Sequence[Shard], manifest: ManifestFile, earlier: Vectors | None = None):
        """Take what ``earlier`` has mapped."""
        self.dim = manifest.manifest.dim
        self.dtype = DTYPES[manifest.manifest.vector_dtype]
        self._folder = folder
        self.shards: ShardSet = ShardSet(
            folder / VECTORS, shards, self.dim, self.dtype, earlier.shards if earlier else None
        )

    def raw(self, catalog: CatalogReader, ids: np.ndarray) -> np.ndarray:
        """Return (n, d) as stored, in the order of the ids.

        Raises:
            StoreError: One has no vector.
            CorruptError: A shard is gone or altered.
        """
        present, sealed = self.shards.find(ids)
        if present.all():
            return sealed
        absent = np.flatnonzero(~present)
        numbers, blobs = staged(catalog, np.unique(ids[absent]))
        at = np.searchsorted(numbers, ids[absent])
        if not len(numbers) or not np.array_equal(numbers[np.minimum(at, len(numbers) - 1)], ids[absent]):
            missing = ids[absent][~np.isin(ids[absent], numbers)]
            raise StoreError(f"passage {int(missing[0])} has no vector; run `semsearch doctor`")
        vectors = np.empty((len(ids), self.dim), self.dtype)
        vectors[present] = sealed
        vectors[absent] = self.matrix(blobs)[at]
        return vectors

    def matrix(self, blobs: Sequence[bytes]) -> np.ndarray:
        """Return (n, d) as stored, of vectors that are in no shard yet."""
        try:
            return np.frombuffer(b"".join(blobs), self.dtype).reshape(len(blobs), self.dim)
        except ValueError as error:
            raise CorruptError(
                f"staged vectors have a wrong length in {self._folder}; run `semsearch doctor`"
            ) from error

    def sealed(self, ids: np.ndarray) -> np.ndarray:
        """Return (n, d) as stored, of passages whose vectors are in shards.

        Raises:
            CorruptError: A shard is gone or altered.
        """
        present, vectors = self.shards.find(ids)
        if not present.all():
            raise CorruptError(f"{self._folder} lacks vectors that its index has; run `semsearch doctor`")
        return vectors

    def in_memory(self, catalog: CatalogReader, ids: np.ndarray) -> RefinedIndex:
        """Return an index of these passages (n,), ascending, that holds their vectors as they are."""
        from indexer.storage.local.index.faiss_index import FaissIndex
        from indexer.storage.local.index.refined import RefinedIndex

        index = FaissIndex(self.dim, "Flat" if self.dtype == DTYPES["fp32"] else "SQfp16")
        for start in range(0, len(ids), BLOCK):
            part = ids[start : start + BLOCK]
            index.add(part, self.raw(catalog, part))
        return RefinedIndex(index)


class PinnedIndex:
    """The FAISS file of one manifest, kept open from the moment on at which it was noted."""

    def __init__(self, folder: Path, note: IndexFile | None):
        self.note = note
        self._path = None if note is None else folder / note.name
        self._descriptor: int | None = None

    def pin(self) -> bool:
        """Open the file, so that it stays readable when it is replaced. Tell whether it was there."""
        if self._path is not None and self._descriptor is None:
            try:
                descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except OSError:
                return False
            if os.path.exists(f"/dev/fd/{descriptor}"):
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        return True

    def load(self, dim: int, oldest: int, mapped: bool = True) -> FaissIndex | None:
        """Return its index; None where it is not the one that was written, or of no use to this generation."""
        from indexer.storage.local.index.faiss_index import FaissIndex
        from indexer.storage.local.on_disk.files import unchanged

        note = self.note
        if note is None or self._path is None or note.generation < oldest:
            return None
        path = self._path if self._descriptor is None else type(self._path)(f"/dev/fd/{self._descriptor}")
        if not unchanged(path, note.size, note.mtime_ns, note.sha256):
            return None
        try:
            index = FaissIndex.load(path, dim, note.factory, mapped)
        except (CorruptError, UsageError):
            return None
        return index if len(index) == note.rows else None

    def close(self) -> None:
        """Let the file go; what was loaded of it stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def index_of(
    shared: Shared,
    pinned: PinnedIndex,
    vectors: Vectors,
    catalog: CatalogReader,
    manifest: ManifestFile,
    state: tuple[int, int],
    device: str,
) -> VectorIndex:
    """Return the saved index, where it is whole, with what has changed since; else one made of the vectors."""
    from indexer.storage.local.index.refined import Effort, RefinedIndex

    generation, oldest = state
    identity = (manifest.manifest.created, manifest.manifest.fingerprint)
    note = pinned.note

    def base() -> FaissIndex | None:
        saved = pinned.load(manifest.manifest.dim, oldest)
        return saved if saved is None else on_device(saved, vectors.sealed, device)

    def whole() -> VectorIndex:
        key = (identity, None if note is None else note.name, (note.generation if note else 0) < oldest)
        saved = shared.get("saved index", key, base)
        if saved is None or note is None:
            return vectors.in_memory(catalog, catalog.live(generation))
        added, removed = catalog.changes(note.generation, generation)
        if len(removed):
            saved = saved.apart()
            saved.remove(removed)
        index = RefinedIndex(saved, vectors.sealed, Effort.from_dict(note.effort))
        return LayeredIndex(index, vectors.in_memory(catalog, added)) if len(added) else index

    return shared.get("index", (identity, generation, None if note is None else note.name), whole)


def postings_of(
    shared: Shared, catalog: CatalogReader, manifest: ManifestFile, state: tuple[int, int]
) -> tuple[Postings, Postings, np.ndarray]:
    """Return (inverted lists of an earlier generation, those of passages that came since, ids that went since)."""
    generation, oldest = state
    identity = (manifest.manifest.created, manifest.manifest.fingerprint)

    def make() -> tuple[Postings, Postings, np.ndarray]:
        last: Any = shared.last("postings base")
        if last is not None and last[0][0] == identity and oldest <= last[0][1] <= generation:
            added, removed = catalog.changes(last[0][1], generation)
            if len(added) + len(removed) <= LAYERED * len(last[1]):
                return last[1], Postings(*catalog.terms(added)), removed

        def whole() -> Postings:
            ids, blobs = catalog.terms()
            live = np.isin(ids, catalog.live(generation))
            return Postings(ids[live], list(itertools.compress(blobs, live)))

        base = shared.get("postings base", (identity, generation), whole)
        return base, Postings(np.empty(0, np.int64), []), np.empty(0, np.int64)

    return shared.get("postings", (identity, generation), make)
