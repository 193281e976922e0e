"""Find what a person names: PATH, PATH:LINE, PATH:FROM-TO of an indexed file, or the id of a hit's passage."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.corpus.formats import printable
from indexer.errors import UsageError
from semsearch.nearest import hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.storage.store import Snapshot
    from indexer.types import StoredDocument, StoredPassage

_WITH_LINES = re.compile(r"(.+):(\d{1,9})(?:-(\d{1,9}))?", re.DOTALL)
_ID = re.compile(r"\d{1,18}")


@dataclass(frozen=True)
class Place:
    """Documents of one file, and what of them is meant."""

    path: str
    documents: Sequence[StoredDocument]
    """All of the file where nothing else is said, else those that hold what is meant."""
    passages: Sequence[StoredPassage]
    """The passages that are meant."""
    lines: tuple[int, int] | None = None
    """The first and last line that are meant; None: the whole."""

    @property
    def own(self) -> list[int]:
        """Ids of all passages of the documents."""
        return [row.id for each in self.documents for row in each.passages]

    def at_first_line(self) -> Place:
        """Return what stands on the first of the lines: a hit is shown by the lines that its passage touches."""
        if self.lines is None or len(self.passages) == 1:
            return self
        line = self.lines[0]
        meant = [row for row in self.passages if row.passage.line_start <= line] or self.passages[:1]
        ids = {row.id for row in meant}
        holding = [each for each in self.documents if any(row.id in ids for row in each.passages)]
        return Place(self.path, holding, meant, (line, line))


def find(snapshot: Snapshot, place: str, name: str) -> Place:
    """Return what a place names in a collection.

    Args:
        snapshot: The collection.
        place: A path as hits show it, or relative to the working folder; with ``:LINE`` or ``:FROM-TO`` after it; or
            the id of a passage. Text that is the path of an indexed file is taken as that.
        name: The collection's name, for messages.

    Raises:
        UsageError: There is no such file or passage in the collection, or the file has no such lines.
    """
    if not place:
        raise UsageError(
            "the place is empty; name an indexed file as PATH or PATH:LINE, as `semsearch query` shows them"
        )
    documents = _of_file(snapshot, place)
    if documents:
        return Place(documents[0].document.path, documents, [row for each in documents for row in each.passages])
    both = _WITH_LINES.fullmatch(place)  # only now: the path of a file may end like this itself
    if both and (documents := _of_file(snapshot, both[1])):
        first = int(both[2])
        return _on_lines(documents, both[1], first, int(both[3] or first))
    if _ID.fullmatch(place):
        return passage(snapshot, int(place), name)
    raise UsageError(_why_not(snapshot, both[1] if both else place, name))


def at_path(snapshot: Snapshot, path: str, lines: tuple[int, int] | None, name: str) -> Place:
    """Return a file, or some lines of it, by its path as it is stored: nothing outside the collection is looked at.

    Raises:
        UsageError: There is no such file in the collection, or it has no such lines.
    """
    documents = list(snapshot.documents(path))
    if not documents:
        raise UsageError(f"{path!r} is no file of collection {name!r}; hits show the paths of those that are")
    if lines is not None:
        return _on_lines(documents, path, *lines)
    return Place(path, documents, [row for each in documents for row in each.passages])


def passage(snapshot: Snapshot, number: int, name: str) -> Place:
    """Return the place of one passage.

    Raises:
        UsageError: The collection has no such passage, or no longer.
    """
    rows = snapshot.get([number])
    if not rows:
        raise UsageError(
            f"collection {name!r} has no passage {number}: an id is that of a hit, and it ends when its file changes; "
            "search again, or name the file as PATH or PATH:LINE"
        )
    [row] = rows
    of_file = snapshot.documents(row.path)
    documents = [each for each in of_file if any(other.id == number for other in each.passages)]
    return Place(row.path, documents, rows, (row.passage.line_start, row.passage.line_end))


def _of_file(snapshot: Snapshot, path: str) -> list[StoredDocument]:
    """Return the documents of a file that is named as it is stored, or relative to the working folder."""
    return list(snapshot.documents(path)) or list(snapshot.documents(_absolute(path)))


def _absolute(path: str) -> str:
    """Return the path as it is stored: absolute, links not resolved."""
    return printable(os.path.abspath(path))  # noqa: PTH100


def _on_lines(documents: Sequence[StoredDocument], shown: str, first: int, last: int) -> Place:
    """Return what stands on lines ``first`` to ``last``; where no passage does, the nearest."""
    rows = [row for each in documents for row in each.passages]
    begin, end = min(row.passage.line_start for row in rows), max(row.passage.line_end for row in rows)
    if last < first:
        raise UsageError(f"{shown}:{first}-{last} ends before it begins; give the smaller line first")
    if last < begin or first > end:
        which = f"line {first}" if first == last else f"lines {first} to {last}"
        raise UsageError(f"{shown} has nothing indexed on {which}; its passages are on lines {begin} to {end}")

    def distance(row: StoredPassage) -> int:
        return max(row.passage.line_start - last, first - row.passage.line_end, 0)

    nearest = min(map(distance, rows))
    meant = [row for row in rows if distance(row) == nearest]
    if nearest:
        meant = meant[:1]
    ids = {row.id for row in meant}
    holding = [each for each in documents if any(row.id in ids for row in each.passages)]
    return Place(documents[0].document.path, holding, meant, (first, last))


def _why_not(snapshot: Snapshot, path: str, name: str) -> str:
    """Return why a path names nothing, as far as the collection knows: whoever asks it learns nothing of the disk."""
    absolute, names = _absolute(path), []
    for record in snapshot.files():
        if record.path in (path, absolute):
            return f"{record.path} is in collection {name!r} without passages: {record.reason or 'it holds no text'}"
        names.append(record.path)
    if any(each.startswith(f"{absolute.rstrip('/')}/") for each in names):
        return f"{absolute} is a folder; name one of its files"
    return (
        f"{absolute} is not in collection {name!r}{_similar(absolute, names)}; name an indexed file as PATH or "
        f"PATH:LINE, as `semsearch query` shows them, or if there is such a file index it with: semsearch index "
        f"{printable(path)}"
    )


def _similar(path: str, known: Sequence[str]) -> str:
    """Return a hint at an indexed file whose name is like that of ``path``."""
    by_name = {Path(each).name: each for each in known}
    wanted = Path(path).name
    return f" (did you mean {by_name[wanted]!r}?)" if wanted in by_name else hint(wanted, by_name)
