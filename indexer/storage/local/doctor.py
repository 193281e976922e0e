"""Doctor: proof that manifest, catalog, vectors and index agree, and what can be mended of what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.embedding.encoder import Encoder, EncoderSpec
from indexer.errors import CorruptError, MismatchError, ModelError, StoreError
from indexer.storage.local.database import run
from indexer.storage.local.files import sha256
from indexer.storage.local.postings import PAIR
from indexer.storage.local.shards import Shard, read
from indexer.storage.local.sql_catalog import SqlCatalog
from indexer.types import Problem

if TYPE_CHECKING:
    from indexer.storage.local.store import Store

SAMPLES = 16
LEAST_COSINE = 0.98
"""Between a stored vector and the same text embedded again: below it another model or template made it. Two runs
in bf16 with other batch sizes stay above 0.995."""


_CHECKS = {
    "documents count their waiting passages wrongly": (
        "SELECT count(*) FROM documents WHERE missing <> "
        "(SELECT count(*) FROM passages p WHERE p.document_id = documents.id AND p.embedded = 0)"
    ),
    "documents are shown before all their passages have vectors": (
        "SELECT count(*) FROM documents WHERE born IS NOT NULL AND missing > 0"
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
HIDDEN = "{} documents are hidden until `semsearch index` embeds them again"
RESTORE = "restore the folder from a copy, or index anew under another name"


def examine(
    path: str | Path, mend: bool = True, open_encoder: Callable[[EncoderSpec], Encoder] | None = None
) -> list[Problem]:
    """Check the collection in a folder, also one that does not open; with ``open_encoder``, embed samples again.

    Raises CollectionNotFound, LockedError and FormatError, which say nothing about its health."""
    from indexer.storage.local.store import Store

    found: list[Problem] = []
    try:
        with Store.open(path, writable=mend) as store:
            found += [
                Problem("leftovers", f"{name} was left by a run that was killed", True, "removed")
                for name in store.swept
            ]
            encoder = None
            if open_encoder is not None:
                try:
                    encoder = open_encoder(store.manifest.spec)
                except (ModelError, MismatchError) as error:
                    remedy = "make the model available again, or check without it"
                    found.append(Problem("encoder", str(error), False, remedy))
            found += repair(store, encoder) if mend else verify(store, encoder)
    except CorruptError as error:
        found.append(Problem("catalog", str(error), False, RESTORE))
    return found


def verify(store: Store, encoder: Encoder | None = None) -> list[Problem]:
    """What is wrong. Reads every byte of the collection (the full text of a writable one: SQLite wants it so)."""
    catalog = store.catalog
    try:
        found = [*_database(catalog)]
        if found:
            return found  # what hangs on the catalog cannot be judged by it
        if store.writable and not _words_agree(catalog):
            found.append(Problem("words", WORDS))
        found += _lost(store)[0]
        if len(bare := _bare(store)):
            found.append(Problem("terms", NO_TERMS.format(len(bare))))
        found += _index(store)
        if encoder is not None and not found:
            found += _samples(store, encoder)
    except CorruptError as error:
        found = [Problem("catalog", str(error), False, RESTORE)]
    return found


def repair(store: Store, encoder: Encoder | None = None) -> list[Problem]:
    """What is wrong, with what can be derived anew mended: the words, the index, vectors that the index still has."""
    catalog = store.catalog
    try:
        found = [*_database(catalog)]
        if found:
            return found
        if not _words_agree(catalog):
            with catalog.writing() as connection:
                run(connection, "INSERT INTO words (words) VALUES ('rebuild')")
            catalog.flush()
            found.append(Problem("words", WORDS, True, "full text rebuilt"))
        problems, ids, damaged = _lost(store)
        if problems:
            remedy = _recover(store, ids, damaged)
            found += [replace(problem, mended=True, remedy=remedy) for problem in problems]
        if len(bare := _bare(store)):
            documents = store.replace_vectors(bare[:0], np.empty((0, store.manifest.dim), np.float32), [], bare)
            found.append(Problem("terms", NO_TERMS.format(len(bare)), True, HIDDEN.format(documents)))
        if index := _index(store):
            store.save_index(force=True)
            found += [replace(problem, mended=True, remedy="index built anew from the vectors") for problem in index]
        if encoder is not None and not found:
            found += _samples(store, encoder)
    except CorruptError as error:
        found = [Problem("catalog", str(error), False, RESTORE)]
    return found


def _database(catalog: SqlCatalog) -> Iterator[Problem]:
    with catalog.reading() as connection:
        for row in run(connection, "PRAGMA integrity_check(10)").scalars():
            if row != "ok":
                yield Problem("catalog", f"SQLite: {row}", False, RESTORE)
        if run(connection, "PRAGMA foreign_key_check").first():
            yield Problem("catalog", "rows refer to rows that do not exist", False, RESTORE)
        for what, query in _CHECKS.items():
            if number := run(connection, query).scalar_one():
                yield Problem("catalog", f"{number} {what}", False, RESTORE)
    catalog.state()


def _words_agree(catalog: SqlCatalog) -> bool:
    """Whether the full text index says what the passages say."""
    try:
        with catalog.writing() as connection:
            run(connection, "INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    except CorruptError:
        return False
    return True


def _lost(store: Store) -> tuple[list[Problem], np.ndarray, list[Shard]]:
    """(problems, ids of passages without a sound vector, damaged shards)."""
    problems, damaged, sound = [], [], []
    for shard in store.catalog.shards():
        trouble = _damage(store, shard)
        if trouble is None:
            sound.append(np.asarray(read(store.folder(shard))[0]))
        else:
            damaged.append(shard)
            problems.append(Problem("vectors", f"{shard.name}: {trouble}"))
    staged, blobs = store.catalog.staged()
    width = store.manifest.dim * (2 if store.manifest.vector_dtype == "fp16" else 4)
    whole = np.array([len(blob) == width for blob in blobs], bool)
    if not whole.all():
        problems.append(Problem("vectors", f"{(~whole).sum()} staged vectors have a wrong length"))
    ids = np.concatenate([*sound, staged[whole]]) if len(sound) or len(staged) else staged
    wanted = store.catalog.embedded()
    if len(np.unique(ids)) < len(ids):
        problems.append(Problem("vectors", f"{len(ids) - len(np.unique(ids))} passages have two vectors"))
    lost = np.setdiff1d(wanted, ids)
    if len(lost) and not damaged:
        problems.append(Problem("vectors", f"{len(lost)} passages have no vector"))
    if len(surplus := np.setdiff1d(ids, wanted)):
        problems.append(Problem("vectors", f"{len(surplus)} vectors belong to no passage"))
    return problems, lost, damaged


def _bare(store: Store) -> np.ndarray:
    """(n,) int64: the passages with a vector and no terms that can be read, in a collection with a sparse index."""
    if store.manifest.sparse is None:
        return np.empty(0, np.int64)
    ids, blobs = store.catalog.terms()
    whole = np.array([len(blob) % PAIR.itemsize == 0 for blob in blobs], bool)
    return np.setdiff1d(store.catalog.embedded(), ids[whole])


def _damage(store: Store, shard: Shard) -> str | None:
    """What is wrong with a shard's file; None if nothing."""
    path = store.folder(shard)
    if not path.is_file():
        return "is missing"
    if sha256(path) != shard.sha256:
        return "its bytes are not those that were written (SHA-256)"
    try:
        ids, vectors = read(path)
    except CorruptError as error:
        return str(error)
    if vectors.shape != (shard.rows, store.manifest.dim) or (np.diff(ids) <= 0).any():
        return f"holds {vectors.shape} vectors, noted are {shard.rows} of {store.manifest.dim} dimensions"
    for start in range(0, len(vectors), 8192):
        lengths = np.linalg.norm(vectors[start : start + 8192].astype(np.float32), axis=1)
        if not (np.abs(lengths - 1) < 0.01).all():
            return f"row {start + int(np.argmax(~(np.abs(lengths - 1) < 0.01)))} is not of unit length"
    return None


