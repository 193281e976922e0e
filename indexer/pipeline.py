"""Bring a collection up to date with its files: read → split → stage → encode → add vectors → commit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import numpy as np

from indexer.corpus import changes, readers
from indexer.corpus.formats import RECORD_KINDS, ReadOptions
from indexer.corpus.splitter import Splitter
from indexer.embedding.encoder import Encoder, Terms
from indexer.errors import ReadError, UsageError
from indexer.storage.local.store import Store
from indexer.types import Document, FileRecord, Notes

COMMIT_SECONDS = 1.0
"""A commit follows the first batch that ends this long after the last one: what a kill can cost."""
LONG_RUN_TOKENS = 20_000
"""Runs with fewer tokens to embed start without an estimate."""
WINDOW = {"cpu": 64, "cuda": 16_384}
"""Passages sorted by length together: more pads less, fewer lets documents finish sooner."""


@dataclass
class Report:
    """What one run did. Counts are of files, and of passages where said."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    deleted: int = 0
    unchanged: int = 0
    failed: int = 0
    """Files that could not be read, or not wholly, in this run or an earlier one since which they have not changed."""
    skipped: int = 0
    embedded: int = 0
    """Texts that went through the model in this run: passages, each distinct text once."""
    reused: int = 0
    """New passages whose text was already embedded."""
    total: int = 0
    """Passages that can be searched now."""
    tokens: int = 0
    """Tokens of the passages to embed, without template."""
    to_embed: int = 0
    estimate: float | None = None
    """Seconds that embedding was estimated to take; None for short runs."""
    seconds: float = 0.0
    vanished: list[str] = field(default_factory=list)
    """Roots that do not exist any more, or are suddenly empty; nothing of theirs was removed."""


class Observer:
    """Hears of progress. This one says nothing; the command line overrides the verbs."""

    def read(self, path: str, files: int) -> None:
        """``path`` has been read and split, the ``files``-th of this run."""

    def planned(self, report: Report) -> None:
        """Everything is read; ``report`` says how much there is to embed, and for long runs how long it will take."""

    def embedded(self, passages: int, tokens: int) -> None:
        """So many more passages with so many tokens have vectors."""


def update(
    store: Store,
    roots: Sequence[str],
    open_encoder: Callable[[], Encoder],
    *,
    splitter: Splitter,
    options: ReadOptions | None = None,
    force: bool = False,
    dry_run: bool = False,
    observer: Observer | None = None,
) -> Report:
    """Index ``roots`` (files and folders; none: all roots of the collection) and drop what has vanished from them.

    ``options`` None keeps what each root was last read with. A file that cannot be read gets a status and keeps the
    passages it had; the run goes on. Whatever happens, what was committed stays, and the next run resumes there.
    ``dry_run`` reads everything and estimates, and leaves the collection as it was.

    Raises UsageError for a root that never existed, or for ``/`` and the home folder without ``force``.
    """
    observer = observer or Observer()
    started = time.monotonic()
    report = Report()
    try:
        known_roots = store.roots()
        named = [os.path.abspath(root) for root in roots] or sorted(known_roots)
        _take_in(store, named, known_roots, splitter, options, force, dry_run, report, observer)
        _embed(store, open_encoder, dry_run, report, observer)
        if not dry_run:
            store.finish()
    except BaseException as error:
        store.rollback()
        if isinstance(error, KeyboardInterrupt) and not dry_run:
            store.finish()
        raise
    if dry_run:
        store.rollback()
    report.total = store.counts().passages
    report.seconds = time.monotonic() - started
    return report


def update_from_stream(
    store: Store,
    stream: BinaryIO,
    name: str,
    open_encoder: Callable[[], Encoder],
    *,
    splitter: Splitter,
    options: ReadOptions | None = None,
    observer: Observer | None = None,
) -> Report:
    """Index the bytes of ``stream`` as the file ``name``, in place of what that name held before."""
    observer = observer or Observer()
    started = time.monotonic()
    report = Report()
    notes = Notes()
    existed = any(record.path == name for record in store.files())
    try:
        documents = readers.read_stream(stream, name, options or ReadOptions(), notes)
        record = FileRecord(name, name, 0, time.time_ns(), None)
        report.reused = _stage(store, record, documents, notes, splitter)
        report.changed, report.new = (1, 0) if existed else (0, 1)
        report.failed = int(bool(notes.problems))
        store.commit()
        _embed(store, open_encoder, False, report, observer)
        store.finish()
    except BaseException:
        store.rollback()
        raise
    report.total = store.counts().passages
    report.seconds = time.monotonic() - started
    return report


