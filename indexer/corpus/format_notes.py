"""What is read of each kind of file, and what is left out and said: the table of the documentation is made of it."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.corpus.formats import KINDS

MAX_ENDINGS = 8
"""Endings of a kind that the table names."""


@dataclass(frozen=True)
class FormatNote:
    """What a person should know of one kind of file."""

    name: str
    read: str
    left_out: str
    extra: str | None = None
    """Extra of the installation that it needs."""


_UNREAD = "records that cannot be read or hold no text (named); long fields beside the text (counted)"
_PICTURES = "pictures (their alternative texts are read)"
_ENCODED = "runs of encoded bytes such as base64 (counted)"
_OBJECTS = "embedded files, macros (counted)"

NOTES: dict[str, FormatNote] = {
    "text": FormatNote(
        "Plain text, logs, captured terminals",
        "all of it, in the encoding that it declares or that is recognised",
        f"codes that steer a terminal, overstruck letters; {_ENCODED}; damaged bytes (counted)",
    ),
    "markdown": FormatNote("Markdown", "all of it; headings become the place of a hit", "nothing"),
    "rst": FormatNote("reStructuredText", "all of it; headings become the place of a hit", "nothing"),
    "html": FormatNote(
        "HTML, XHTML",
        "what a browser shows or unfolds, in the encoding that it takes; headings; alternative texts of pictures",
        "scripts, hidden elements, closed dialogs, choices of a list, navigation, page headers and footers, notices "
        "about cookies, tables of contents (read if there is nothing else); characters that do not fit are counted",
    ),
    "pdf": FormatNote(
        "PDF",
        "text by page in reading order, form values, notes, stamps; attached files as documents of their own",
        "pages without text and scans with a stamp (named), passwords, XFA forms (said), attached files that hold no "
        "text",
    ),
    "docx": FormatNote(
        "Word",
        "body, tables, footnotes, endnotes, comments, headers, footers, text boxes, content controls, charts, embedded "
        "HTML, RTF or Word; tracked changes as accepted; headings",
        f"{_PICTURES}, hidden text, {_OBJECTS}; hints of empty fields, tables of contents",
    ),
    "pptx": FormatNote(
        "PowerPoint",
        "slides as pages: titles, shapes, tables, charts, diagrams, speaker notes, comments",
        f"{_PICTURES}, recordings, {_OBJECTS}; slide numbers, dates and footers",
    ),
    "xlsx": FormatNote(
        "Excel",
        'sheets as pages, a row a line ("Header: value"), comments, text boxes, charts; values as last calculated',
        f"pictures, {_OBJECTS}, formulas without a stored value (counted)",
        "office",
    ),
    "rtf": FormatNote("RTF", "text, notes, headers, footers", "pictures and embedded objects (counted)", "office"),
    "odt": FormatNote(
        "OpenDocument text",
        "text, tables, notes, comments, headers, footers, frames; changes as accepted; headings",
        f"{_PICTURES}, {_OBJECTS}, tables of contents",
    ),
    "ods": FormatNote(
        "OpenDocument sheets",
        'sheets as pages, a row a line ("Header: value"), comments, drawn text',
        f"{_PICTURES}, {_OBJECTS}",
    ),
    "odp": FormatNote(
        "OpenDocument slides and drawings",
        "slides as pages: titles, frames, tables, speaker notes, comments",
        f"{_PICTURES}, {_OBJECTS}; page numbers and dates",
    ),
    "epub": FormatNote(
        "EPUB",
        "chapters in reading order; headings",
        "the table of contents; pages of pictures (counted); books with copy protection (skipped)",
    ),
    "csv": FormatNote(
        "CSV",
        "each row as a document, text before the table as one; the delimiter, the header, the quotes and the encoding "
        "are recognised, a line `sep=` counts; cells beyond the header's are kept (named)",
        "rows that cannot be read (named), header lines that come again",
    ),
    "tsv": FormatNote("TSV", "as CSV", "rows that cannot be read (named)"),
    "jsonl": FormatNote("JSON lines", "each line as a document", _UNREAD),
    "json": FormatNote(
        "JSON",
        "an array as a document for each element, also one that an object wraps; an object with prose as one document; "
        "settings as they are written",
        _UNREAD,
    ),
    "mail": FormatNote(
        "Mail, mailboxes, saved pages",
        "each message: header fields and body, decoded; attachments as documents of their own",
        "attachments without text (named), signatures, the second of two forms of one text",
    ),
    "calendar": FormatNote(
        "Calendars, address books",
        "each event, task or person as a document: texts, times, places, people",
        "pictures, identifiers, rules of repetition",
    ),
    "subtitles": FormatNote("Subtitles, lyrics", "what is said and by whom, line by line", "times, counters, styles"),
    "notebook": FormatNote(
        "Jupyter notebooks",
        "sources and text outputs of the cells; headings",
        "pictures (counted), HTML beside its text",
    ),
    "latex": FormatNote(
        "LaTeX",
        "text, comments, verbatim parts, keys of citations; accents and symbols as letters; headings",
        "commands and their settings, labels, references",
    ),
    "svg": FormatNote("SVG", "titles, descriptions, texts, labels", "shapes; pictures within it (counted)"),
    "code": FormatNote("Source code, settings, markup", "all of it", _ENCODED),
}
"""By kind."""


def formats_table() -> str:
    """Return a Markdown table of every kind of file."""
    lines = ["Format | Read | Left out, and said where it may matter", "--- | --- | ---"]
    for kind, note in NOTES.items():
        endings = " ".join(f"`.{ending}`" for ending in KINDS[kind][:MAX_ENDINGS])
        more = " …" if len(KINDS[kind]) > MAX_ENDINGS else ""
        extra = f" (`pip install 'semsearch[{note.extra}]'`)" if note.extra else ""
        lines.append(f"{note.name} {endings}{more}{extra} | {note.read} | {note.left_out}")
    return "\n".join(lines)
