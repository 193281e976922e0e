"""Which files of a run have to be read, and what else changes: the comparison of a walk with a collection."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.corpus import changes
from indexer.corpus.formats import RECORD_KINDS, ReadOptions
from indexer.errors import UsageError
from indexer.types import FileRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indexer.corpus.changes import Changes, Found
    from indexer.storage.store import Snapshot


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


def make_plan(
    snapshot: Snapshot,
    roots: Sequence[str],
    options: ReadOptions | None = None,
    *,
    force: bool = False,
    checksum: bool = False,
    exclude: Sequence[str] = (),
) -> Plan:
    """Compare the files under roots with a collection.

    Args:
        snapshot: The collection.
        roots: Files and folders; none: all roots that it knows.
        options: How to read; None: as each root was read last.
        force: Allow ``/`` and the home folder.
        checksum: Look at the bytes of every file, whatever its size and times say.
        exclude: Folders that are never entered.

    Raises:
        UsageError: A root never existed, or is ``/`` or the home folder without ``force``.
    """
    known = {record.path: record for record in snapshot.files()}
    known_roots = snapshot.roots()
    named = changes.settle(roots, sorted(known_roots)) or sorted(known_roots)
    for root in named:
        if not os.path.lexists(root) and root not in known_roots and not any(changes.within(p, root) for p in known):
            raise UsageError(f"{root} does not exist; name files or folders that do, or - for standard input")
    found = changes.scan(named, force=force, exclude=exclude)
    what = changes.compare(found, known, named, checksum=checksum)
    ways = {root: options or _options(root, known_roots) for root in named}
    otherwise = {root for root, way in ways.items() if known_roots.get(root, way.to_dict()) != way.to_dict()}
    return Plan(
        read=_to_read(what, known, ways, otherwise),
        left_out=tuple((_record(f), known.get(f.path)) for f in what.problems if f.path not in what.lost),
        gone=tuple(what.gone),
        roots={
            root: way
            for root, way in ways.items()
            if root not in what.lost and (root in known_roots or _owner(root, known_roots) is None)
        },
        vanished=tuple(what.lost),
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
