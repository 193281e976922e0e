"""LocalStore: one collection in one folder. Readers come and go; a writer is alone in the world."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from indexer.errors import CorruptError, StoreError
from indexer.judgements import latest
from indexer.storage.local.on_disk import replacing
from indexer.storage.local.on_disk.files import WriterLock, sync_folder, write_bytes
from indexer.storage.local.on_disk.judgement_file import JudgementFile
from indexer.storage.local.on_disk.manifest_file import NAME as MANIFEST
from indexer.storage.local.on_disk.manifest_file import ManifestFile
from indexer.storage.local.pinned import VECTORS, PinnedIndex, Shared, Vectors, listed
from indexer.storage.local.snapshot import LocalSnapshot
from indexer.storage.local.sqlite import SQLITE, WritingDatabase, outdated, reading_engine, translated
from indexer.storage.local.words.fts import words_of_version
from indexer.storage.local.writer import LocalWriter
from indexer.storage.sql.reading import CatalogReader
from indexer.storage.sql.schema import sparse
from indexer.storage.sql.snapshot import version_of
from indexer.storage.storable import storable_judgement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from indexer.storage.local.vectors.shards import Shard
    from indexer.storage.manifest import Manifest
    from indexer.types import IndexReport, Judgement, Problem

CATALOG = "catalog.sqlite"
SETTLED_NS = 100_000_000
"""Nanoseconds after which a file's time proves that it has not changed since: clocks of file systems are coarse."""
PATIENCE_SECONDS = 10.0
"""How long a snapshot is tried to be taken while files change under it."""


