"""Bring a collection up to date with its files: scan → plan → parse → stage → embed → commit."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from indexer.corpus.formats import ReadOptions
from indexer.corpus.parse import parse_stream
from indexer.embedder import COMMIT_SECONDS, EncoderEmbedder, embed_waiting
from indexer.parsing import Job, read_files
from indexer.plan import make_plan, take_walk
from indexer.progress import FileRead, Planned, Progress, TextsEmbedded, silent
from indexer.types import FileRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO

    from indexer.corpus.splitter import Splitter
    from indexer.embedding.encoder import Encoder
    from indexer.plan import Plan, ToRead
    from indexer.progress import Event
    from indexer.storage.store import Store, Writer
    from indexer.types import Parsed


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
    """Passages of new and changed files that had a vector already."""
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
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Path → content of an indexed file that was left out on purpose, of the files that this run has read."""

    def hear(self, event: Event) -> None:
        """Count what happens while texts are embedded."""
        if isinstance(event, Planned):
            self.to_embed, self.tokens, self.estimate = event.texts, event.tokens, event.seconds
        elif isinstance(event, TextsEmbedded):
            self.embedded += event.texts


def update(
    store: Store,
    roots: Sequence[str],
    open_encoder: Callable[[], Encoder],
    *,
    splitter: Splitter,
    options: ReadOptions | None = None,
    force: bool = False,
    checksum: bool = False,
    exclude: Sequence[str] = (),
    dry_run: bool = False,
    progress: Progress = silent,
) -> Report:
    """Index files and folders, and drop what has vanished from them.

    A file that cannot be read gets a status and keeps the passages it had; the run goes on. Whatever happens, what was
    committed stays, and the next run resumes there. Ctrl-C keeps also what was done since the last commit.

    Args:
        store: The collection.
        roots: Files and folders; none: all roots of the collection.
        open_encoder: Called where there is something to embed.
        splitter: Cuts documents into passages.
        options: How to read the files; None keeps what each root was last read with.
        force: Allow ``/`` and the home folder.
        checksum: Look at the bytes of every file, whatever its size and times say.
        exclude: Folders that are never entered, such as the one where the collections are.
        dry_run: Read everything and estimate, and leave the collection as it was.
        progress: Hears of every file and every batch.

    Raises:
        UsageError: A root never existed, or is ``/`` or the home folder without ``force``.
        LockedError: Another process writes to the collection.
    """
    started = time.monotonic()
    report = Report()
    with store.writer() as writer:
        with store.snapshot() as snapshot:
            walk = take_walk(snapshot, roots, options, force=force, exclude=exclude)
            plan = make_plan(snapshot, walk, checksum=checksum)
        try:
            jobs = [Job(each.file, each.options, each.known) for each in plan.read]
            with closing(read_files(jobs, splitter)) as results:
                take_in(writer, plan, results, (lambda: None) if dry_run else writer.commit, report, progress)
            _embed(store, writer, open_encoder, dry_run, report, progress)
            if not dry_run:
                writer.finish(progress)
        except KeyboardInterrupt:
            if not dry_run:
                writer.commit()  # of a step that was broken off nothing is left, so this is whole
            raise
    return ended(report, store, started)


def update_from_stream(
    store: Store,
    stream: BinaryIO,
    name: str,
    open_encoder: Callable[[], Encoder],
    *,
    splitter: Splitter,
    options: ReadOptions | None = None,
    progress: Progress = silent,
) -> Report:
    """Index the bytes of ``stream`` as the file ``name``, in place of what that name held before.

    Raises:
        ReadError: They cannot be read.
        LockedError: Another process writes to the collection.
    """
    started = time.monotonic()
    report = Report()
    with store.writer() as writer:
        with store.snapshot() as snapshot:
            before = {record.path: record for record in snapshot.files()}.get(name)
        file = FileRecord(name, name, 0, time.time_ns(), None)
        parsed = parse_stream(stream, file, options or ReadOptions(), splitter)
        if holds_something(parsed):
            report.reused += writer.stage(parsed).reused
            _count(parsed.file, report)
        else:
            _leave_out(writer, parsed.file, before, report)
        if parsed.file.status != "skipped":
            report.changed, report.new = (0, 1) if before is None else (1, 0)
        writer.commit()
        try:
            _embed(store, writer, open_encoder, False, report, progress)
            writer.finish(progress)
        except KeyboardInterrupt:
            writer.commit()
            raise
    return ended(report, store, started)


def ended(report: Report, store: Store, started: float) -> Report:
    """Return the report with what is known at a run's end."""
    with store.snapshot() as snapshot:
        report.total = snapshot.counts().passages
    report.seconds = time.monotonic() - started
    return report


