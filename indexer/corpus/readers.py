"""File → documents: one reader per family of formats. A bad file is a ReadError with its reason, never a crash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from indexer.corpus import headings
from indexer.corpus import text as texts
from indexer.corpus.formats import RECORD_KINDS, ReadOptions, kind_of, looks_binary, printable
from indexer.corpus.records import read_records
from indexer.errors import ReadError
from indexer.types import Document, Notes

__all__ = ["ReadOptions", "kind_of", "printable", "read", "read_stream"]


def read(path: str, options: ReadOptions, notes: Notes) -> Iterator[Document]:
    """The documents of one file: itself, or each record of a record file.

    A record that cannot be read is left out and its reason appended to ``notes.problems`` ("line 17: …"); what is
    left out on purpose goes to ``notes.warnings``. Raises ReadError where the file cannot be read; this may come after documents were yielded (a damaged end, a file
    that changed meanwhile), which are then not to be kept.
    """
    with texts.opened(path) as stream:
        yield from read_stream(stream, path, options, notes)


def read_stream(
    stream: BinaryIO, name: str, options: ReadOptions, notes: Notes, kind: str | None = None
) -> Iterator[Document]:
    """The documents of an open binary stream, such as standard input.

    ``name`` becomes the documents' path; ``kind`` says what the bytes are where the name does not (text by default).
    """
    known = kind or kind_of(name)
    if known in RECORD_KINDS:
        packed = name.lower().endswith(".gz")
        yield from read_records(stream, name, known, packed, options, notes.problems)
        return
    data = texts.load(stream, options.max_bytes)
    if known is None and looks_binary(data[:8192]):
        raise ReadError("it is binary: no text to search")
    yield _parse(data, name, known or "text", notes)


def _parse(data: bytes, name: str, kind: str, notes: Notes) -> Document:
    pages: tuple[int, ...] = ()
    title: str | None = None
    if kind == "pdf":
        from indexer.corpus.pdf import read_pdf

        text, title, pages = read_pdf(data)
    elif kind == "docx":
        from indexer.corpus.docx import read_docx

        text, title = read_docx(data)
    elif kind == "html":
        from indexer.corpus.html import read_html

        text, title = read_html(data)
    else:
        text = texts.decode(data)
        title = headings.title(text, kind)
        if not text.strip():
            raise ReadError("it holds only white space")
    title = " ".join(texts.clean(title or "").split()) or None
    return Document(path=name, text=text, kind=kind, title=title, page_starts=pages)