class LocalStore:
    """A collection in a folder; see ``Store`` and ``Maintenance``."""

    def __init__(self, path: str | Path, index_device: str = "auto"):
        """Open the collection in a folder.

        Args:
            path: The folder.
            index_device: Where the index is searched: "auto", "cpu" or "cuda".

        Raises:
            CollectionNotFound: There is none.
            CorruptError: It has lost its catalog, or its manifest is damaged.
            FormatError: A newer version wrote it.
            LockedError: It was written by an older version and another process writes, so that it cannot be updated.
        """
        self.path = Path(path)
        self._device = index_device
        self._engine = reading_engine(self._database)
        self._shared = Shared()
        self._lock = threading.RLock()
        self._vectors: Vectors | None = None
        self._seen: tuple[tuple[object, ...], str] | None = None
        self._manifest = ManifestFile.load(self.path).manifest
        self._migrate_if_outdated()

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest, index_device: str = "auto") -> LocalStore:
        """Make a new, empty collection in a folder.

        Raises:
            StoreError: There is one already, or the folder cannot be written.
            LockedError: Another process is making one there.
        """
        folder = Path(path)
        try:
            (folder / VECTORS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make {folder}: {error.strerror or error}") from error
        lock = WriterLock(folder)
        lock.acquire()
        try:
            if (folder / MANIFEST).exists():
                raise StoreError(f"{folder} holds a collection already; open it, or remove it first")
            # The manifest comes last: a folder without one is no collection, whatever a killed process left in it.
            for name in (CATALOG, CATALOG + "-wal", CATALOG + "-shm"):
                (folder / name).unlink(missing_ok=True)
            database = WritingDatabase.create(folder / CATALOG)
            try:
                with database.step() as connection:
                    words_of_version(manifest.words).create(connection)
                database.flush()
            finally:
                database.close()
            ManifestFile(manifest).save(folder)
            sync_folder(folder.absolute().parent)
        finally:
            lock.release()
        return cls(folder, index_device)

    @property
    def _database(self) -> Path:
        return self.path / CATALOG

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def manifest(self) -> Manifest:
        """What made the vectors."""
        return self._manifest

    def _connect(self) -> Connection:
        """Return a connection that has begun to read.

        Raises:
            CollectionNotFound: The folder holds none any more.
            CorruptError: The catalog is gone, or damaged.
        """
        if not self._database.is_file():
            ManifestFile.load(self.path)
            raise CorruptError(f"{self.path} has lost its {CATALOG}; restore it from a copy, or index anew")
        connection = None
        try:
            with translated(self._database):
                connection = self._engine.connect()
                connection.begin()
                CatalogReader(connection, SQLITE).state()
                return connection
        except BaseException:
            if connection is not None:
                connection.close()
            raise

    def _migrate_if_outdated(self) -> None:
        connection = self._connect()
        try:
            with translated(self._database):
                old = outdated(connection, self._database)
        finally:
            connection.close()
        if old:
            lock = WriterLock(self.path)
            lock.acquire()
            database = WritingDatabase(self._database)
            try:
                database.migrate()
            finally:
                database.close()
                lock.release()

    # Reading

    def version(self) -> str:
        """Return a text that differs after every commit that changed what a search sees, and after replacement."""
        stamp = self._stamp()
        with self._lock:
            if self._seen is not None and self._seen[0] == stamp:
                return self._seen[1]
        before = time.time_ns()
        connection = self._connect()
        try:
            manifest = ManifestFile.load(self.path).manifest
            version = version_of(manifest, CatalogReader(connection, SQLITE).state()[0])
        finally:
            connection.close()
        newest = max((at for at in stamp if isinstance(at, int)), default=0)
        with self._lock:
            self._manifest = manifest
            self._seen = (stamp, version) if before - newest > SETTLED_NS else None
        return version

    def _stamp(self) -> tuple[object, ...]:
        """Return what tells whether the files have changed: identity and time of the catalog, its log, the manifest."""
        found: list[object] = []
        for name in (CATALOG, CATALOG + "-wal", MANIFEST):
            try:
                stat = (self.path / name).stat()
                found += [str(stat.st_ino), str(stat.st_size), stat.st_mtime_ns]
            except OSError:
                found.append(None)
        return tuple(found)

    def snapshot(self) -> LocalSnapshot:
        """Return what is committed now, pinned."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            last = time.monotonic() > until
            found = self._pin(last)
            if found is not None:
                return found
            time.sleep(0.002)

    def _pin(self, last: bool) -> LocalSnapshot | None:
        """Return a snapshot; None where files changed while they were opened, so that they may not fit each other.

        ``last``: take the files as they are; what is missing then is an error of whoever needs it.
        """
        identity = self._identity()
        file = ManifestFile.load(self.path)
        connection = None
        index = PinnedIndex(self.path, file.index)
        try:
            connection = self._connect()  # after the manifest: the index that it notes is never newer
            with translated(self._database):
                catalog = CatalogReader(connection, SQLITE)
                shards = listed(catalog)
            with self._lock:
                earlier = self._vectors if self._manifest.same_collection(file.manifest) else None
                vectors = Vectors(self.path, shards, file, earlier)
                whole = vectors.shards.pin()
                whole &= index.pin()
                now = ManifestFile.load(self.path)
                moved = self._identity() != identity or not now.manifest.same_collection(file.manifest)
                if moved or (not whole and not last and self._changed(file, now, shards)):
                    raise _Moved
                self._manifest, self._vectors = file.manifest, vectors
            words = words_of_version(file.manifest.words)
            return LocalSnapshot(self._database, connection, file, vectors, index, self._shared, words, self._device)
        except BaseException as error:
            if connection is not None:
                connection.close()
            index.close()
            if isinstance(error, _Moved) or (
                not last and isinstance(error, StoreError | OperationalError) and self._identity() != identity
            ):
                return None
            raise

    def _identity(self) -> tuple[int, int] | None:
        try:
            stat = self._database.stat()
            return stat.st_dev, stat.st_ino
        except OSError:
            return None

    def _changed(self, file: ManifestFile, now: ManifestFile, shards: list[Shard]) -> bool:
        """Tell whether a file that was missing has been replaced by a writer meanwhile, and is not simply lost."""
        if now.index != file.index:
            return True
        connection = self._connect()
        try:
            return listed(CatalogReader(connection, SQLITE)) != shards
        finally:
            connection.close()

    # Writing

    def writer(self) -> LocalWriter:
        """Return the writer.

        Raises:
            LockedError: Another one writes, in this process or another.
            StoreError: The folder cannot be written.
        """
        lock = WriterLock(self.path)
        lock.acquire()
        database = None
        try:
            file = ManifestFile.load(self.path)
            if file.manifest.format < file.at_newest_format().manifest.format:
                file = file.at_newest_format()
                file.save(self.path)
            database = WritingDatabase(self._database)
            with database.connection() as connection:
                CatalogReader(connection, SQLITE).state()
            return LocalWriter(self.path, database, file, lock, self._device)
        except BaseException:
            if database is not None:
                database.close()
            lock.release()
            raise

    # What is kept beside the passages

    def annotation(self, name: str) -> dict[str, object] | None:
        """Return a small JSON object that was kept with the collection; None without one.

        Raises:
            CorruptError: It is not JSON any more.
        """
        path = self._annotation(name)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CorruptError(f"{path} cannot be read ({error}); remove it, or restore it from a copy") from error
        if not isinstance(value, dict):
            raise CorruptError(f"{path} holds no JSON object; remove it, or restore it from a copy")
        return value

    def annotate(self, name: str, value: Mapping[str, object] | None) -> None:
        """Keep a small JSON object with the collection, durably; None removes it."""
        path = self._annotation(name)
        if value is None:
            path.unlink(missing_ok=True)
        else:
            write_bytes(path, (json.dumps(dict(value), indent=2, ensure_ascii=False) + "\n").encode())

    def _annotation(self, name: str) -> Path:
        if not re.fullmatch(r"[a-z][a-z-]*", name) or f"{name}.json" in (MANIFEST, "lock.json"):
            raise StoreError(f"{name!r} cannot name an annotation; it is a word in small letters")
        return self.path / f"{name}.json"

    def judge(self, judgements: Sequence[Judgement]) -> None:
        """Keep what a person said of some places, durably before it returns.

        Raises:
            CollectionNotFound: The collection is gone.
            StoreError: The folder cannot be written.
        """
        if judgements:
            with self._judging() as file:
                file.append(map(storable_judgement, judgements))

    def judgements(self) -> list[Judgement]:
        """Return the judgements that count, in the order in which they were made.

        Raises:
            CorruptError: A line of the file is damaged.
        """
        return latest(JudgementFile(self.path).read())

    @contextmanager
    def _judging(self) -> Iterator[JudgementFile]:
        """Give the live collection's file of judgements, locked: no other folder takes this one's place meanwhile."""
        while True:
            identity = self._identity()
            if identity is None:
                ManifestFile.load(self.path)  # says that it is gone
            file = JudgementFile(self.path)
            with file.locked():
                if self._identity() == identity:
                    yield file
                    return

    # Maintenance

    def sizes(self) -> dict[str, int]:
        """Return bytes on disk of catalog, vectors and index, and of the terms where there is a sparse index.

        The terms lie in the catalog's file and are not counted twice.
        """

        def size(*paths: Path) -> int:
            return sum(p.stat().st_size for p in paths if p.is_file())

        sizes = {
            "catalog": size(*self.path.glob(CATALOG + "*")),
            "vectors": size(*(self.path / VECTORS).glob("*.safetensors")),
            "index": size(*self.path.glob("*.faiss")),
        }
        if self._manifest.sparse is not None:
            connection = self._connect()
            try:
                query = select(func.coalesce(func.sum(func.length(sparse.c.terms)), 0))
                sizes["terms"] = int(connection.execute(query).scalar_one())
            finally:
                connection.close()
            sizes["catalog"] -= sizes["terms"]
        return sizes

    def engines(self) -> dict[str, str]:
        """Return what searches the collection, for people."""
        return {"words": f"BM25, SQLite {sqlite3.sqlite_version} FTS5"}

    def index_report(self) -> IndexReport | None:
        """Return which index the vectors have and what was measured of it; None where none is saved."""
        note = ManifestFile.load(self.path).index
        return None if note is None else note.report()

    def ask_for_index(self, plan: str | None, recall: float | None) -> None:
        """Remember which index a person wants; the next ``finish`` of a writer makes it."""
        with self.writer() as writer:
            writer.ask_for_index(plan, recall)

    def examine(self, *, mend: bool, open_encoder: Callable[[EncoderSpec], Encoder] | None = None) -> list[Problem]:
        """Return what is wrong, and with ``mend`` put right what can be; with an encoder, embed a sample again."""
        from indexer.storage.local import doctor

        return doctor.examine(self, mend, open_encoder)

    def compact(self) -> None:
        """Drop what no commit shows any more and give its space back."""
        with self.writer() as writer:
            writer.compact()

    def beside(self, manifest: Manifest) -> LocalStore:
        """Return a store to be put in this one's place: ``NAME-new``, or one left by an earlier run."""
        for place in sorted(self.path.parent.glob(f"{self.path.name}-new*")):
            try:
                if ManifestFile.load(place).manifest.fingerprint == manifest.fingerprint:
                    return LocalStore(place, self._device)
            except StoreError:
                continue
        return LocalStore.create(replacing.free_name(self.path, "new"), manifest, self._device)

    def replace(self, new: LocalStore, version: str) -> str:
        """Put ``new`` in this store's place in one step. Return the name of the folder where the old one lies now."""
        locks = [WriterLock(self.path), WriterLock(new.path)]
        taken: list[WriterLock] = []
        try:
            for lock in locks:
                lock.acquire()
                taken.append(lock)
            if self.version() != version:
                raise StoreError(
                    f"{self.path} has changed since {new.path} was made from it; make it again, it goes on from there"
                )
            with self._judging() as judged:  # whoever judges now waits, and then writes into the new folder
                judged.copy_to(new.path)
                before = replacing.exchange(self.path, new.path)
        finally:
            for lock in taken:
                lock.release()
        self._shared.clear()
        self._seen = self._vectors = None
        self._manifest = ManifestFile.load(self.path).manifest
        return before.name

    def rename(self, name: str) -> None:
        """Give the collection another name, in the same folder.

        Raises:
            StoreError: There is one of that name.
        """
        place = self.path.with_name(name)
        lock = WriterLock(self.path)
        lock.acquire()
        try:
            if os.path.lexists(place):
                raise StoreError(f"there is something at {place} already; choose another name")
            os.rename(self.path, place)
            sync_folder(place.absolute().parent)
        except OSError as error:
            raise StoreError(f"cannot rename {self.path} to {place}: {error.strerror or error}") from error
        finally:
            lock.release()
        self.path = place
        self._engine = reading_engine(self._database)
        self._seen = None

    def delete(self) -> None:
        """Delete the collection with everything in it."""
        lock = WriterLock(self.path)
        lock.acquire()
        try:
            (self.path / MANIFEST).unlink(missing_ok=True)  # first: from here on it is no collection
            shutil.rmtree(self.path, ignore_errors=True)
        finally:
            lock.release()

    def close(self) -> None:
        """Let go of mapped files. Open snapshots stay usable."""
        self._shared.clear()
        self._vectors = None
        self._engine.dispose()


class _Moved(Exception):  # noqa: N818 - a signal, not an error
    """Files changed while they were opened."""