def take_in(
    writer: Writer,
    plan: Plan,
    results: Iterable[Parsed | None],
    commit: Callable[[], object],
    report: Report,
    progress: Progress = silent,
) -> None:
    """Stage what was read of the files of a plan, and forget what is gone.

    Args:
        writer: Of the collection that the plan was made for.
        plan: Says what becomes of each file.
        results: What was read of each file of ``plan.read``, in that order; None: its bytes are the known ones.
        commit: Called now and then, and at the end.
        report: Counts what was done.
        progress: Hears of every file.
    """
    intake = Intake(writer, plan, report, progress)
    intake.begin()
    last = time.monotonic()
    for each, parsed in zip(plan.read, results, strict=True):
        intake.take(each, parsed)
        if time.monotonic() - last > COMMIT_SECONDS:
            commit()
            last = time.monotonic()
    intake.end()
    commit()


class Intake:
    """What becomes of the files of a plan, one after the other. Nothing is committed."""

    def __init__(self, writer: Writer, plan: Plan, report: Report, progress: Progress = silent):
        """Take the plan, and what counts and hears of what is done."""
        self._writer, self._plan, self._report, self._progress = writer, plan, report, progress
        self._gone = {record.path: record for record in plan.gone}
        self._by_digest = {record.digest: record.path for record in plan.gone if record.status == "indexed"}

    def begin(self) -> None:
        """Remember the roots, and why some of their entries are not read."""
        self._report.vanished, self._report.unchanged = list(self._plan.vanished), self._plan.unchanged
        for root, options in self._plan.roots.items():
            self._writer.set_root(root, options.to_dict())
        for file, before in self._plan.left_out:
            _leave_out(self._writer, file, before, self._report)

    def take(self, each: ToRead, parsed: Parsed | None) -> None:
        """Stage what was read of a file; None: its bytes are the known ones."""
        if parsed is None:
            _touch(self._writer, each, self._report)
        elif holds_something(parsed):
            self._report.reused += self._writer.stage(parsed).reused
            self.count(each, parsed.file)
        else:
            self.leave_out(each, parsed.file)

    def leave_out(self, each: ToRead, file: FileRecord) -> None:
        """Note why a file that was read is not in the collection with anything."""
        _leave_out(self._writer, file, each.before, self._report)

    def count(self, each: ToRead, file: FileRecord) -> None:
        """Count a file that is staged, here or by another writer; one that was only moved leaves its old place."""
        _count(file, self._report)
        moved = self._by_digest.get(file.digest)
        if each.before is not None and each.before.status != "skipped":
            self._report.changed += 1
        elif moved in self._gone:
            self._writer.remove([self._gone.pop(moved).path])
            self._report.moved += 1
        else:
            self._report.new += 1
        self._progress(FileRead(file.path, self._report.new + self._report.changed + self._report.moved))

    def end(self) -> None:
        """Forget what is gone."""
        self._report.deleted += sum(record.status == "indexed" for record in self._gone.values())
        self._writer.remove(sorted(self._gone))


def holds_something(parsed: Parsed) -> bool:
    """Tell whether a file is taken in with what was read of it, be it nothing; else its status alone is noted."""
    file = parsed.file
    return file.status != "skipped" and (file.status != "failed" or file.digest is not None or bool(parsed.documents))


def _count(file: FileRecord, report: Report) -> None:
    report.failed += file.status == "failed"
    if file.warnings:
        report.warnings[file.path] = file.warnings


def _leave_out(writer: Writer, file: FileRecord, before: FileRecord | None, report: Report) -> None:
    """Record why an entry is not read. What is skipped now leaves the index; what failed keeps what it had."""
    if file.status == "failed":
        report.failed += 1
    else:
        report.skipped += 1
        if before is not None and before.status != "skipped":
            writer.remove([file.path])
            report.deleted += before.status == "indexed"
    if before != file:
        writer.record(file)


def _touch(writer: Writer, each: ToRead, report: Report) -> None:
    """Note the new times of a file whose bytes are those that were read before."""
    before = each.before
    assert before is not None
    writer.record(
        replace(each.file, digest=before.digest, status=before.status, reason=before.reason, warnings=before.warnings)
    )
    report.unchanged += before.status == "indexed"
    report.failed += before.status == "failed"  # some of its records, still
    report.skipped += before.status == "skipped"


def _embed(
    store: Store,
    writer: Writer,
    open_encoder: Callable[[], Encoder],
    dry_run: bool,
    report: Report,
    progress: Progress,
) -> None:
    """Give every staged passage its vector, committing on the way."""

    def hear(event: Event) -> None:
        report.hear(event)
        progress(event)

    if not writer.waiting().texts:
        hear(Planned(0, 0, None))
        return
    embedder = EncoderEmbedder(open_encoder(), store.manifest.sparse)
    embed_waiting(writer, embedder, hear, dry_run)
