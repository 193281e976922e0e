"""Queries with what is relevant to each, and a person's own judgements of an existing collection."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from indexer.errors import DataError
from indexer.judgements import FILE, judgement_of, line
from indexer.types import Judgement

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
    records: frozenset[str] = frozenset()
    """Files whose records are judged one by one; others are judged as wholes."""
    wrong: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Query → documents that a person looked at and called wrong."""

    def document(self, path: str, record: str | None) -> str:
        """Return the judged document that a passage belongs to, by its file and its record there."""
        if self.corpus is not None:
            return record or ""
        return named(path, record) if path in self.records else path


def named(path: str, record: str | None) -> str:
    """Return the name of a document of a person's collection."""
    return path if record is None else f"{path} record {record}"


def own_judgements(judgements: Sequence[Judgement], collection: str, mending: str) -> Judged:
    """Return what people said of a collection's answers as judged queries.

    A document is as relevant as its best passage was called. Of a file whose records were judged one by one, a
    judgement of the whole says nothing more.

    Args:
        judgements: Those that count.
        collection: Its name, for messages.
        mending: The option that names it in a command, with a blank before it.

    Raises:
        DataError: Nothing was called right.
    """
    records = frozenset(each.path for each in judgements if each.record is not None)
    grades: dict[str, dict[str, int]] = {}
    for each in judgements:
        document, value = named(each.path, each.record), each.grade or 0
        if each.record is not None or each.path not in records:
            row = grades.setdefault(each.query, {})
            row[document] = max(value, row.get(document, 0))
    relevant = positive(grades)
    if not relevant:
        said = (
            f"of {len(judgements):,} judgements none calls anything right" if judgements else "nothing has been judged"
        )
        raise DataError(
            f"collection {collection!r}: {said}; judge hits on the page of `semsearch serve`, or with: "
            f"semsearch judge add{mending} QUERY PATH:LINE, or give a file of judgements with --judgements FILE"
        )
    content = "".join(map(line, judgements)).encode()
    return Judged(
        collection,
        {query: query for query in relevant},
        relevant,
        "judgements",
        None,
        {FILE: hashlib.sha256(content).hexdigest()},
        records=records,
        wrong={query: frozenset(d for d, value in row.items() if not value) for query, row in grades.items()},
    )


def judgements_of_file(path: Path, documents: Sequence[str], roots: Sequence[str]) -> list[Judgement]:
    """Read judgements that are to be kept: lines of JSON, as an export has them, or those of ``read_judgements``.

    Raises:
        DataError: A line does not fit, or names what is not in the collection.
    """
    lines = list(text_lines(path))
    if not lines or not lines[0][1].lstrip().startswith("{"):
        grades = read_grades(path, documents, roots)
        return [Judgement(query, document, value) for query, row in grades.items() for document, value in row.items()]
    found = []
    for number, text in lines:
        try:
            found.append(judgement_of(text))
        except ValueError as error:
            raise DataError(f"{path} line {number} is no judgement: {error}") from error
    return found


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
    grades = read_grades(path, documents, roots)
    relevant = positive(grades)
    if not relevant:
        raise DataError(f"{path} calls nothing relevant; {_FORM}")
    wrong = {query: frozenset(d for d, value in row.items() if value <= 0) for query, row in grades.items()}
    texts = {query: query for query in grades if query in relevant}
    return Judged(path.stem, texts, relevant, "judgements", None, {path.name: digest(path)}, wrong=wrong)


def read_grades(path: Path, documents: Sequence[str], roots: Sequence[str]) -> dict[str, dict[str, int]]:
    """Read query → document → grade, also of what is not relevant; arguments and errors as ``read_judgements``."""
    known = set(documents)
    folders = [root if root not in known else str(Path(root).parent) for root in roots]
    bases = [*folders, str(path.absolute().parent)]
    grades: dict[str, dict[str, int]] = {}
    unknown: list[str] = []
    for number, text in text_lines(path):
        columns = text.rstrip("\r").split("\t")
        if len(columns) < 2:
            raise DataError(f"{path} line {number} has 1 tab-separated column where 2 are needed; {_FORM}")
        query = columns[0].strip()
        if not query:
            raise DataError(f"{path} line {number}: the query is empty; {_FORM}")
        document = _located(columns[1], bases, known)
        if document is None:
            unknown.append(f"line {number} {columns[1].strip()!r}")
            continue
        grades.setdefault(query, {})[document] = grade(path, number, columns[2]) if len(columns) > 2 else 1
    if unknown:
        raise DataError(f"{path}: not in the collection: {shortened(unknown)}; {_FORM}")
    return grades


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