def _take_in(
    store: Store,
    named: list[str],
    known_roots: dict[str, dict[str, object]],
    splitter: Splitter,
    options: ReadOptions | None,
    force: bool,
    dry_run: bool,
    report: Report,
    observer: Observer,
) -> None:
    """Find what is new, changed, moved and gone under ``named``; stage the passages of what is new."""
    known = {record.path: record for record in store.files()}
    for root in named:
        if (
            not os.path.lexists(root)
            and root not in known_roots
            and not any(changes.within(path, root) for path in known)
        ):
            raise UsageError(f"{root} does not exist; name files or folders that do, or - for standard input")
    what = changes.compare(changes.scan(named, force=force), known, named)
    report.vanished = what.lost
    read_with = {}
    for root in named:
        owner = root if root in known_roots else _owner(root, known_roots)
        read_with[root] = options or ReadOptions.from_dict(known_roots.get(owner, {}))
        if owner in (None, root) and root not in what.lost:
            store.set_root(root, read_with[root].to_dict())

    options_changed = {root for root, how in read_with.items() if known_roots.get(root, how.to_dict()) != how.to_dict()}

    def reread(file: changes.Found) -> bool:
        """Whether a record file is now read with other fields than before."""
        return file.kind in RECORD_KINDS and file.root in options_changed

    gone = {record.path for record in what.gone}
    gone_digests = {record.digest: record.path for record in what.gone if record.status == "indexed"}
    for file in what.problems:
        if file.path not in what.lost:
            _note_problem(store, file, known.get(file.path), report)
    again = [file for file in what.unchanged if reread(file)]
    report.unchanged = len(what.unchanged) - len(again)
    last_commit = time.monotonic()
    for file in [*what.new, *what.changed, *again]:
        before = known.get(file.path)
        notes = Notes()
        try:
            record = FileRecord(file.path, file.root, file.size, file.mtime_ns, changes.digest(file.path))
            if before is not None and before.digest == record.digest and not reread(file):
                store.record(replace(record, status=before.status, reason=before.reason))
                report.unchanged += before.status == "indexed"
                report.failed += before.status == "failed"  # some of its records, still
                continue
            documents = readers.read(file.path, read_with[file.root], notes)
            report.reused += _stage(store, record, documents, notes, splitter)
        except ReadError as error:  # no digest: tried again in the next run, whatever made it fail
            report.failed += 1
            store.record(FileRecord(file.path, file.root, file.size, file.mtime_ns, None, "failed", str(error)))
            continue
        report.failed += bool(notes.problems)
        if before is not None and before.status != "skipped":
            report.changed += 1
        elif gone_digests.get(record.digest) in gone:
            gone.remove(gone_digests[record.digest])
            store.remove([gone_digests[record.digest]])
            report.moved += 1
        else:
            report.new += 1
        observer.read(file.path, report.new + report.changed + report.moved)
        if not dry_run and time.monotonic() - last_commit > COMMIT_SECONDS:
            store.commit()
            last_commit = time.monotonic()
    report.deleted += sum(known[path].status == "indexed" for path in gone)
    store.remove(sorted(gone))
    if not dry_run:
        store.commit()


def _note_problem(store: Store, file: changes.Found, before: FileRecord | None, report: Report) -> None:
    """Record why an entry was left out. What is skipped now leaves the index; what failed keeps what it had."""
    status, reason = file.problem or ("failed", "")
    if status == "failed":
        report.failed += 1
    else:
        report.skipped += 1
        if before is not None and before.status != "skipped":
            store.remove([file.path])
            report.deleted += before.status == "indexed"
    if before is None or (before.status, before.reason) != (status, reason):
        store.record(FileRecord(file.path, file.root, file.size, file.mtime_ns, None, status, reason))


def _stage(
    store: Store, record: FileRecord, documents: Iterator[Document], notes: Notes, splitter: Splitter
) -> int:
    """Split and stage one file's documents; how many of the passages were embedded before. Where reading them left
    problems (bad records), the good ones are kept and the file is listed as failed."""
    staged = store.stage(record, ((document, splitter.split(document)) for document in documents))
    if notes.problems:
        store.record(replace(record, status="failed", reason=_reason(notes.problems)))
    return staged.reused


def _embed(
    store: Store, open_encoder: Callable[[], Encoder], dry_run: bool, report: Report, observer: Observer
) -> None:
    """Give every staged passage its vector, committing on the way."""
    report.to_embed, report.tokens = store.unembedded_count()
    if not report.to_embed:
        observer.planned(report)
        return
    encoder = open_encoder()
    if report.tokens > LONG_RUN_TOKENS:
        report.estimate = report.tokens / _tokens_per_second(store, encoder)
    observer.planned(report)
    if dry_run:
        return
    window = WINDOW["cuda" if encoder.device.startswith("cuda") else "cpu"]
    last_commit = time.monotonic()
    while batch := store.unembedded(window):
        ids, texts = [id for id, _ in batch], [text for _, text in batch]
        lengths = encoder.count_tokens(texts)
        for positions, vectors, terms in batches(store, encoder, texts):
            store.add_vectors([ids[i] for i in positions], vectors, terms)
            report.embedded += len(positions)
            observer.embedded(len(positions), int(lengths[positions].sum()))
            if time.monotonic() - last_commit > COMMIT_SECONDS:
                store.commit()
                last_commit = time.monotonic()
    store.commit()


def batches(
    store: Store, encoder: Encoder, texts: list[str]
) -> Iterator[tuple[np.ndarray, np.ndarray, list[Terms] | None]]:
    """(positions, vectors, terms where the collection has a sparse index), as they are computed."""
    if store.manifest.sparse is not None:
        yield from encoder.term_batches(texts, role="passage", most=store.manifest.sparse)
    else:
        for positions, vectors in encoder.encode_batches(texts, role="passage"):
            yield positions, vectors, None


def _tokens_per_second(store: Store, encoder: Encoder) -> float:
    """Speed on a dozen of the waiting passages, after a first one to warm up. Their vectors are thrown away: a
    second of work, and dry runs and real ones measure alike."""
    texts = [text for _, text in store.unembedded(13)]
    encoder.encode(texts[:1])
    started = time.perf_counter()
    encoder.encode(texts[1:] or texts)
    return int(encoder.count_tokens(texts[1:] or texts).sum()) / max(time.perf_counter() - started, 1e-9)


def _owner(path: str, roots: dict[str, dict[str, object]]) -> str | None:
    """The known root that ``path`` lies under, the path itself left out; None when there is none."""
    return next((root for root in roots if root != path and changes.within(path, root)), None)


def _reason(problems: list[str]) -> str:
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more
