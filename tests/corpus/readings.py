"""One file, given as bytes, read by its reader."""

from __future__ import annotations

import io

from indexer.corpus.readers import ReadOptions, read_stream
from indexer.types import Document, Notes


def reading(name: str, data: bytes | str, options: ReadOptions | None = None) -> tuple[list[Document], Notes]:
    """Return the documents of a file with this name and content, and the reader's notes."""
    notes = Notes()
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return list(read_stream(stream, "/" + name, options or ReadOptions(), notes)), notes


def texts(name: str, data: bytes | str, options: ReadOptions | None = None) -> list[str]:
    """Return the documents' texts alone."""
    return [document.text for document in reading(name, data, options)[0]]
