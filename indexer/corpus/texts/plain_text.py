"""Text, Markdown, reStructuredText and source code → one document as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.corpus import headings
from indexer.corpus.decoding import encodings
from indexer.errors import NothingToRead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the text of the source as one document."""
    text = text_of(source, notes)
    yield source.document(text, title=headings.title(text, source.kind))


def text_of(source: Source, notes: Notes) -> str:
    """Return the text of a source in the encoding it declares.

    Raises:
        NothingToRead: There is nothing but white space.
    """
    data = source.data()
    declared = source.charset or encodings.declared(data, source.name)
    text, _ = encodings.decode(data, declared, source.options.encoding, notes)
    if not text.strip():
        raise NothingToRead("it holds only white space")
    return text
