"""Doctor: proof that manifest, catalog, vectors and index agree, and mending of what can be mended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import text

from indexer.errors import CorruptError
from indexer.storage.embedded_again import MIN_COSINE, embedded_again
from indexer.storage.local.on_disk.files import sha256
from indexer.storage.local.pinned import VECTORS, PinnedIndex, listed, staged
from indexer.storage.local.vectors import shards as shard_files
from indexer.storage.local.words.fts import words_of_version
from indexer.storage.sql.packed_terms import PAIR
from indexer.storage.vectors import DTYPES
from indexer.types import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from indexer.storage.local.store import LocalStore
    from indexer.storage.local.vectors.shards import Shard
    from indexer.storage.local.writer import LocalWriter
    from indexer.storage.sql.writing import CatalogWriter

NOISE = 0.02
"""Recall that two samples of 500 passages may differ by without anything being wrong."""

_CHECKS = {
    "documents count their waiting passages wrongly": (
        "SELECT count(*) FROM documents WHERE missing <> "
        "(SELECT count(*) FROM passages p WHERE p.document_id = documents.id AND p.embedded = 0)"
    ),
    "documents belong to a generation that is yet to come": (
        "SELECT count(*) FROM documents, state WHERE born < coalesce(died, born + 1) "
        "AND max(born, coalesce(died, 0)) > generation"
    ),
    "documents in use belong to no known file": (
        "SELECT count(*) FROM documents WHERE died IS NULL AND path NOT IN (SELECT path FROM files)"
    ),
    "vectors are staged for passages that are marked as waiting": (
        "SELECT count(*) FROM staged s JOIN passages p ON p.id = s.id WHERE p.embedded = 0"
    ),
    "passages are marked as waiting and have terms": (
        "SELECT count(*) FROM sparse s JOIN passages p ON p.id = s.id WHERE p.embedded = 0"
    ),
}
"""What to say of a number above 0 → the query that counts it."""

WORDS = "full text and passages disagree"
NO_TERMS = "{} passages have a vector and no sound terms"
AGAIN = "{} documents are found by words alone until `semsearch index` embeds them again"
RESTORE = "restore the folder from a copy, or index anew under another name"


def examine(
    store: LocalStore, mend: bool, open_encoder: Callable[[EncoderSpec], Encoder] | None = None
) -> list[Problem]:
    """Return what is wrong with a collection; with ``mend``, mend what can be.

    That is the words, the index, and vectors that the index still has.

    Reads every byte. Takes the writer's lock, also where nothing is to be mended: SQLite checks its full text only for
    one who may write.

    Args:
        store: The collection.
        mend: Whether to mend.
        open_encoder: Opens the encoder that embeds some passages again; None: do not.

    Raises:
        LockedError: Another process writes.
    """
    found: list[Problem] = []
    try:
        with store.writer() as writer:
            found += [
                Problem("leftovers", f"{name} was left by a run that was killed", True, "removed")
                for name in writer.swept
            ]
            found += _examine(writer, mend)
    except CorruptError as error:
        return [*found, Problem("catalog", str(error), False, RESTORE)]
    if open_encoder is not None and not found:
        with store.snapshot() as snapshot:
            found += embedded_again(snapshot, snapshot.live(), open_encoder)
    return found


def _examine(writer: LocalWriter, mend: bool) -> list[Problem]:
    with writer.catalog() as catalog:
        found = list(_database(catalog))
    if found:
        return found  # what hangs on the catalog cannot be judged by it
    words = words_of_version(writer.file.manifest.words)
    with writer.catalog() as catalog:
        agree = words.agrees(catalog.connection)
        if not agree and mend:
            words.rebuild(catalog.connection)
    if not agree:
        found.append(Problem("words", WORDS, mend, "full text rebuilt" if mend else ""))
        writer.database.flush()
    problems, ids, damaged = _lost(writer)
    if problems:
        remedy = _recover(writer, ids, damaged) if mend else ""
        found += [replace(problem, mended=mend, remedy=remedy) for problem in problems]
    if len(bare := _bare(writer)):
        remedy = ""
        if mend:
            nothing = np.empty((0, writer.file.manifest.dim), np.float32)
            remedy = AGAIN.format(writer.replace_vectors(bare[:0], nothing, [], bare))
        found.append(Problem("terms", NO_TERMS.format(len(bare)), mend, remedy))
    if index := _index(writer):
        if mend:
            writer.save_index(force=True)
        remedy = "index built anew from the vectors" if mend else ""
        found += [replace(problem, mended=mend, remedy=remedy) for problem in index]
    return found or _recall(writer, mend)


def _database(catalog: CatalogWriter) -> Iterator[Problem]:
    run = catalog.connection.execute
    for row in run(text("PRAGMA integrity_check(10)")).scalars():
        if row != "ok":
            yield Problem("catalog", f"SQLite: {row}", False, RESTORE)
    if run(text("PRAGMA foreign_key_check")).first():
        yield Problem("catalog", "rows refer to rows that do not exist", False, RESTORE)
    for fault, query in _CHECKS.items():
        if number := run(text(query)).scalar_one():
            yield Problem("catalog", f"{number} {fault}", False, RESTORE)
    catalog.state()


def _lost(writer: LocalWriter) -> tuple[list[Problem], np.ndarray, list[Shard]]:
    """Return (problems, ids of passages without a sound vector, damaged shards)."""
    problems, damaged, sound = [], [], []
    manifest = writer.file.manifest
    with writer.catalog() as catalog:
        present, (numbers, blobs), wanted = listed(catalog), staged(catalog), catalog.embedded()
    for shard in present:
        trouble = _damage(writer, shard)
        if trouble is None:
            sound.append(np.asarray(shard_files.read(writer.folder / VECTORS / shard.name)[0]))
        else:
            damaged.append(shard)
            problems.append(Problem("vectors", f"{shard.name}: {trouble}"))
    width = manifest.dim * DTYPES[manifest.vector_dtype].itemsize
    whole = np.array([len(blob) == width for blob in blobs], bool)
    if not whole.all():
        problems.append(Problem("vectors", f"{(~whole).sum()} staged vectors have a wrong length"))
    ids = np.concatenate([*sound, numbers[whole]])
    if len(np.unique(ids)) < len(ids):
        problems.append(Problem("vectors", f"{len(ids) - len(np.unique(ids))} passages have two vectors"))
    lost = np.setdiff1d(wanted, ids)
    if len(lost) and not damaged:
        problems.append(Problem("vectors", f"{len(lost)} passages have no vector"))
    if len(surplus := np.setdiff1d(ids, wanted)):
        problems.append(Problem("vectors", f"{len(surplus)} vectors belong to no passage"))
    return problems, lost, damaged


def _bare(writer: LocalWriter) -> np.ndarray:
    """Return (n,) int64: the passages with a vector and without sound terms, in a collection with a sparse index."""
    if writer.file.manifest.sparse is None:
        return np.empty(0, np.int64)
    with writer.catalog() as catalog:
        ids, blobs = catalog.terms()
        whole = np.array([len(blob) % PAIR.itemsize == 0 for blob in blobs], bool)
        return np.setdiff1d(catalog.embedded(), ids[whole])


def _damage(writer: LocalWriter, shard: Shard) -> str | None:
    """Return what is wrong with a shard's file; None if nothing."""
    path, dim = writer.folder / VECTORS / shard.name, writer.file.manifest.dim
    if not path.is_file():
        return "is missing"
    if sha256(path) != shard.sha256:
        return "its bytes are not those that were written (SHA-256)"
    try:
        ids, vectors = shard_files.read(path)
    except CorruptError as error:
        return str(error)
    if vectors.shape != (shard.rows, dim) or (np.diff(ids) <= 0).any():
        return f"holds {vectors.shape} vectors, noted are {shard.rows} of {dim} dimensions"
    for start in range(0, len(vectors), 8192):
        lengths = np.linalg.norm(vectors[start : start + 8192].astype(np.float32), axis=1)
        if not (np.abs(lengths - 1) < 0.01).all():
            return f"row {start + int(np.argmax(~(np.abs(lengths - 1) < 0.01)))} is not of unit length"
    return None


