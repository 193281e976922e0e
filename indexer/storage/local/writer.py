"""The writer of a folder: one SQLite transaction, vectors that are sealed into shards, the FAISS file made anew."""

from __future__ import annotations

import itertools
import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import delete, func, insert, select, text

from indexer.errors import StoreError
from indexer.progress import IndexBuilt, IndexPlanned, Progress, silent
from indexer.storage.local.index.building import Builder, planned
from indexer.storage.local.index.refined import Effort
from indexer.storage.local.on_disk.files import ASIDE, sha256, write_aside
from indexer.storage.local.on_disk.manifest_file import IndexFile, ManifestFile
from indexer.storage.local.pinned import VECTORS, PinnedIndex, Vectors, listed, staged
from indexer.storage.local.sqlite import SQLITE, WritingDatabase
from indexer.storage.local.vectors import shards as shard_files
from indexer.storage.local.vectors.tables import shards as shards_table
from indexer.storage.local.vectors.tables import staged as staged_table
from indexer.storage.local.words.fts import words_of_version
from indexer.storage.planner import AUTO
from indexer.storage.sql.packed_terms import pack
from indexer.storage.sql.row_values import text_digest
from indexer.storage.sql.schema import sparse
from indexer.storage.sql.writer import CatalogVerbs
from indexer.storage.sql.writing import CatalogWriter, NewIds
from indexer.storage.vectors import DTYPES, check_embedded
from indexer.types import Embedded, Staged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from indexer.storage.local.on_disk.files import WriterLock
    from indexer.storage.local.vectors.shards import Shard
    from indexer.types import IndexReport, Parsed, Work

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


