"""Give back the text of a document, or of some lines of it, from the collection itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indexer.types import StoredDocument
    from semsearch.search.asking.places import Place


@dataclass(frozen=True)
class Extract:
    """A part of an indexed file: its text as it was read, which for a PDF differs from the bytes on disk."""

    path: str
    """Absolute path of the file."""
    line_start: int
    """1-based, inclusive, of the file; for PDF, DOCX and HTML of the text that was extracted from it."""
    line_end: int
    page: int | None
    """Page on which it begins, where only some lines are given; None for formats without pages."""
    text: str
    document: str | None
    """Identifier of the record in its file; None where the file is one document, or several records are given."""
    title: str | None
    kind: str
    fields: Mapping[str, str]
    passages: tuple[int, ...]
    """Identifiers of the passages that stand in it, in part at least."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Extract:
        """Return the extract that ``dataclasses.asdict`` made a mapping of, which may have been JSON since.

        Raises:
            TypeError: A field is missing or unknown.
        """
        return cls(**{**values, "passages": tuple(values["passages"])})


def extract(place: Place, context: int = 0) -> Extract:
    """Return the text that a place names: whole lines of a document, or whole records.

    Args:
        place: Of an indexed file.
        context: Lines to give before and after those that are meant.
    """
    parts = [_part(each, place, context) for each in place.documents]
    one = place.documents[0].document if len(place.documents) == 1 else None
    first, last = min(start for _, start, _ in parts), max(end for _, _, end in parts)
    rows = [row for each in place.documents for row in each.passages]
    return Extract(
        path=place.path,
        line_start=first,
        line_end=last,
        page=place.passages[0].passage.page if place.lines and place.passages else None,
        text="\n\n".join(text for text, _, _ in parts),
        document=one.record if one else None,
        title=one.title if one else None,
        kind=place.documents[0].document.kind,
        fields=dict(one.fields) if one else {},
        passages=tuple(r.id for r in rows if r.passage.line_start <= last and r.passage.line_end >= first),
    )


def _part(stored: StoredDocument, place: Place, context: int) -> tuple[str, int, int]:
    """Return (text, first line, last line) of what is meant of one document."""
    document = stored.document
    begin = document.line_start
    if document.record is not None:  # its lines are not those of the file
        return document.text, begin, max([begin, *(row.passage.line_end for row in stored.passages)])
    lines = document.text.split("\n")
    if place.lines is None:
        return document.text, begin, begin + len(lines) - 1
    first = min(max(place.lines[0] - context - begin, 0), len(lines) - 1)
    last = min(max(place.lines[1] + context - begin, first), len(lines) - 1)
    return "\n".join(lines[first : last + 1]), begin + first, begin + last
