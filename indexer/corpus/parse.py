"""Read and split one file: from its path to plain values that a store takes in. Knows no store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.corpus import readers
from indexer.corpus.folders.changes import digest
from indexer.errors import MissingExtra, NothingToRead, ReadError
from indexer.types import FileRecord, Notes, Parsed, ParsedDocument

if TYPE_CHECKING:
    from typing import BinaryIO

    from indexer.corpus.formats import ReadOptions
    from indexer.corpus.splitter import Splitter

MAX_SHOWN = 3
"""Problems of one file that its reason names."""
MAX_WARNINGS = 20
"""Warnings of one file that are kept; the rest is counted."""


def parse(file: FileRecord, options: ReadOptions, splitter: Splitter) -> Parsed:
    """Return the documents of a file on disk with their passages.

    A file that holds nothing to search comes back with status "skipped" and the reason. A file that cannot be read
    comes back without documents and with status "failed" and the reason; one of which a part cannot be read, with
    what is good and status "failed". Content that was left out on purpose is named in the record's warnings.

    Args:
        file: The file as the walk found it. Its digest may be None: it is then taken here.
        options: How to read it.
        splitter: Cuts documents into passages.
    """
    notes = Notes()
    try:
        if file.digest is None:
            file = replace(file, digest=digest(file.path))
        documents = tuple(
            ParsedDocument(document, tuple(splitter.split(document)))
            for document in readers.read(file.path, options, notes)
        )
    except NothingToRead as error:
        kept = None if isinstance(error, MissingExtra) else file.digest
        return Parsed(replace(file, digest=kept, status="skipped", reason=str(error)), ())
    except ReadError as error:  # no digest: it is tried again in the next run, whatever made it fail
        return Parsed(replace(file, digest=None, status="failed", reason=str(error)), ())
    return Parsed(_noted(file, notes), documents)


def parse_stream(
    stream: BinaryIO, file: FileRecord, options: ReadOptions, splitter: Splitter, kind: str | None = None
) -> Parsed:
    """Return the documents of an open binary stream, such as standard input, under the path of ``file``.

    Raises:
        ReadError: The stream cannot be read.
    """
    notes = Notes()
    documents = tuple(
        ParsedDocument(document, tuple(splitter.split(document)))
        for document in readers.read_stream(stream, file.path, options, notes, kind)
    )
    return Parsed(_noted(file, notes), documents)


def _noted(file: FileRecord, notes: Notes) -> FileRecord:
    """Return the record with what the reader remarked."""
    warnings = notes.warnings[:MAX_WARNINGS]
    if len(notes.warnings) > MAX_WARNINGS:
        warnings.append(f"and {len(notes.warnings) - MAX_WARNINGS} more remarks")
    file = replace(file, warnings=tuple(warnings))
    if not notes.problems:
        return replace(file, status="indexed", reason=None)
    more = len(notes.problems) - MAX_SHOWN
    reason = "; ".join(notes.problems[:MAX_SHOWN]) + (f" (and {more} more)" if more > 0 else "")
    return replace(file, status="failed", reason=reason)
