"""A Store: one collection on disk, as its manifest, catalog, raw vectors and FAISS file together."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from indexer.errors import CorruptError, LockedError, StoreError
from indexer.storage.local import shards as shard_files
from indexer.storage.local.files import ASIDE, WriterLock, sha256, sync_folder, write_aside
from indexer.storage.manifest import NAME as MANIFEST
from indexer.storage.manifest import IndexFile, Manifest
from indexer.storage.local.postings import pack, unpack
from indexer.storage.local.shards import DTYPES, Shard
from indexer.storage.local.sql_catalog import NAME as CATALOG
from indexer.storage.local.sql_catalog import SqlCatalog
from indexer.storage.vectors import check, check_queries
from indexer.storage.local.view import VECTORS, View
from indexer.types import Counts, Document, FileRecord, Filter, Neighbours, Passage, StoredPassage

if TYPE_CHECKING:
    from indexer.embedding.encoder import Encoder, Terms
    from indexer.types import Problem
    from indexer.storage.local.faiss_index import FaissIndex

SEAL_AT = 8_192
"""Staged vectors that make a shard."""
MERGE_AT = 8
"""Shards of fewer rows than SEAL_AT that are made into one."""
SHARD_ROWS = 65_536
"""Most rows of a merged shard."""
TOMBSTONES = 0.25
"""Share of dead passages past which ``finish`` compacts."""
STALE = 0.02
"""Share of changed passages up to which ``finish`` leaves the FAISS file as it is: searches add the changes."""
SWAP_SECONDS = 2.0
"""How long opening for reading waits for a database that another program holds."""

T = TypeVar("T")


@dataclass(frozen=True)
class Staged:
    """What ``Store.stage`` found in one file."""

    passages: int
    reused: int
    """Of these, the ones that need no embedding: unchanged, or the same text as one that has a vector."""


class Store:
    """One collection. Readers see the generation they opened at, until they refresh; a writer is alone.

    A writer's changes are neither durable nor visible before ``commit``. A reader may be used from several threads;
    a writer from one at a time.
    """

    def __init__(self, path: Path, manifest: Manifest, catalog: SqlCatalog, lock: WriterLock | None, index_device: str):
        """Use ``create`` or ``open``."""
        self.path = path
        self._catalog = catalog
        self._lock = lock
        self._view = View(path, manifest, catalog, catalog.state()[0], index_device)
        self.swept = self._sweep() if lock is not None else []
        """Files that a killed writer had left, removed on opening."""

    @property
    def catalog(self) -> SqlCatalog:
        """For checks."""
        return self._catalog

    @property
    def writable(self) -> bool:
        return self._lock is not None

    @property
    def manifest(self) -> Manifest:
        return self._view.manifest

    @property
    def generation(self) -> int:
        """The commit that reads see."""
        return self._view.generation

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
        catalog = None
        try:
            if (folder / MANIFEST).exists():
                raise StoreError(f"{folder} holds a collection already; open it, or remove it first")
            # The manifest comes last: a folder without one is no collection, whatever a killed process left in it.
            for name in (CATALOG, CATALOG + "-wal", CATALOG + "-shm"):
                (folder / name).unlink(missing_ok=True)
            catalog = SqlCatalog.create(folder / CATALOG)
            manifest = manifest.with_index(None)
            manifest.save(folder)
            sync_folder(folder.absolute().parent)
            return cls(folder, manifest, catalog, lock, index_device)
        except BaseException:
            if catalog is not None:
                catalog.close()
            lock.release()
            raise

    @classmethod
    def open(cls, path: str | Path, writable: bool = False, index_device: str = "cpu") -> Store:
        """Raises CollectionNotFound, LockedError (another process writes), CorruptError or FormatError."""
        patience = time.monotonic() + SWAP_SECONDS
        while True:
            try:
                return cls._open(path, writable, index_device)
            except LockedError:
                if writable or time.monotonic() > patience:
                    raise
                time.sleep(0.02)  # while one collection takes another's place, its database is held for a moment

    @classmethod
    def _open(cls, path: str | Path, writable: bool, index_device: str) -> Store:
        folder = Path(path)
        manifest = Manifest.load(folder)
        if not (folder / CATALOG).is_file():
            raise CorruptError(f"{folder} has lost its {CATALOG}; restore it from a copy, or index anew")
        lock = WriterLock(folder) if writable else None
        if lock is not None:
            lock.acquire()
        catalog = SqlCatalog(folder / CATALOG, writable)
        problem: BaseException | None = None
        try:
            if catalog.outdated():
                cls._migrate(folder, catalog, lock)
            # Manifest first, generation after: the index that the manifest notes is then never newer than the view.
            store = cls(folder, Manifest.load(folder) if writable else manifest, catalog, lock, index_device)
            if manifest.same_collection(Manifest.load(folder)):
                return store
        except BaseException as error:
            problem = error
        catalog.close()
        if lock is not None:
            lock.release()
        if problem is None or (isinstance(problem, StoreError) and not manifest.same_collection(Manifest.load(folder))):
            return cls._open(path, writable, index_device)  # another took its place meanwhile (``storage.swap``)
        raise problem

    @staticmethod
    def _migrate(folder: Path, catalog: SqlCatalog, lock: WriterLock | None) -> None:
        """Bring the tables up to date: also on opening for reading, which takes the writer's lock for this."""
        if lock is not None:
            catalog.migrate()
            return
        lock = WriterLock(folder)
        lock.acquire()
        try:
            writer = SqlCatalog(folder / CATALOG, writable=True)
            try:
                writer.migrate()
            finally:
                writer.close()
        finally:
            lock.release()

    def close(self) -> None:
        """Let go of files and lock; what was not committed is lost."""
        self._catalog.close()
        self._view.close()
        if self._lock is not None:
            self._lock.release()

    def discard(self) -> None:
        """Take a collection that was just begun from the disk again."""
        self._write()
        self._catalog.close()
        (self.path / MANIFEST).unlink(missing_ok=True)  # first: from here on it is no collection
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sweep(self) -> list[str]:
        """Remove what a killed writer left: half-written files and shards that were never registered."""
        known = {shard.name for shard in self._catalog.shards()}
        left = sorted(p.name for p in (self.path / VECTORS).glob("*") if p.name not in known)
        shard_files.remove(self.path / VECTORS, left)
        index = self.manifest.index.name if self.manifest.index else ""
        for path in [*self.path.glob("*" + ASIDE), *self.path.glob("*.faiss")]:
            if path.name != index:
                left.append(path.name)
                with suppress(OSError):  # mapped by a reader, on Windows
                    path.unlink()
        return left

    # Reading

    def refresh(self) -> bool:
        """Move to the newest generation. Whether there was one."""
        old = self._view
        manifest = Manifest.load(self.path)
        if not manifest.same_collection(old.manifest):
            raise StoreError(f"{self.path} was replaced by a collection of another encoder; open it again")
        generation = self._catalog.state()[0]
        if generation == old.generation and manifest.index == old.manifest.index:
            return False
        self._view = old.at(generation, manifest)
        return generation != old.generation

    def _consistently(self, read: Callable[[View], T]) -> T:
        """Read at our generation; where a compaction took that away in the meantime, again at the newest."""
        while True:
            view, error = self._view, None
            try:
                result = read(view)
            except StoreError as caught:
                error = caught
            if self._lock is None and self._catalog.state()[1] > view.generation:
                self.refresh()
            elif error is not None:
                raise error
            else:
                return result

    def counts(self) -> Counts:
        return self._consistently(lambda view: self._catalog.counts(view.generation))

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
        self._consistently(lambda view: None)
        return self._catalog.passages(self.generation, path)

    def allowed(self, filter: Filter | None) -> np.ndarray:
        """(n,) int64, ascending: the passages that a search with this filter can find."""
        return self._consistently(lambda view: view.allowed(filter))

    def search_text(self, query: str, k: int, filter: Filter | None = None) -> Neighbours:
        """(1, k) by BM25 over titles and texts; the query is a user's text, of which any word may match."""
        check_queries(1, np.zeros((1, 1)), k)
        return self._consistently(lambda view: self._catalog.search_text(query, k, view.generation, filter))

    def text_scale(self, query: str) -> float:
        """The BM25 of a passage of average length that holds each of the query's words once; see ``Catalog``."""
        return self._consistently(lambda view: self._catalog.text_scale(query, view.generation))

    def search(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> Neighbours:
        """(q, k) nearest passages of unit query vectors (q, d) float32; the filter applies before the top k."""
        queries = check_queries(self.manifest.dim, queries, k)
        return self._consistently(lambda view: view.search(queries, k, filter))

    def search_terms(self, query: Mapping[int, int], k: int, filter: Filter | None = None) -> Neighbours:
        """(1, k) by the inner product of weighted terms, of those that share one; see ``Encoder.encode_terms``.

        The first search of a process reads all terms. Raises StoreError where the collection has no sparse index."""
        check_queries(1, np.zeros((1, 1)), k)
        self.need_sparse()
        return self._consistently(lambda view: view.search_terms(query, k, filter))

    def terms(self, ids: Sequence[int] | np.ndarray) -> list[Terms]:
        """The weighted terms of each passage. Raises StoreError for an id without any, or no sparse index."""
        self.need_sparse()
        numbers = np.asarray(ids, np.int64)
        return [unpack(blob) for blob in self._consistently(lambda view: self._packed(numbers))]

    def _packed(self, ids: np.ndarray) -> list[bytes]:
        found = dict(zip(*self._catalog.terms(ids), strict=True))
        if absent := set(ids.tolist()) - found.keys():
            raise StoreError(f"passage {min(absent)} has no terms; run `semsearch doctor`")
        return [found[number] for number in ids.tolist()]

    def need_sparse(self) -> None:
        """Raises StoreError where the collection has no sparse index."""
        if self.manifest.sparse is None:
            raise StoreError(
                f"{self.path.name} has no sparse index; to have one, index into a new collection with --sparse"
            )

    def vectors(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, d) float32 of passages that have one. Raises StoreError for an id without a vector."""
        return self._consistently(lambda view: view.vectors(np.asarray(ids, np.int64)))

    def sizes(self) -> dict[str, int]:
        """Bytes on disk of catalog, vectors and index, and of the terms where there is a sparse index (they lie in
        the catalog's file, and are not counted twice)."""

        def size(*paths: Path) -> int:
            return sum(p.stat().st_size for p in paths if p.is_file())

        sizes = {
            "catalog": size(*self.path.glob(CATALOG + "*")),
            "vectors": size(*(self.path / VECTORS).glob("*.safetensors")),
            "index": size(*self.path.glob("*.faiss")),
        }
        if self.manifest.sparse is not None:
            sizes["terms"] = self._catalog.terms_size()
            sizes["catalog"] -= sizes["terms"]
        return sizes

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
        pairs = list(twins.items())
        for start in range(0, len(pairs), SEAL_AT):
            part = pairs[start : start + SEAL_AT]
            old = np.array([number for _, number in part], np.int64)
            vectors = {new: row.tobytes() for (new, _), row in zip(part, self._view.raw(old), strict=True)}
            terms = None
            if self.manifest.sparse is not None:
                terms = dict(zip(vectors, self._packed(old), strict=True))
            catalog.embed(vectors, twins=False, terms=terms)
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

    def add_vectors(
        self, ids: Sequence[int] | np.ndarray, vectors: np.ndarray, terms: Sequence[Mapping[int, int]] | None = None
    ) -> None:
        """Unit vectors (n, d) of waiting passages (n,), with the terms of each where the collection has a sparse
        index; those of the same text get them too."""
        numbers = np.asarray(ids, np.int64)
        check(self.manifest.dim, numbers, vectors)
        if not np.isfinite(vectors).all():
            raise StoreError("a vector holds NaN or infinity; encode at another precision")
        if (terms is None) != (self.manifest.sparse is None):
            raise StoreError("terms come with vectors exactly where the collection was made with a sparse index")
        rows = np.ascontiguousarray(vectors, DTYPES[self.manifest.vector_dtype])
        packed = None if terms is None else dict(zip(numbers.tolist(), map(pack, terms), strict=True))
        self._write().embed({int(n): row.tobytes() for n, row in zip(numbers, rows, strict=True)}, terms=packed)

    def commit(self) -> int:
        """Make everything so far durable and publish the documents that are complete. The generation now."""
        catalog = self._write()
        generation = catalog.commit()
        if generation != self.generation:
            self._view = self._view.at(generation, self.manifest)
        if catalog.staged_count() >= SEAL_AT:
            self._seal()
        return generation

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        self._write().rollback()

    def finish(self) -> None:
        """Commit, then put the files in their lasting form: shards sealed and merged, dead passages dropped where
        they are many, the FAISS index saved."""
        self.commit()
        self._seal()
        counts = self.counts()
        if counts.tombstones > TOMBSTONES * (counts.tombstones + counts.passages):
            self._rewrite(forget=True)
        elif sum(shard.rows < SEAL_AT for shard in self._catalog.shards()) > MERGE_AT:
            self._rewrite(forget=False)
        self.save_index(STALE)

    def compact(self) -> None:
        """Drop dead passages from every file and give their space back, whatever their share."""
        self.commit()
        self._seal()
        self._rewrite(forget=True)
        self.save_index()
        self._write().shrink()

    def _seal(self) -> None:
        """Move the staged vectors into a shard."""
        catalog = self._write()
        while len((staged := catalog.staged(limit=SHARD_ROWS))[0]):
            ids, blobs = staged
            shard = shard_files.write(self.path / VECTORS, ids, self._view.matrix(blobs))
            catalog.register([shard], [], ids)
            catalog.flush()
            self._view = self._view.at(self.generation, self.manifest)
            self._view.look_again()

    def _rewrite(self, forget: bool) -> None:
        """Put the rows of small shards, and of those that hold forgotten passages, into new ones."""
        catalog = self._write()
        if forget:
            catalog.forget_dead()
        wanted = catalog.embedded()
        old, ids, lost = [], [], 0
        for shard in catalog.shards():
            numbers = np.asarray(shard_files.read(self.path / VECTORS / shard.name)[0])
            kept = numbers[np.isin(numbers, wanted)]
            if len(kept) < len(numbers) or shard.rows < SEAL_AT:
                old.append(shard.name)
                ids.append(kept)
                lost += len(numbers) - len(kept)
        if len(old) < 2 and not lost:
            catalog.flush()
            return
        rows = np.sort(np.concatenate(ids))
        parts = [rows[start : start + SHARD_ROWS] for start in range(0, len(rows), SHARD_ROWS)]
        new = [shard_files.write(self.path / VECTORS, part, self._view.raw(part)) for part in parts]
        catalog.register(new, old, rows[:0])
        catalog.flush()
        self._view = self._view.at(self.generation, self.manifest)
        self._view.look_again()
        shard_files.remove(self.path / VECTORS, old)

    def save_index(self, stale: float = 0.0, force: bool = False) -> None:
        """Build and save the FAISS file, unless the one there lacks at most this share of the passages."""
        view, note = self._view, self.manifest.index
        if not force and note is not None and note.kind == view.manifest.index_kind and view.saved() is not None:
            added, removed = self._catalog.changes(note.generation, view.generation)
            if len(added) + len(removed) <= stale * note.rows:
                return
        ids = self._catalog.live(view.generation)
        path = self.path / f"index-{view.generation}-{secrets.token_hex(4)}.faiss"
        write_aside(path, view.build(ids, view.manifest.index_kind).save)
        stat = path.stat()
        entry = IndexFile(
            view.manifest.index_kind, view.generation, len(ids), stat.st_size, stat.st_mtime_ns, sha256(path), path.name
        )
        manifest = view.manifest.with_index(entry)
        manifest.save(self.path)  # from here on the new file counts
        self._view = view.at(view.generation, manifest)
        self._sweep()

    # Checking

    def folder(self, shard: Shard) -> Path:
        """Where a shard lies."""
        return self.path / VECTORS / shard.name

    def saved_index(self, check: bool = False) -> FaissIndex | None:
        """The FAISS file's index; None where it is missing or damaged (``check``: read whole to see)."""
        note = self.manifest.index
        if check and note is not None:
            path = self.path / note.name
            if not path.is_file() or sha256(path) != note.sha256:
                return None
        return self._view.saved()

    def replace_vectors(self, ids: np.ndarray, vectors: np.ndarray, drop: Sequence[str], lost: np.ndarray) -> int:
        """For repairs: vectors (n, d) from elsewhere in place of shards; the passages ``lost`` wait to be embedded
        again. The number of documents that do."""
        catalog = self._write()
        documents = catalog.lose(lost) if len(lost) else 0
        new = []
        if len(ids):
            new.append(shard_files.write(self.path / VECTORS, ids, vectors.astype(DTYPES[self.manifest.vector_dtype])))
        catalog.register(new, drop, ids[:0])
        catalog.flush()
        shard_files.remove(self.path / VECTORS, drop)
        self._view = self._view.at(catalog.state()[0], self.manifest)
        self._view.look_again()
        self._rewrite(forget=True)
        return documents

    def verify(self, encoder: Encoder | None = None) -> list[Problem]:
        """What is wrong with the collection's files; with an encoder, sampled passages are embedded again."""
        from indexer.storage.local.doctor import verify

        return verify(self, encoder)

    def repair(self, encoder: Encoder | None = None) -> list[Problem]:
        """The same, mending what can be."""
        from indexer.storage.local.doctor import repair

        self._write()
        return repair(self, encoder)
