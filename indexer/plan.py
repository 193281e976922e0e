"""Which files of a run have to be read, and what else changes: the comparison of a walk with a collection."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.corpus.folders import changes
from indexer.corpus.formats import RECORD_KINDS, ReadOptions
from indexer.errors import UsageError
from indexer.types import FileRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indexer.corpus.folders.changes import Changes, Found
    from indexer.storage.store import Snapshot


@dataclass(frozen=True)
class Walk:
    """What lies under the roots of a run, and how it is to be read."""

    roots: Mapping[str, ReadOptions]
    entries: tuple[Found, ...]
    missing: frozenset[str] = frozenset()
    """Roots that do not exist."""


@dataclass(frozen=True)
class ToRead:
    """One file that may have changed."""

    file: FileRecord
    """As the walk found it, without digest."""
    options: ReadOptions
    before: FileRecord | None
    """What the collection knows of it; None: nothing."""
    known: str | None
    """A file with this digest need not be read again; None: it must be read in any case."""


@dataclass(frozen=True)
class Plan:
    """All that a run has to do before anything is embedded."""

    read: tuple[ToRead, ...]
    """New files, then changed ones, then those that are read in another way now."""
    left_out: tuple[tuple[FileRecord, FileRecord | None], ...]
    """Entries that are not to be read, with their reason, and what is known of them."""
    gone: tuple[FileRecord, ...]
    roots: Mapping[str, ReadOptions]
    """Roots to remember, with how they are read now."""
    vanished: tuple[str, ...]
    """Roots that do not exist any more, or are suddenly empty."""
    unchanged: int


def take_walk(
    snapshot: Snapshot,
    roots: Sequence[str],
    options: ReadOptions | None = None,
    *,
    force: bool = False,
    exclude: Sequence[str] = (),
) -> Walk:
    """Walk over the files of a run.

    Args:
        snapshot: The collection that they are for.
        roots: Files and folders; none: all roots that it knows.
        options: How to read; None: as each root was read last.
        force: Allow ``/`` and the home folder.
        exclude: Folders that are never entered.

    Raises:
        UsageError: A root never existed, or is ``/`` or the home folder without ``force``.
    """
    known_roots = snapshot.roots()
    named = changes.settle(roots, sorted(known_roots)) or sorted(known_roots)
    missing = frozenset(root for root in named if not os.path.lexists(root))
    for root in sorted(missing - known_roots.keys()):
        if not any(changes.within(record.path, root) for record in snapshot.files()):
            raise UsageError(f"{root} does not exist; name files or folders that do, or - for standard input")
    return Walk(
        {root: options or _options(root, known_roots) for root in named},
        tuple(changes.scan(named, force=force, exclude=exclude)),
        missing,
    )


def make_plan(snapshot: Snapshot, walk: Walk, *, checksum: bool = False, whole: bool = True) -> Plan:
    """Compare a walk with a collection.

    Args:
        snapshot: The collection.
        walk: What there is.
        checksum: Look at the bytes of every file, whatever its size and times say.
        whole: Whether the walk holds everything under its roots: else nothing is taken to be gone.
    """
    known = {record.path: record for record in snapshot.files()}
    known_roots = snapshot.roots()
    what = changes.compare(
        walk.entries, known, list(walk.roots), checksum=checksum, exists=lambda root: root not in walk.missing
    )
    lost = what.lost if whole else []
    otherwise = {root for root, way in walk.roots.items() if known_roots.get(root, way.to_dict()) != way.to_dict()}
    return Plan(
        read=_to_read(what, known, walk.roots, otherwise),
        left_out=tuple((_record(f), known.get(f.path)) for f in what.problems if f.path not in what.lost),
        gone=tuple(what.gone) if whole else (),
        roots={
            root: way
            for root, way in walk.roots.items()
            if root not in lost and (root in known_roots or _owner(root, known_roots) is None)
        },
        vanished=tuple(lost),
        unchanged=sum(not _reread(file, otherwise) for file in what.unchanged),
    )


def _to_read(
    what: Changes, known: Mapping[str, FileRecord], ways: Mapping[str, ReadOptions], otherwise: set[str]
) -> tuple[ToRead, ...]:
    again = [file for file in what.unchanged if _reread(file, otherwise)]
    found = []
    for file in [*what.new, *what.changed, *again]:
        before = known.get(file.path)
        digest = None if before is None or _reread(file, otherwise) else before.digest
        found.append(ToRead(_record(file), ways[file.root], before, digest))
    return tuple(found)


def _reread(file: Found, otherwise: set[str]) -> bool:
    """Tell whether it is a record file under a root that is now read with other fields than before."""
    return file.kind in RECORD_KINDS and file.root in otherwise


def _record(file: Found) -> FileRecord:
    status, reason = file.problem or ("indexed", None)
    return FileRecord(
        file.path,
        file.root,
        file.size,
        file.mtime_ns,
        None,
        status,
        reason,
        ctime_ns=file.ctime_ns,
        inode=file.inode,
    )


def _options(root: str, known: Mapping[str, dict[str, object]]) -> ReadOptions:
    """Return how a root was read last, or the root that it lies under."""
    owner = root if root in known else _owner(root, known)
    return ReadOptions.from_dict(known[owner]) if owner is not None else ReadOptions()


def _owner(path: str, roots: Mapping[str, object]) -> str | None:
    """Return the known root that ``path`` lies under, itself left out; None where there is none."""
    return next((root for root in roots if root != path and changes.within(path, root)), None)