def _recover(store: Store, lost: np.ndarray, damaged: list[Shard]) -> str:
    """Take lost vectors from the index, where it has them unrounded; let the rest be embedded anew."""
    saved = store.saved_index()
    vectors = np.empty((0, store.manifest.dim), np.float32)
    ids = lost[:0]
    if saved is not None and saved.kind == "flat":
        ids = np.intersect1d(lost, saved.ids)
        vectors = saved.reconstruct(ids)
    documents = store.replace_vectors(ids, vectors, [shard.name for shard in damaged], np.setdiff1d(lost, ids))
    said = f"{len(ids)} vectors taken from the index" if len(ids) else "no vector could be recovered"
    if documents:
        said += f"; {HIDDEN.format(documents)}"
    return said


def _index(store: Store) -> list[Problem]:
    """The FAISS file against its note in the manifest, the catalog and the raw vectors."""
    note = store.manifest.index
    if note is None or note.generation < store.catalog.state()[1]:
        return []  # yet to be built: indexing or a compaction was interrupted
    saved = store.saved_index(check=True)
    if saved is None:
        return [Problem("index", "the FAISS file is missing, damaged or of another generation")]
    expected = store.catalog.live(note.generation)
    if not np.array_equal(saved.ids, expected):
        return [Problem("index", f"it holds {len(saved.ids)} ids, the catalog {len(expected)} at its generation")]
    if saved.kind == "flat" and len(expected):
        sample = np.random.default_rng(0).choice(expected, min(len(expected), 1000), replace=False)
        if not np.array_equal(saved.reconstruct(sample), store.vectors(sample)):
            return [Problem("index", "its vectors are not those of the shards")]
    return []


def _samples(store: Store, encoder: Encoder) -> list[Problem]:
    """Embed some passages again: a store that was made by another encoder than it says cannot be mended."""
    if encoder.spec.fingerprint != store.manifest.fingerprint:
        raise StoreError(
            f"the encoder is {encoder.spec.fingerprint}, the collection was made by {store.manifest.fingerprint}; "
            "check it with its own"
        )
    live = store.allowed(None)
    if not len(live):
        return []
    sample = np.random.default_rng(0).choice(live, min(len(live), SAMPLES), replace=False)
    texts = [found.passage.text for found in store.get(sample)]
    cosines = (encoder.encode(texts) * store.vectors(sample)).sum(axis=1)
    if (wrong := cosines < LEAST_COSINE).any():
        return [
            Problem(
                "vectors",
                f"{wrong.sum()} of {len(sample)} sampled passages got another vector when embedded again "
                f"(least cosine {cosines.min():.3f})",
                False,
                "index anew: the vectors were made by another model or on faulty hardware",
            )
        ]
    return []
