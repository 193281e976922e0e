"""Files as they were read, cut into pieces that are small enough to be embedded and kept together; as JSON lines."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from indexer.corpus.formats import ReadOptions
from indexer.types import Document, FileRecord, Heading, Parsed, ParsedDocument, Passage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FILE = tuple(field.name for field in fields(FileRecord))
_DOCUMENT = tuple(field.name for field in fields(Document))
_SPAN = tuple(field.name for field in fields(Passage) if field.name != "text")


@dataclass(frozen=True)
class Piece:
    """A file that was read, or some of its documents, in order."""

    parsed: Parsed
    options: ReadOptions
    """How it was read."""
    number: int = 1
    of: int = 1
    """It is the piece ``number``, from 1 up, of so many pieces of its file."""

    @property
    def passages(self) -> int:
        """Number of its passages."""
        return sum(len(document.passages) for document in self.parsed.documents)

    def texts(self) -> Iterator[Passage]:
        """Yield its passages, in order."""
        for document in self.parsed.documents:
            yield from document.passages


@dataclass(frozen=True)
class Entry:
    """Where a piece stands among others."""

    file: FileRecord
    options: ReadOptions
    number: int
    of: int
    start: int
    end: int
    """Its documents are the bytes from ``start`` to ``end`` of all documents."""
    first: int
    passages: int
    """Its passages are so many of all, from ``first`` on."""


def cut(parsed: Parsed, options: ReadOptions, limit: int) -> list[Piece]:
    """Return a file in pieces of at most so many passages; a document stays whole, however long it is."""
    groups: list[list[ParsedDocument]] = [[]]
    size = 0
    for document in parsed.documents:
        if groups[-1] and size + len(document.passages) > limit:
            groups.append([])
            size = 0
        groups[-1].append(document)
        size += len(document.passages)
    return [
        Piece(replace(parsed, documents=tuple(group)), options, number, len(groups))
        for number, group in enumerate(groups, 1)
    ]


def bundles(pieces: Iterable[Piece], limit: int) -> Iterator[list[Piece]]:
    """Yield pieces together, in order, as many as have at most ``limit`` passages and files."""
    bundle: list[Piece] = []
    size = 0
    for piece in pieces:
        weight = piece.passages + 1  # files without any passage are not gathered without end
        if bundle and size + weight > limit:
            yield bundle
            bundle, size = [], 0
        bundle.append(piece)
        size += weight
    if bundle:
        yield bundle


def write_pieces(pieces: Iterable[Piece]) -> tuple[bytes, bytes]:
    """Return pieces as two texts of JSON lines: one line for each piece, and one for each document."""
    heads, documents = bytearray(), bytearray()
    first = 0
    for piece in pieces:
        start = len(documents)
        for each in piece.parsed.documents:
            documents += json_line(_document_values(each))
        heads += json_line(
            {
                "file": {name: getattr(piece.parsed.file, name) for name in _FILE},
                "options": piece.options.to_dict(),
                "piece": [piece.number, piece.of],
                "documents": [start, len(documents)],
                "passages": [first, piece.passages],
            }
        )
        first += piece.passages
    return bytes(heads), bytes(documents)


def read_entries(heads: bytes) -> list[Entry]:
    """Return what the lines for pieces say.

    Raises:
        ValueError, KeyError, TypeError: They are not what ``write_pieces`` gives.
    """
    entries = []
    for line in _lines(heads):
        number, of = line["piece"]
        start, end = line["documents"]
        first, passages = line["passages"]
        file = FileRecord(**line["file"] | {"warnings": tuple(line["file"]["warnings"])})
        entries.append(Entry(file, ReadOptions.from_dict(line["options"]), number, of, start, end, first, passages))
    return entries


def read_piece(entry: Entry, documents: bytes) -> Piece:
    """Return a piece from the lines of its documents.

    Raises:
        ValueError, KeyError, TypeError: They are not what ``write_pieces`` gives.
    """
    parsed = Parsed(entry.file, tuple(map(_document, _lines(documents))))
    return Piece(parsed, entry.options, entry.number, entry.of)


def _document_values(each: ParsedDocument) -> dict[str, Any]:
    values = {name: getattr(each.document, name) for name in _DOCUMENT}
    values["fields"] = dict(each.document.fields)
    values["passages"] = [[getattr(passage, name) for name in _SPAN] for passage in each.passages]
    return values


def _document(values: dict[str, Any]) -> ParsedDocument:
    spans = [dict(zip(_SPAN, span, strict=True)) for span in values.pop("passages")]
    values["page_starts"] = tuple(values["page_starts"])
    values["headings"] = tuple(Heading(*each) for each in values["headings"])
    document = Document(**values)
    return ParsedDocument(
        document, tuple(Passage(text=document.text[span["start"] : span["end"]], **span) for span in spans)
    )


def json_line(value: object) -> bytes:
    """Return a value as a line of JSON; paths that are no UTF-8 stay what they are."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def read_line(line: bytes) -> dict[str, Any]:
    """Return the object in a line that ``json_line`` made.

    Raises:
        ValueError: It is none.
    """
    values: dict[str, Any] = json.loads(line.decode("utf-8", "surrogatepass"))
    return values


def _lines(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.split(b"\n"):
        if line:
            yield read_line(line)
