"""File → documents: one reader per kind of file. A bad file is a ReadError with its reason, never a crash."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib import import_module
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, BinaryIO, cast

from indexer.corpus.decoding import text as texts
from indexer.corpus.decoding.blobs import Blobs
from indexer.corpus.formats import BINARY_KINDS, ReadOptions, kind_by_content, kind_of, looks_binary, printable
from indexer.corpus.source import Source, Unpacked
from indexer.errors import NothingToRead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.types import Document, Notes

    Reader = Callable[[Source, Notes], Iterator[Document]]

__all__ = ["READERS", "ReadOptions", "kind_of", "printable", "read", "read_source", "read_stream"]

READERS: dict[str, str] = {
    "csv": "indexer.corpus.records.reader:read",
    "tsv": "indexer.corpus.records.reader:read",
    "jsonl": "indexer.corpus.records.reader:read",
    "json": "indexer.corpus.records.reader:read_json",
    "mail": "indexer.corpus.texts.mail:read",
    "calendar": "indexer.corpus.texts.calendars:read",
    "subtitles": "indexer.corpus.texts.subtitles:read",
    "notebook": "indexer.corpus.texts.notebooks:read",
    "latex": "indexer.corpus.texts.latex:read",
    "svg": "indexer.corpus.texts.svg:read",
    "html": "indexer.corpus.web.html:read",
    "pdf": "indexer.corpus.pdf.reader:read",
    "docx": "indexer.corpus.office.docx:read",
    "pptx": "indexer.corpus.office.pptx:read",
    "xlsx": "indexer.corpus.office.xlsx:read",
    "rtf": "indexer.corpus.office.rtf:read",
    "odt": "indexer.corpus.office.odf:read",
    "ods": "indexer.corpus.office.odf:read",
    "odp": "indexer.corpus.office.odf:read",
    "epub": "indexer.corpus.web.epub:read",
}
"""Kind → "module:function" of its reader, loaded when the first file of that kind comes; any other kind is text."""

TEXT_READER = "indexer.corpus.texts.plain_text:read"

HEAD_BYTES = 8192
"""Bytes looked at to tell text from other content."""


def read(path: str, options: ReadOptions, notes: Notes) -> Iterator[Document]:
    """Yield the documents of one file: itself, or each record of a record file.

    A record that cannot be read is left out and its reason appended to ``notes.problems`` ("line 17: …"); content
    that is left out on purpose is named in ``notes.warnings``.

    Raises:
        NothingToRead: The file is well and holds no text, as an empty one.
        ReadError: The file cannot be read. This may come after documents were yielded (a damaged end, a file that
            changed meanwhile), which are then not to be kept.
    """
    with texts.opened(path) as stream:
        yield from read_stream(stream, path, options, notes)


def read_stream(
    stream: BinaryIO, name: str, options: ReadOptions, notes: Notes, kind: str | None = None
) -> Iterator[Document]:
    """Yield the documents of an open binary stream, such as standard input.

    Args:
        stream: The bytes.
        name: Path that the documents get; its ending tells the kind.
        options: How to read it.
        notes: Takes the reader's remarks.
        kind: Tells the kind where the name does not (text by default).
    """
    if name.lower().endswith(".gz"):
        stream = cast("BinaryIO", io.BufferedReader(Unpacked(stream)))
    known = kind or kind_of(name)
    if known not in BINARY_KINDS:
        head, stream = _peek(stream)
        known = known or kind_by_content(head)
        if known not in BINARY_KINDS and looks_binary(head):
            raise NothingToRead("it is binary: no text to search")
    blobs = Blobs()
    for document in read_source(Source(stream, name, known or "text", options), notes):
        yield _without_blobs(document, blobs)
    blobs.note(notes)


def _without_blobs(document: Document, blobs: Blobs) -> Document:
    """Return the document without encoded bytes in its text; its pages and headings stay where they were."""
    anchors = sorted({0, *document.page_starts, *(place for head in document.headings for place in head[:2])})
    pieces = [blobs.remove(document.text[start:end]) for start, end in pairwise([*anchors, len(document.text)])]
    text = "".join(pieces)
    if text == document.text:
        return document
    moved = dict(zip(anchors, accumulate(map(len, pieces), initial=0), strict=False))
    return replace(
        document,
        text=text,
        page_starts=tuple(moved[start] for start in document.page_starts),
        headings=tuple(head._replace(start=moved[head.start], end=moved[head.end]) for head in document.headings),
    )


def read_source(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the documents of a source by the reader of its kind."""
    module, _, function = READERS.get(source.kind, TEXT_READER).partition(":")
    reader: Reader = getattr(import_module(module), function)
    yield from reader(source, notes)


def _peek(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """Return the first bytes of a stream, and a stream that still begins with them."""
    if not isinstance(stream, io.BufferedReader):
        stream = cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", stream), HEAD_BYTES))
    return cast("io.BufferedReader", stream).peek(HEAD_BYTES)[:HEAD_BYTES], stream