class LocalWriter(CatalogVerbs):
    """The one writer of a LocalStore; see ``Writer``. Made by ``LocalStore.writer``."""

    def __init__(self, folder: Path, database: WritingDatabase, file: ManifestFile, lock: WriterLock, device: str):
        """Take over the open database and the lock."""
        super().__init__()
        self.folder = folder
        self.database = database
        self.file = file
        self._lock = lock
        self._device = device
        self._words = words_of_version(file.manifest.words)
        self._claimed: dict[int, str] = {}
        self._closed = False
        with self.catalog() as catalog:
            self._vectors = Vectors(folder, listed(catalog), file)
        self.swept = self.sweep()
        """Files that a killed writer had left, removed on opening."""

    @contextmanager
    def catalog(self) -> Iterator[CatalogWriter]:
        """Give the catalog for a step that is undone as a whole where it fails."""
        if self._closed:
            raise StoreError(f"this writer of {self.folder.name} is closed; take another one")
        with self.database.step() as connection:
            yield CatalogWriter(connection, SQLITE)

    def sweep(self) -> list[str]:
        """Remove what a killed writer left: half-written files and shards that were never registered."""
        with self.catalog() as catalog:
            known = {shard.name for shard in listed(catalog)}
        left = sorted(p.name for p in (self.folder / VECTORS).glob("*") if p.name not in known)
        shard_files.remove(self.folder / VECTORS, left)
        index = self.file.index.name if self.file.index else ""
        for path in [*self.folder.glob("*" + ASIDE), *self.folder.glob("*.faiss")]:
            if path.name != index:
                left.append(path.name)
                with suppress(OSError):  # mapped by a reader, on Windows
                    path.unlink()
        return left

    # Changes

    def stage(self, parsed: Parsed) -> Staged:
        """Take in a new or changed file in place of what it had."""
        with self.catalog() as catalog:
            used = catalog.connection.execute(text("SELECT name, seq FROM sqlite_sequence"))
            last = {row[0]: row[1] for row in used}
            first = last.get("documents", 0) + 1, last.get("passages", 0) + 1
            rows = catalog.stage(parsed.file, parsed.documents, NewIds(*map(itertools.count, first)))
            pairs = list(rows.twins.items())
            for start in range(0, len(pairs), SEAL_AT):
                self._reuse(catalog, dict(pairs[start : start + SEAL_AT]))
        return Staged(rows.passages, rows.kept + len(rows.twins))

    def _reuse(self, catalog: CatalogWriter, twins: Mapping[int, int]) -> None:
        """Give passages the vectors, and terms, of older ones of the same text."""
        old = np.array(list(twins.values()), np.int64)
        vectors = {new: row.tobytes() for new, row in zip(twins, self._vectors.raw(catalog, old), strict=True)}
        terms = None
        if self.file.manifest.sparse is not None:
            found = dict(zip(*catalog.terms(np.unique(old)), strict=True))
            terms = {new: found[source] for new, source in twins.items()}
        self._keep(catalog, vectors, terms)

    def _keep(self, catalog: CatalogWriter, vectors: Mapping[int, bytes], terms: Mapping[int, bytes] | None) -> None:
        if not vectors:
            return
        catalog.connection.execute(insert(staged_table), [{"id": n, "vector": blob} for n, blob in vectors.items()])
        if terms is not None:
            catalog.connection.execute(insert(sparse), [{"id": n, "terms": terms[n]} for n in vectors])
        self._vectors_shown |= catalog.mark_embedded(vectors)

    def claim(self, n: int, lease: float | None = None) -> list[Work]:  # noqa: ARG002 - alone, a lease never ends
        """Return at most n texts that wait for a vector."""
        with self.catalog() as catalog:
            works = catalog.work(n, {text_digest(claimed) for claimed in self._claimed.values()})
        self._claimed |= {work.id: work.text for work in works}
        return works

    def put(self, embedded: Embedded) -> None:
        """Give claimed texts their vectors."""
        manifest = self.file.manifest
        ids = np.asarray(embedded.ids, np.int64)
        check_embedded(manifest.dim, manifest.sparse is not None, ids, embedded)
        rows = np.ascontiguousarray(embedded.vectors, DTYPES[manifest.vector_dtype])
        blobs = {int(n): row.tobytes() for n, row in zip(ids, rows, strict=True)}
        packed = None if embedded.terms is None else dict(zip(blobs, map(pack, embedded.terms), strict=True))
        texts = {n: self._claimed[n] for n in blobs if n in self._claimed}
        with self.catalog() as catalog:
            like = catalog.without_vector(texts)
            vectors = {n: blobs[source] for n, source in like.items()}
            terms = None if packed is None else {n: packed[source] for n, source in like.items()}
            self._keep(catalog, vectors, terms)
        for n in texts:
            del self._claimed[n]

    # Commits

    def commit(self) -> int:
        """Make everything so far durable and visible in one step."""
        with self.catalog() as catalog:
            generation, new = catalog.publish(self._vectors_shown)
            if new:
                self._words.add(catalog.connection, generation)
        self.database.flush()
        self._vectors_shown = False
        with self.catalog() as catalog:
            full = catalog.connection.execute(select(func.count()).select_from(staged_table)).scalar_one() >= SEAL_AT
        if full:
            self.seal()
        return generation

    def rollback(self) -> None:
        """Undo everything since the last commit and give claimed work back."""
        self.database.rollback()
        self._claimed.clear()
        self._vectors_shown = False

    def finish(self, progress: Progress = silent) -> None:
        """Commit, and put the files in their lasting form.

        Shards are sealed and merged, dead passages dropped where they are many, the FAISS index saved.
        """
        self.commit()
        self.seal()
        with self.catalog() as catalog:
            counts, few = catalog.counts(catalog.state()[0]), [s for s in listed(catalog) if s.rows < SEAL_AT]
        if counts.tombstones > TOMBSTONES * (counts.tombstones + counts.passages):
            self._rewrite(forget=True)
        elif len(few) > MERGE_AT:
            self._rewrite(forget=False)
        self.save_index(STALE, progress=progress)

    def compact(self) -> None:
        """Drop dead passages from every file and give their space back, whatever their share."""
        self.commit()
        self.seal()
        self._rewrite(forget=True)
        self.save_index()
        self.database.shrink()

    def raw(self, ids: np.ndarray) -> np.ndarray:
        """Return the vectors (n, d) of these passages as they are stored."""
        with self.catalog() as catalog:
            return self._vectors.raw(catalog, ids)

    def seal(self) -> None:
        """Move the staged vectors into shards."""
        while True:
            with self.catalog() as catalog:
                ids, blobs = staged(catalog, limit=SHARD_ROWS)
            if not len(ids):
                return
            self._register([shard_files.write(self.folder / VECTORS, ids, self._vectors.matrix(blobs))], [], ids)

    def _register(self, add: Sequence[Shard], drop: Sequence[str], sealed: np.ndarray) -> None:
        """Note shards in place of others, and of the staged vectors ``sealed`` (ids), durably."""
        with self.catalog() as catalog:
            run = catalog.connection.execute
            if drop:
                run(delete(shards_table).where(shards_table.c.name.in_(drop)))
            if add:
                run(insert(shards_table), [vars(shard) for shard in add])
            if len(sealed):
                run(delete(staged_table).where(SQLITE.among(staged_table.c.id, sealed)))
            now = listed(catalog)
        self.database.flush()
        self._vectors = Vectors(self.folder, now, self.file, self._vectors)
        shard_files.remove(self.folder / VECTORS, drop)

    def _rewrite(self, forget: bool) -> None:
        """Put the rows of small shards, and of those that hold forgotten passages, into new ones."""
        with self.catalog() as catalog:
            if forget:
                self._words.remove_dead(catalog.connection, catalog.state()[0])
                catalog.forget_dead()
            wanted, present = catalog.embedded(), listed(catalog)
        old, ids, lost = [], [], 0
        for shard in present:
            numbers = np.asarray(shard_files.read(self.folder / VECTORS / shard.name)[0])
            kept = numbers[np.isin(numbers, wanted)]
            if len(kept) < len(numbers) or shard.rows < SEAL_AT:
                old.append(shard.name)
                ids.append(kept)
                lost += len(numbers) - len(kept)
        if len(old) < 2 and not lost:
            self.database.flush()
            return
        rows = np.sort(np.concatenate(ids))
        parts = [rows[start : start + SHARD_ROWS] for start in range(0, len(rows), SHARD_ROWS)]
        with self.catalog() as catalog:
            new = [shard_files.write(self.folder / VECTORS, part, self._vectors.raw(catalog, part)) for part in parts]
        self._register(new, old, rows[:0])

    def save_index(self, stale: float = 0.0, force: bool = False, progress: Progress = silent) -> None:
        """Plan, build, measure and save the FAISS file, unless the one there lacks at most this share of the passages.

        Args:
            stale: Share of changed passages up to which the file stays as it is.
            force: Build it in any case.
            progress: Hears of the plan before it is built, and of what was measured.
        """
        self.seal()
        manifest = self.file.manifest
        with self.catalog() as catalog:
            generation, oldest = catalog.state()
            note, churn = self.file.index, 0.0
            rows = catalog.counts(generation).embedded
            saved = None if force or note is None else PinnedIndex(self.folder, note).load(manifest.dim, oldest)
            added = removed = None
            if note is not None and saved is not None:
                added, removed = catalog.changes(note.generation, generation)
                churn = len(removed) / max(1, note.rows)
                same = stale > 0 or note.factory == planned(manifest, rows, churn).factory
                if same and note.asked_as(manifest) and len(added) + len(removed) <= stale * note.rows:
                    return
            ids = catalog.live(generation)
        plan = planned(manifest, len(ids), churn)
        progress(IndexPlanned(plan.factory, len(ids), plan.bytes, plan.seconds, plan.why))
        started = time.monotonic()
        builder = Builder(self._vectors.sealed, self._device)
        grown = None
        if saved is not None and added is not None and removed is not None and saved.shape.factory == plan.factory:
            grown = builder.grown(PinnedIndex(self.folder, note), manifest.dim, oldest, added, removed)
        index = grown or builder.built(plan, ids, manifest.dim)
        measured = builder.measured(index, ids, manifest.index_recall)
        path = self.folder / f"index-{generation}-{secrets.token_hex(4)}.faiss"
        write_aside(path, index.save)
        stat = path.stat()
        entry = IndexFile(
            plan.factory,
            generation,
            len(ids),
            stat.st_size,
            stat.st_mtime_ns,
            sha256(path),
            path.name,
            why=plan.why,
            named=manifest.index_plan,
            effort=measured.effort.to_dict(),
            asked=manifest.index_recall,
            recall=measured.recall,
            sampled=measured.sampled,
            seconds=round(time.monotonic() - started, 3),
        )
        self.file = self.file.with_index(entry)
        self.file.save(self.folder)  # from here on the new file counts
        self.sweep()
        progress(IndexBuilt(entry.report()))

    def measure_index(self, seed: int) -> IndexReport | None:
        """Measure the saved index's recall again, by other passages; None where there is none, or it is not whole."""
        manifest, note = self.file.manifest, self.file.index
        with self.catalog() as catalog:
            saved = PinnedIndex(self.folder, note).load(manifest.dim, catalog.state()[1])
        if saved is None or note is None:
            return None
        builder = Builder(self._vectors.sealed, self._device)
        recall, sampled = builder.recall(saved, saved.ids, Effort.from_dict(note.effort), seed)
        return replace(note, recall=recall, sampled=sampled).report()

    def keep_measured(self, report: IndexReport) -> None:
        """Keep what was measured of the saved index."""
        if self.file.index is not None:
            entry = replace(self.file.index, recall=report.recall, sampled=report.sampled)
            self.file = self.file.with_index(entry)
            self.file.save(self.folder)

    def ask_for_index(self, plan: str | None, recall: float | None) -> None:
        """Remember which index a person wants, durably; ``finish`` makes it. None leaves that as it is.

        Args:
            plan: A factory, or "auto".
            recall: The recall@10 that is asked for.
        """
        manifest = self.file.manifest
        wanted = manifest.index_plan if plan is None else None if plan == AUTO else plan
        manifest = replace(manifest, index_plan=wanted, index_recall=recall or manifest.index_recall)
        if manifest != self.file.manifest:
            self.file = replace(self.file, manifest=manifest)
            self.file.save(self.folder)

    def replace_vectors(self, ids: np.ndarray, vectors: np.ndarray, drop: Sequence[str], lost: np.ndarray) -> int:
        """Put vectors from elsewhere in place of shards, for repairs; ``lost`` passages wait to be embedded again.

        Args:
            ids: (n,) int64.
            vectors: (n, d) unit vectors of theirs.
            drop: Names of the shards that go.
            lost: (m,) int64 passages that have no vector any more.

        Returns:
            The number of documents that have such passages.
        """
        with self.catalog() as catalog:
            catalog.connection.execute(delete(staged_table).where(SQLITE.among(staged_table.c.id, lost)))
            documents = catalog.lose(lost) if len(lost) else 0
        new = []
        if len(ids):
            rows = vectors.astype(DTYPES[self.file.manifest.vector_dtype])
            new.append(shard_files.write(self.folder / VECTORS, ids, rows))
        self._register(new, drop, ids[:0])
        self._rewrite(forget=True)
        return documents

    def close(self) -> None:
        """End writing; what was not committed is lost."""
        if not self._closed:
            self._closed = True
            self.database.close()
            self._lock.release()
