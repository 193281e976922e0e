"""What one part of a run found: every file of it, and the shards that hold it. Written last: the part is done then."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.corpus.folders.changes import Found
from indexer.corpus.formats import ReadOptions
from indexer.errors import ConfigError, UsageError
from indexer.parts.durable import write_whole
from indexer.parts.part import Part
from indexer.parts.pieces import json_line, read_line
from indexer.parts.shard_file import FORMAT, check_format, damaged
from indexer.storage.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = re.compile(r"part-(\d+)-of-(\d+)\.jsonl")
_FOUND = ("path", "root", "size", "mtime_ns", "ctime_ns", "inode", "kind")


@dataclass(frozen=True)
class Listed:
    """One entry of the walk, and what became of it."""

    found: Found
    digest: str | None = None
    """Digest by which a collection knew it already, so that it is in no shard; None: it is, or it is not to be read."""
    shards: tuple[str, ...] = ()
    """The shards that hold its pieces, in order."""


@dataclass(frozen=True)
class Listing:
    """Everything that one part found."""

    part: Part
    manifest: Manifest
    roots: Mapping[str, ReadOptions]
    missing: frozenset[str]
    """Roots that did not exist."""
    files: tuple[Listed, ...]


def path_of(folder: Path, part: Part) -> Path:
    """Return where the listing of a part is."""
    return folder / f"part-{part.number:05d}-of-{part.of:05d}.jsonl"


def write_listing(folder: Path, listing: Listing) -> None:
    """Write a listing in one step, in place of the one of an earlier run.

    Raises:
        StoreError: It cannot be written.
    """
    body = b"".join(json_line(_values(each)) for each in listing.files)
    head = {
        "shard": FORMAT,
        "part": [listing.part.number, listing.part.of],
        "files": len(listing.files),
        "sha256": hashlib.sha256(body).hexdigest(),
        "roots": {root: options.to_dict() for root, options in listing.roots.items()},
        "missing": sorted(listing.missing),
        "manifest": listing.manifest.to_dict(),
    }
    write_whole(path_of(folder, listing.part), json_line(head) + body)


def read_listing(path: Path) -> Listing:
    """Return the listing in a file.

    Raises:
        DataError: It is damaged.
        FormatError: A newer version wrote it.
    """
    part = None
    try:
        first, _, body = path.read_bytes().partition(b"\n")
        head: dict[str, Any] = read_line(first)
        check_format(head, path)
        part = Part(*head["part"])
        if path != path_of(path.parent, part):
            raise ValueError(f"it is the listing of part {part}, and its name says another")
        if hashlib.sha256(body).hexdigest() != head["sha256"]:
            raise ValueError(f"it does not hold the {head['files']} files that it was written with")
        return Listing(
            part,
            Manifest.from_dict(head["manifest"], str(path)),
            {root: ReadOptions.from_dict(options) for root, options in head["roots"].items()},
            frozenset(head["missing"]),
            tuple(_listed(read_line(line)) for line in body.split(b"\n") if line),
        )
    except (OSError, ValueError, KeyError, TypeError, ConfigError, UsageError) as error:
        raise damaged(path, error, part) from error


def _values(each: Listed) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(each.found, name) for name in _FOUND}
    return values | {"problem": each.found.problem, "digest": each.digest, "shards": each.shards}


def _listed(values: dict[str, Any]) -> Listed:
    problem = values["problem"]
    found = Found(**{name: values[name] for name in _FOUND}, problem=tuple(problem) if problem else None)
    return Listed(found, values["digest"], tuple(values["shards"]))
