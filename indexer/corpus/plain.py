"""Text, Markdown, reStructuredText and source code → one document as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.corpus import headings
from indexer.corpus.encodings import decode
from indexer.errors import NothingToRead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the text of the source as one document."""
    text, _ = decode(source.data(), override=source.options.encoding)
    if not text.strip():
        raise NothingToRead("it holds only white space")
    yield source.document(text, title=headings.title(text, source.kind))
