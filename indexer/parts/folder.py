"""A folder of shards: of one encoder, one splitter, and one number of parts.

``manifest.json`` says what all of it was made with, ``part-00002-of-00008.jsonl`` what part 2 of 8 found, and the
shards lie beside them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.errors import DataError, FormatError, StoreError, UsageError
from indexer.parts import shard_file
from indexer.parts.agreement import check_alike
from indexer.parts.durable import ASIDE, write_whole
from indexer.parts.listing import NAME, Listed, Listing, read_listing, write_listing
from indexer.parts.part import Part
from indexer.parts.shard_file import ABOUT, DATA, FORMAT, Shard, damaged
from indexer.plan import Walk
from indexer.storage.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path

    from indexer.corpus.folders.changes import Found
    from indexer.parts.pieces import Entry

MANIFEST = "manifest.json"
"""Its name and content also keep the folder out of walks: nothing in it is a document."""
ELSEWHERE = "name another folder with --shards, or delete this one"


@dataclass(frozen=True)
class Gathered:
    """What the finished parts of a folder say together."""

    manifest: Manifest
    walk: Walk
    files: dict[str, tuple[Part, Listed]]
    """Path → what became of the file, and the part that it belongs to."""
    of: int
    unfinished: tuple[Part, ...]
    """Parts without a listing: not begun, going on, or broken off."""


class ShardFolder:
    """A folder of shards, which may not exist yet."""

    def __init__(self, path: Path):
        """Name the folder."""
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def head(self) -> tuple[Manifest, int] | None:
        """Return what the folder's shards are made with and the number of parts; None where there is no folder yet.

        Raises:
            DataError: It is there, and no folder of shards.
            FormatError: A newer version wrote it.
        """
        path = self.path / MANIFEST
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            shard_file.check_format(values, path)
            return Manifest.from_dict(values, str(path)), int(values["parts"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self} is no folder of shards: {path.name} says so not ({error}); {ELSEWHERE}") from error

    def prepare(self, manifest: Manifest, part: Part) -> None:
        """Make the folder ready for the shards of a part.

        Raises:
            UsageError: It has a run in another number of parts, or files of something else.
            MismatchError: Its shards are made otherwise.
            StoreError: It cannot be written.
        """
        head = self.head()
        if head is not None:
            there, of = head
            if of != part.of:
                raise UsageError(
                    f"{self} has a run in {of} parts, and part {part} was asked for; give --shard I/{of}, or "
                    f"{ELSEWHERE}"
                )
            check_alike(there, manifest, str(self), "this run", ELSEWHERE)
            return
        try:
            if self.path.exists() and any(not each.name.endswith(ASIDE) for each in self.path.iterdir()):
                if (again := self.head()) is None:  # another part may have begun just now
                    raise UsageError(f"{self} holds other files than shards; name a new folder with --shards")
                del again
                self.prepare(manifest, part)
                return
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make {self}: {error.strerror or error}; look at its permissions") from error
        values = manifest.to_dict() | {"shard": FORMAT, "parts": part.of}
        write_whole(self.path / MANIFEST, json.dumps(values, indent=2).encode())

    def entries(self, part: Part) -> dict[str, list[tuple[str, Entry]]]:
        """Return the pieces that lie in sound shards of a part: path → shards' names and entries.

        What is damaged is passed over: it is made again.
        """
        found: dict[str, list[tuple[str, Entry]]] = {}
        for path in sorted(self.path.glob("*" + ABOUT)):
            if path.name == MANIFEST:
                continue
            try:
                if shard_file.read_about(self.path, path.stem).part != part:
                    continue
                shard_file.verify(self.path, path.stem)
                with self.open(path.stem) as shard:
                    for entry in shard.entries:
                        found.setdefault(entry.file.path, []).append((path.stem, entry))
            except (DataError, FormatError):
                continue
        return found

    def open(self, name: str) -> Shard:
        """Return an open shard.

        Raises:
            DataError: It cannot be read.
        """
        return Shard(self.path, name)

    def finish(self, listing: Listing) -> None:
        """Note that a part is done."""
        write_listing(self.path, listing)

    def delete(self) -> None:
        """Delete the folder with all shards in it, of which a collection has everything."""
        shutil.rmtree(self.path, ignore_errors=True)

    def gather(self) -> Gathered:
        """Read what all finished parts found, and verify every shard that they name.

        Raises:
            UsageError: There are no finished parts, or they are of different runs.
            DataError: Something is missing or damaged.
            MismatchError: A shard was made otherwise than the folder says.
            FormatError: A newer version wrote some of it.
        """
        head = self.head()
        if head is None:
            raise UsageError(
                f"{self} holds no shards; make them with: semsearch index --shard I/N --shards {self} PATH"
            )
        manifest, of = head
        listings = [read_listing(path) for path in sorted(self.path.glob("part-*")) if NAME.fullmatch(path.name)]
        if not listings:
            raise UsageError(f"no part of {self} is finished; run: semsearch index --shard I/{of} --shards {self} PATH")
        for listing in listings:
            self._check(listing, listings[0], manifest, of)
        names = {name: listing.part for listing in listings for each in listing.files for name in each.shards}
        for name, part in names.items():
            about = shard_file.verify(self.path, name, part)
            again = f"run part {part} again into another folder (--shards)"
            check_alike(about.manifest, manifest, str(self.path / (name + DATA)), "the folder's run", again)
        return Gathered(
            manifest,
            Walk(
                dict(listings[0].roots),
                tuple(sorted((each.found for one in listings for each in one.files), key=_place_in_walk)),
                frozenset().union(*(listing.missing for listing in listings)),
            ),
            {each.found.path: (listing.part, each) for listing in listings for each in listing.files},
            of,
            tuple(
                Part(number, of) for number in range(1, of + 1) if Part(number, of) not in {x.part for x in listings}
            ),
        )

    def _check(self, listing: Listing, first: Listing, manifest: Manifest, of: int) -> None:
        """Refuse a listing of another run."""
        part = listing.part
        if part.of != of:
            raise UsageError(
                f"{self} has a run in {of} parts, and a listing of part {part}; every part is made with the same N: "
                f"delete that listing, or keep the runs in folders of their own (--shards)"
            )
        again = f"run part {part} again with the options of the others, or {ELSEWHERE}"
        check_alike(listing.manifest, manifest, f"part {part} in {self}", "the folder's run", again)
        if set(listing.roots) != set(first.roots):
            raise UsageError(
                f"part {part} in {self} is of {_names(listing)}, and part {first.part} of {_names(first)}; every part "
                "is made of the same paths: run the ones that differ again"
            )
        for root, options in listing.roots.items():
            if options != first.roots[root]:
                raise UsageError(
                    f"{root} was read with {options.to_dict()} in part {part} of {self}, and with "
                    f"{first.roots[root].to_dict()} in part {first.part}; run the ones that differ again"
                )
        if stray := next((each for each in listing.files if not part.holds(each.found.path)), None):
            raise damaged(self.path, f"part {part} lists {stray.found.path}, which is of another part", part)


def _place_in_walk(found: Found) -> tuple[str, list[str]]:
    """Return what sorts entries in the order in which one process walks over them: it decides between equal hits."""
    return found.root, found.path.split("/")


def _names(listing: Listing) -> str:
    return ", ".join(sorted(listing.roots)) or "nothing"
