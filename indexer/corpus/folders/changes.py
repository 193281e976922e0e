"""What changed: a walk compared with what a collection knows."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.corpus.decoding.text import opened
from indexer.corpus.folders.walk import Found, scan, settle, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from indexer.types import FileRecord

__all__ = ["Changes", "Found", "compare", "digest", "scan", "settle", "within"]


@dataclass(frozen=True)
class Changes:
    """A walk compared with what a collection knows. Every found entry is in exactly one of the first four."""

    new: list[Found] = field(default_factory=list)
    changed: list[Found] = field(default_factory=list)
    """Size or time differ (compare the digest before any work), or it could not be read the last time."""
    unchanged: list[Found] = field(default_factory=list)
    problems: list[Found] = field(default_factory=list)
    """Left out: ``Found.problem`` says why."""
    gone: list[FileRecord] = field(default_factory=list)
    """Known under a root of this run and no longer found."""
    lost: list[str] = field(default_factory=list)
    """Roots that vanished, or that held files and suddenly hold none: nothing of theirs is in ``gone``."""


def digest(path: str) -> str:
    """Return the SHA-256 of a file's bytes, in hex.

    Raises:
        ReadError: It cannot be read.
    """
    with opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def compare(
    found: Iterable[Found],
    known: Mapping[str, FileRecord],
    roots: Sequence[str],
    *,
    checksum: bool = False,
    exists: Callable[[str], bool] = os.path.lexists,
) -> Changes:
    """Return what became of the files of the roots since ``known`` was written.

    A file is unchanged where size, modification time, change time and inode are; the last two only where both sides
    know them. Nothing is gone that lies below a folder that could not be listed.

    Args:
        found: The walk.
        known: Path → record. It may hold files of other roots, which are let alone.
        roots: The arguments of ``scan``.
        checksum: Trust none of these: list every known file as changed, so that its digest decides.
        exists: Tells whether a root was there when the walk was made: it may have been made on another machine.
    """
    result = Changes()
    entries = {entry.path: entry for entry in found}
    for entry in entries.values():
        record = known.get(entry.path)
        if entry.problem:
            result.problems.append(entry)
        elif record is None:
            result.new.append(entry)
        elif not checksum and _is_settled(record) and _same(entry, record):
            result.unchanged.append(entry)
        else:
            result.changed.append(entry)

    named = sorted({os.path.abspath(root) for root in roots})
    mine = {root: [record for record in known.values() if _belongs(record, root)] for root in named}
    readable = [entry.path for entry in entries.values() if not entry.problem]
    for root in named:
        had = any(record.status == "indexed" for record in mine[root])
        if not exists(root) or (had and not any(within(path, root) for path in readable)):
            result.lost.append(root)
    closed = [entry.path for entry in entries.values() if entry.problem and entry.problem[0] == "failed"]
    gone = {record.path: record for records in mine.values() for record in records if record.path not in entries}
    result.gone.extend(
        gone[path] for path in sorted(gone) if not any(within(path, folder) for folder in closed + result.lost)
    )
    return result


def _is_settled(record: FileRecord) -> bool:
    """Return whether a file was read to its end: with a document, or with a digest but nothing to search in it."""
    return record.status == "indexed" or (record.status == "skipped" and record.digest is not None)


def _same(entry: Found, record: FileRecord) -> bool:
    """Return whether a file is by all signs the one that was read: the same, and not written since."""
    return (entry.size, entry.mtime_ns) == (record.size, record.mtime_ns) and all(
        new == old or not (new and old) for new, old in ((entry.ctime_ns, record.ctime_ns), (entry.inode, record.inode))
    )


def _belongs(record: FileRecord, root: str) -> bool:
    """Return whether a run over ``root`` decides what became of the file: found by it, or below it by a wider root."""
    return record.root == root or (within(root, record.root) and within(record.path, root))
