"""A Store: one collection on disk, as its manifest, catalog, raw vectors and FAISS file together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from indexer.errors import CorruptError, StoreError
from indexer.storage import shards as shard_files
from indexer.storage.files import ASIDE, WriterLock, sha256, sync_folder, unchanged, write_aside
from indexer.storage.manifest import IndexFile, Manifest
from indexer.storage.shards import DTYPES, ShardSet
from indexer.storage.sql_catalog import NAME as CATALOG
from indexer.storage.sql_catalog import SqlCatalog, check_revision
from indexer.storage.vectors import LayeredIndex, VectorIndex, check, nearest, widen
from indexer.types import Counts, Document, FileRecord, Filter, Neighbours, Passage, StoredPassage

INDEX = "index.faiss"
VECTORS = "vectors"
SEAL_AT = 8_192
"""Staged vectors that make a shard."""
FEW = 4_096
"""Allowed passages up to which the raw vectors are compared one by one, exact whatever the index's kind."""


@dataclass(frozen=True)
class Staged:
    """What ``Store.stage`` found in one file."""

    passages: int
    reused: int
    """Of these, the ones that need no embedding: unchanged, or the same text as one that has a vector."""


class Store:
    """One collection. Readers see the generation they opened at, until they refresh; a writer is alone.

    A writer's changes are neither durable nor visible before ``commit``. Calls from several threads are safe for a
    reader; a writer belongs to one thread at a time.
    """

    def __init__(self, path: Path, manifest: Manifest, catalog: SqlCatalog, lock: WriterLock | None, index_device: str):
        """Use ``create`` or ``open``."""
        self.path = path
        self.manifest = manifest
        self._catalog = catalog
        self._lock = lock
        self._device = index_device
        self._dtype = DTYPES[manifest.vector_dtype]
        self._shards: ShardSet | None = None
        self._index: VectorIndex | None = None
        self.generation = catalog.state()[0]

    # Opening and closing

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest, index_device: str = "cpu") -> Store:
        """A new, empty collection, open for writing. Raises StoreError where there is one already."""
        folder = Path(path)
        try:
            (folder / VECTORS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make {folder}: {error.strerror or error}") from error
        lock = WriterLock(folder)
        lock.acquire()
        try:
            if (folder / "manifest.json").exists():
                raise StoreError(f"{folder} holds a collection already; open it, or remove it first")
            # The manifest comes last: a folder without one is no collection, whatever a killed process left in it.
            for name in (CATALOG, CATALOG + "-wal", CATALOG + "-shm", INDEX):
                (folder / name).unlink(missing_ok=True)
            catalog = SqlCatalog.create(folder / CATALOG)
            manifest.with_index(None).save(folder)
            sync_folder(folder.absolute().parent)
            return cls(folder, manifest.with_index(None), catalog, lock, index_device)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: str | Path, writable: bool = False, index_device: str = "cpu") -> Store:
        """Raises CollectionNotFound, LockedError (another process writes), CorruptError or FormatError."""
        folder = Path(path)
        Manifest.load(folder)
        if not (folder / CATALOG).is_file():
            raise CorruptError(f"{folder} has lost its {CATALOG}; restore it from a copy, or index anew")
        lock = WriterLock(folder) if writable else None
        if lock is not None:
            lock.acquire()
        try:
            catalog = SqlCatalog(folder / CATALOG, writable)
            check_revision(catalog.revision(), folder)
            store = cls(folder, Manifest.load(folder), catalog, lock, index_device)
            if writable:
                store._sweep()
            return store
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    def close(self) -> None:
        """Let go of files and lock; what was not committed is lost."""
        self._catalog.close()
        self._index = self._shards = None
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sweep(self) -> None:
        """Remove what a killed writer left: half-written files and shards that were never registered."""
        known = {shard.name for shard in self._catalog.shards()}
        left = [p.name for p in (self.path / VECTORS).iterdir() if p.name not in known]
        shard_files.remove(self.path / VECTORS, left)
        for path in self.path.glob("*" + ASIDE):
            path.unlink(missing_ok=True)

    # Reading

    def refresh(self) -> bool:
        """Move to the newest generation. Whether there was one."""
        generation = self._catalog.state()[0]
        if generation == self.generation and self._index is None:
            return False
        moved = generation != self.generation
        manifest = Manifest.load(self.path)
        if moved or manifest.index != self.manifest.index:
            self.manifest, self.generation = manifest, generation
            self._index = self._shards = None
        return moved

    def _current(self) -> int:
        """The generation to read at: a newer one than ours where ours has been compacted away."""
        if self._lock is None and self._catalog.state()[1] > self.generation:
            self.refresh()
        return self.generation

    def counts(self) -> Counts:
        return self._catalog.counts(self._current())

    def files(self, status: str | None = None) -> Iterator[FileRecord]:
        """By path, as the last commit left them; all, or those of one status."""
        return self._catalog.files(status)

    def roots(self) -> dict[str, dict[str, object]]:
        """The indexed roots and the options that each was indexed with."""
        return self._catalog.roots()

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredPassage]:
        """The passages in the order of the ids; unknown ids are left out."""
        return self._catalog.get(ids)

    def passages(self, path: str | None = None) -> Iterator[StoredPassage]:
        """Every passage that a search can find, by id; of one file where a path is given."""
        return self._catalog.passages(self._current(), path)

    def allowed(self, filter: Filter | None) -> np.ndarray:
        """(n,) int64, ascending: the passages that a search with this filter can find."""
        return self._catalog.live(self._current(), filter)

    def search_text(self, query: str, k: int, filter: Filter | None = None) -> Neighbours:
        """(1, k) by BM25 over titles and texts; the query is a user's text, of which any word may match."""
        return self._catalog.search_text(query, k, self._current(), filter)

    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> Neighbours:
        """(q, k) nearest passages of unit query vectors (q, d) float32; the filter applies before the top k."""
        self._current()
        if filter is None or filter == Filter():
            return self._dense().search(queries, k)
        allowed = self.allowed(filter)
        if len(allowed) <= FEW:
            return nearest(allowed, self.vectors, np.asarray(queries, np.float32), k)
        return self._dense().search(queries, k, allowed)

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """(n, d) float32 of passages that have one. Raises StoreError for an id without a vector."""
        return widen(self._raw(np.asarray(ids, np.int64)))

    def _raw(self, ids: np.ndarray) -> np.ndarray:
        """(n, d) as stored."""
        for last in (False, True):  # a compaction may take a shard away between the look-up and the opening
            if self._shards is None:
                self._shards = ShardSet(self.path / VECTORS, self._catalog.shards(), self.manifest.dim, self._dtype)
            try:
                present, sealed = self._shards.find(ids)
            except FileNotFoundError as error:
                if last:
                    raise CorruptError(f"{error} is missing; run `semsearch doctor`") from error
                self._shards = None
                continue
            vectors = np.empty((len(ids), self.manifest.dim), self._dtype)
            vectors[present] = sealed
            absent = np.flatnonzero(~present)
            if not len(absent):
                return vectors
            staged, blobs = self._catalog.staged(np.unique(ids[absent]))
            at = np.searchsorted(staged, ids[absent])
            if len(staged) and np.array_equal(staged[np.minimum(at, len(staged) - 1)], ids[absent]):
                vectors[absent] = self._matrix(blobs)[at]
                return vectors
            self._shards = None  # sealed since we looked
        raise StoreError(f"passage {int(ids[absent][0])} has no vector; run `semsearch doctor`")

    def _matrix(self, blobs: Sequence[bytes]) -> np.ndarray:
        try:
            return np.frombuffer(b"".join(blobs), self._dtype).reshape(len(blobs), self.manifest.dim)
        except ValueError as error:
            raise CorruptError(f"staged vectors have a wrong length in {self.path}; run `semsearch doctor`") from error

    def _dense(self) -> VectorIndex:
        """The index of this generation: the FAISS file, where it is whole, with what has changed since."""
        if self._index is None:
            base = self._load_index()
            since = 0 if base is None else self.manifest.index.generation
            added, removed = self._catalog.changes(since, self.generation)
            if base is None:
                self._index = self._build(added)
            elif len(added) or len(removed):
                base.remove(removed)
                self._index = LayeredIndex(base, self._build(added))
            else:
                self._index = base
        return self._index

    def _load_index(self) -> VectorIndex | None:
        """The saved FAISS index; None where there is none that can be relied on (the vectors are then used)."""
        from indexer.storage.faiss_index import FaissIndex

        note, path = self.manifest.index, self.path / INDEX
        oldest = self._catalog.state()[1]
        if note is None or not oldest <= note.generation <= self.generation:
            return None
        if not unchanged(path, note.size, note.mtime_ns, note.sha256):
            return None
        try:
            index = FaissIndex.load(path, self.manifest.dim, note.kind, self._device)
        except CorruptError:
            return None
        return index if len(index) == note.rows else None

    def _build(self, ids: np.ndarray, kind: str = "flat") -> VectorIndex:
        from indexer.storage.faiss_index import FaissIndex

        index = FaissIndex(self.manifest.dim, kind, self.manifest.vector_dtype, self._device, rows=len(ids))
        if len(ids) > SEAL_AT:
            index.train(self._raw(np.sort(np.random.default_rng(0).choice(ids, min(len(ids), 65_536), replace=False))))
        for start in range(0, len(ids), SEAL_AT):
            part = ids[start : start + SEAL_AT]
            index.add(part, self._raw(part))
        return index

    def sizes(self) -> dict[str, int]:
        """Bytes on disk of catalog, vectors and index."""

        def size(*paths: Path) -> int:
            return sum(p.stat().st_size for p in paths if p.is_file())

        return {
            "catalog": size(*self.path.glob(CATALOG + "*")),
            "vectors": size(*(self.path / VECTORS).glob("*.safetensors")),
            "index": size(self.path / INDEX),
        }

    # Writing

    def _write(self) -> SqlCatalog:
        if self._lock is None:
            raise StoreError(f"{self.path} was opened for reading; open it with writable=True")
        return self._catalog

    def set_root(self, path: str, options: Mapping[str, object]) -> None:
        """Remember a root and the options (JSON-ready) to read it with."""
        self._write().set_root(path, options)

    def drop_root(self, path: str) -> None:
        """Forget a root; its files stay until they are removed."""
        self._write().drop_root(path)

    def stage(self, file: FileRecord, contents: Iterable[tuple[Document, Sequence[Passage]]]) -> Staged:
        """Take in a new or changed file. It shows from the first ``commit`` at which all its passages have vectors.

        What ``contents`` raises passes through, and the file is left as it was."""
        catalog = self._write()
        total, kept, twins = catalog.stage(file, contents)
        if twins:
            sources = np.unique(np.fromiter(twins.values(), np.int64))
            vectors = dict(zip(sources.tolist(), (row.tobytes() for row in self._raw(sources)), strict=True))
            catalog.embed({new: vectors[old] for new, old in twins.items()}, twins=False)
        return Staged(total, kept + len(twins))

    def record(self, file: FileRecord) -> None:
        """Note a file's status or times; passages that it had stay."""
        self._write().record(file)

    def remove(self, paths: Iterable[str]) -> int:
        """Forget files. The number of them that were known."""
        return self._write().remove(paths)

    def unembedded(self, limit: int) -> list[tuple[int, str]]:
        """(id, text) of passages that wait for a vector, one of each distinct text, oldest first."""
        return self._catalog.unembedded(limit)

    def unembedded_count(self) -> tuple[int, int]:
        """(distinct texts that wait for a vector, their tokens)."""
        return self._catalog.unembedded_count()

    def add_vectors(self, ids: Sequence[int] | np.ndarray, vectors: np.ndarray) -> None:
        """Unit vectors (n, d) of waiting passages (n,); those of the same text get them too."""
        numbers = np.asarray(ids, np.int64)
        check(self.manifest.dim, numbers, vectors)
        if not np.isfinite(vectors).all():
            raise StoreError("a vector holds NaN or infinity; encode at another precision")
        rows = np.ascontiguousarray(vectors, self._dtype)
        self._write().embed({int(n): row.tobytes() for n, row in zip(numbers, rows, strict=True)})

    def commit(self) -> int:
        """Make everything so far durable and publish the documents that are complete. The generation now."""
        catalog = self._write()
        self.generation = catalog.commit()
        self._index = None
        if catalog.staged_count() >= SEAL_AT:
            self._seal()
        return self.generation

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        self._write().rollback()

    def _seal(self) -> None:
        """Move the staged vectors into a shard."""
        catalog = self._write()
        ids, blobs = catalog.staged()
        if len(ids):
            shard = shard_files.write(self.path / VECTORS, ids, self._matrix(blobs))
            catalog.register([shard], [], ids)
            catalog.flush()
            self._shards = None

    def finish(self) -> None:
        """Commit, then put the files in their lasting form: shards sealed, the FAISS index saved."""
        self.commit()
        self._seal()
        self._save_index()

    def _save_index(self) -> None:
        """Build the FAISS file of the present generation, unless it is there."""
        note = self.manifest.index
        if note is not None and note.generation == self.generation and self._load_index() is not None:
            return
        ids = self._catalog.live(self.generation)
        index = self._build(ids, self.manifest.index_kind)
        path = self.path / INDEX
        write_aside(path, index.save)
        stat = path.stat()
        entry = IndexFile(
            self.manifest.index_kind, self.generation, len(ids), stat.st_size, stat.st_mtime_ns, sha256(path)
        )
        self.manifest = self.manifest.with_index(entry)
        self.manifest.save(self.path)
        self._index = None


