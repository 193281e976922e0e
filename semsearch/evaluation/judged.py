"""Queries with what is relevant to each, and a person's own judgements of an existing collection."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from indexer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CHUNK_BYTES = 1 << 20
SHOWN_NAMES = 3
"""Names listed in a message; the rest is counted."""
_FORM = (
    "a line is 'query<TAB>path[<TAB>grade]', the path of an indexed file, absolute or relative to an indexed folder "
    "(semsearch status shows them)"
)


@dataclass(frozen=True)
class Judged:
    """Queries with what is relevant to each."""

    name: str
    queries: Mapping[str, str]
    """Identifier → text; only queries with a relevant document."""
    relevant: Mapping[str, Mapping[str, int]]
    """Query → document → grade, from 1."""
    source: str
    corpus: Path | None = None
    """The file of documents; None where an existing collection is searched."""
    sha256: Mapping[str, str] | None = None
    """Name of a file that was read → its digest."""
    quick: bool = False
    own: frozenset[str] = frozenset()
    """Queries that are documents of the corpus too, under the same identifier: what a query must not find."""
    notes: tuple[str, ...] = ()
    """Remarks on the data that a reader of the figures must know."""


def read_judgements(path: Path, documents: Sequence[str], roots: Sequence[str]) -> Judged:
    """Read judgements of an existing collection: ``query<TAB>relevant path[<TAB>grade]`` lines, without a header.

    Args:
        path: The file of judgements.
        documents: Paths of the collection's files.
        roots: Files and folders that the collection was made of. A judged path is absolute, or relative to one of
            them or to the file of judgements.

    Raises:
        DataError: A path is not in the collection, a line does not fit, or nothing is called relevant.
    """
    known = set(documents)
    folders = [root if root not in known else str(Path(root).parent) for root in roots]
    bases = [*folders, str(path.absolute().parent)]
    queries: dict[str, None] = {}
    grades: dict[str, dict[str, int]] = {}
    unknown: list[str] = []
    for number, line in text_lines(path):
        columns = line.rstrip("\r").split("\t")
        if len(columns) < 2:
            raise DataError(f"{path} line {number} has 1 tab-separated column where 2 are needed; {_FORM}")
        query = columns[0].strip()
        if not query:
            raise DataError(f"{path} line {number}: the query is empty; {_FORM}")
        document = _located(columns[1], bases, known)
        if document is None:
            unknown.append(f"line {number} {columns[1].strip()!r}")
            continue
        queries[query] = None
        grades.setdefault(query, {})[document] = grade(path, number, columns[2]) if len(columns) > 2 else 1
    if unknown:
        raise DataError(f"{path}: not in the collection: {shortened(unknown)}; {_FORM}")
    relevant = positive(grades)
    if not relevant:
        raise DataError(f"{path} calls nothing relevant; {_FORM}")
    return Judged(
        path.stem, {q: q for q in queries if q in relevant}, relevant, "judgements", None, {path.name: digest(path)}
    )


def _located(named: str, bases: Iterable[str], known: set[str]) -> str | None:
    """Return the indexed file that a judged path names; a name may begin or end with a space."""
    for name in dict.fromkeys((named, named.strip())):
        for base in bases:
            if (place := _normal(Path(base, name))) in known:
                return place
    return None


def _normal(path: Path) -> str:
    """Return an absolute path without ``.`` and ``..``, following no link."""
    parts: list[str] = []
    for part in path.parts[1:]:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return str(Path(path.anchor, *parts))


def positive(grades: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return query → document → grade without what is graded 0 or less, and without queries that keep nothing."""
    kept = {query: {d: value for d, value in row.items() if value > 0} for query, row in grades.items()}
    return {query: row for query, row in kept.items() if row}


def grade(path: Path, number: int, text: str) -> int:
    """Return a grade as a whole number; ``1.0``, as tables are often written, is 1.

    Raises:
        DataError: The text is not a whole number.
    """
    try:
        value = float(text)
        if value != int(value):
            raise ValueError(text)
        return int(value)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{path} line {number}: the grade is {text!r}; it is a whole number, 0 for not relevant"
        ) from error


def shortened(names: Sequence[str]) -> str:
    """Return the first names with commas between them, and how many more there are."""
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def text_lines(path: Path, advice: str = "") -> Iterator[tuple[int, str]]:
    """Read the lines of a text file that are not blank, with their numbers from 1.

    The file may be packed with gzip (``.gz``), begin with a byte order mark, and be UTF-16 if it does. Lines end at
    line feeds only; a carriage return before one stays with the line.

    Raises:
        DataError: The file cannot be opened, unpacked or decoded.
    """
    try:
        wide = first_bytes(path) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        with opened(path) as stream, codecs.getreader("utf-16" if wide else "utf-8-sig")(stream) as text:
            rest, number = "", 0
            while chunk := text.read(CHUNK_BYTES):
                *lines, rest = (rest + chunk).split("\n")
                for line in lines:
                    number += 1
                    if line.strip():
                        yield number, line
            if rest.strip():
                yield number + 1, rest
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise DataError(f"{path} cannot be read: {error}" + (f"; {advice}" if advice else "")) from error


def first_bytes(path: Path) -> bytes:
    """Return the first two bytes of a file's content, unpacked: they tell byte order marks apart."""
    with opened(path) as stream:
        return stream.read(2)


def opened(path: Path) -> BinaryIO:
    """Open a file for reading its bytes, unpacked where its name ends in ``.gz``."""
    return cast("BinaryIO", gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content, unpacked."""
    found = hashlib.sha256()
    with opened(path) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()