def _recover(writer: LocalWriter, lost: np.ndarray, damaged: list[Shard]) -> str:
    """Take lost vectors from the index, where it has them unrounded; let the rest be embedded anew."""
    with writer.catalog() as catalog:
        oldest = catalog.state()[1]
    saved = PinnedIndex(writer.folder, writer.file.index).load(writer.file.manifest.dim, oldest)
    vectors = np.empty((0, writer.file.manifest.dim), np.float32)
    ids = lost[:0]
    if saved is not None and saved.shape.scans and saved.shape.whole:
        ids = np.intersect1d(lost, saved.ids)
        vectors = saved.reconstruct(ids)
    documents = writer.replace_vectors(ids, vectors, [shard.name for shard in damaged], np.setdiff1d(lost, ids))
    said = f"{len(ids)} vectors taken from the index" if len(ids) else "no vector could be recovered"
    if documents:
        said += f"; {AGAIN.format(documents)}"
    return said


def _index(writer: LocalWriter) -> list[Problem]:
    """Compare the FAISS file with its note in the manifest, the catalog and the raw vectors."""
    note = writer.file.index
    with writer.catalog() as catalog:
        oldest = catalog.state()[1]
        if note is None or note.generation < oldest:
            return []  # yet to be built: indexing or a compaction was interrupted
        path = writer.folder / note.name
        whole = path.is_file() and sha256(path) == note.sha256
        saved = PinnedIndex(writer.folder, note).load(writer.file.manifest.dim, oldest) if whole else None
        if saved is None:
            return [Problem("index", "the FAISS file is missing, damaged or of another generation")]
        expected = catalog.live(note.generation)
        if not np.array_equal(saved.ids, expected):
            return [Problem("index", f"it holds {len(saved.ids)} ids, the catalog {len(expected)} at its generation")]
        if saved.shape.cells is None and len(expected):
            sample = np.random.default_rng(0).choice(expected, min(len(expected), 1000), replace=False)
            coded, raw = saved.reconstruct(sample), writer.raw(sample).astype(np.float32)
            same = np.array_equal(coded, raw) if saved.shape.scans and saved.shape.whole else _alike(coded, raw)
            if not same:
                return [Problem("index", "its vectors are not those of the shards")]
    return []


def _alike(coded: np.ndarray, raw: np.ndarray) -> bool:
    cosines = (coded * raw).sum(axis=1) / np.maximum(np.linalg.norm(coded, axis=1), 1e-6)
    return bool((cosines > MIN_COSINE).all())


def _recall(writer: LocalWriter, mend: bool) -> list[Problem]:
    """Measure again how much of the truth the index finds; with ``mend``, keep it, and mend what finds too little."""
    note = writer.file.index
    if note is None or note.recall is None:
        return []
    now = writer.measure_index(seed=1)
    if now is None or now.recall is None:
        return []
    short = now.recall < note.asked - NOISE
    if mend:
        if short:
            writer.save_index(force=True)
        else:
            writer.keep_measured(now)
    if not short:
        return []
    said = f"recall@10 is {now.recall:.3f} on {now.sampled} sampled passages, {note.asked} was asked for"
    return [Problem("index", said, mend, "index built and measured anew" if mend else "")]
