"""Calendars and address books (iCalendar, vCard) → a document for each event, task or person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexer.corpus.decoding.text import clean
from indexer.corpus.texts import plain_text
from indexer.errors import NothingToRead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_ENTRIES = frozenset(("VEVENT", "VTODO", "VJOURNAL", "VCARD", "VFREEBUSY"))
_LEFT_OUT = frozenset(
    "BEGIN END UID DTSTAMP CREATED LAST-MODIFIED SEQUENCE VERSION PRODID CALSCALE METHOD TRANSP CLASS PHOTO LOGO SOUND "
    "KEY REV TZOFFSETFROM TZOFFSETTO TZNAME RRULE EXDATE TRIGGER ACTION N".split()
)
"""Properties that say nothing to a reader, or whose value is no text."""
_NAMES = {"SUMMARY": "", "DESCRIPTION": "", "FN": "", "NOTE": "", "COMMENT": ""}
"""Properties whose value stands alone; others come with their name."""


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield a document for each entry, under its own identifier."""
    text = plain_text.text_of(source, notes)
    names: set[str] = set()
    count = 0
    for line, properties in _entries(text, notes):
        said = [(name, value) for name, _, value in properties if name not in _LEFT_OUT and value.strip()]
        values = dict(reversed(said))
        title = values.get("SUMMARY") or values.get("FN")
        words = "\n".join(_line(name, params, value) for name, params, value in properties if name not in _LEFT_OUT)
        if not words.strip():
            continue
        count += 1
        record = clean(next((value for name, _, value in properties if name == "UID"), "")) or str(count)
        while record in names:
            record += f"#{count}"
        names.add(record)
        fields = {
            name.lower(): clean(values[name])[:1000]
            for name in ("DTSTART", "DTEND", "DUE", "LOCATION", "STATUS", "CATEGORIES", "ORG")
            if name in values
        }
        yield source.document(
            clean(words),
            title=title,
            record=f"{source.record}#{record}" if source.record else record,
            fields=fields,
            line_start=line,
        )
    if not count:
        raise NothingToRead("it holds no entries")


def _entries(text: str, notes: Notes) -> Iterator[tuple[int, list[tuple[str, Mapping[str, object], str]]]]:
    """Yield (line, properties) of each entry: (name, parameters, value) of every content line within it."""
    parts = _content_line()
    open_at: list[str] = []
    current: list[tuple[str, Mapping[str, object], str]] = []
    start = lost = 0
    for number, line in _unfolded(text):
        if not line.strip():
            continue
        try:
            name, params, value = parts(line)
        except (ValueError, KeyError, IndexError):
            lost += 1
            match = re.match(r"(?:[\w-]+\.)?([\w-]+)[^:]*:(.*)", line)
            name, params, value = (match[1], {}, match[2]) if match else ("", {}, line)
        name = name.upper().rpartition(".")[2]
        if name == "BEGIN":
            open_at.append(value.upper())
            if value.upper() in _ENTRIES:
                current, start = [], number
        elif name == "END":
            if value.upper() in _ENTRIES and current:
                yield start, current
                current = []
            if open_at:
                open_at.pop()
        elif any(part in _ENTRIES for part in open_at):
            encoding = str(params.get("ENCODING", "")).upper()
            if "QUOTED-PRINTABLE" in encoding:
                value = _quoted(value, str(params.get("CHARSET", "utf-8")))
            elif encoding in ("B", "BASE64"):
                continue
            current.append((name, params, _unescaped(value)))
    if current:  # the end is missing
        yield start, current
    if lost:
        notes.warnings.append(f"{lost} line{'s' * (lost != 1)} without a property name kept as they are")


def _content_line() -> Callable[[str], tuple[str, Mapping[str, object], str]]:
    """Return icalendar's function from a content line to its name, parameters and value."""
    from icalendar.parser import Contentline

    def parts(line: str) -> tuple[str, Mapping[str, object], str]:
        name, params, value = Contentline(line).parts()  # type: ignore[no-untyped-call]
        return str(name), dict(params), str(value)

    return parts


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, content line), a line that begins with a space joined to the one before."""
    start, parts = 0, list[str]()
    for number, line in enumerate(text.split("\n"), 1):
        if parts and parts[-1].endswith("=") and "QUOTED-PRINTABLE" in parts[0].upper():
            parts[-1] = parts[-1][:-1]
            parts.append(line)
        elif line[:1] in (" ", "\t") and parts:
            parts.append(line[1:])
        else:
            if parts:
                yield start, "".join(parts)
            start, parts = number, [line]
    if parts:
        yield start, "".join(parts)


def _quoted(value: str, charset: str) -> str:
    import quopri

    from indexer.corpus.decoding.encodings import lookup

    return quopri.decodestring(value.encode("utf-8", "replace")).decode(lookup(charset) or "utf-8", "replace")


def _unescaped(value: str) -> str:
    return re.sub(r"\\([nN,;:\\])", lambda match: "\n" if match[1] in "nN" else match[1], value)


def _line(name: str, params: Mapping[str, object], value: str) -> str:
    person = str(params.get("CN", "")).strip('"')
    value = re.sub(r"^mailto:", "", value, flags=re.IGNORECASE)
    if name in ("ADR", "ORG"):
        value = ", ".join(filter(None, (part.strip() for part in value.split(";"))))
    if person and person not in value:
        value = f"{person} {value}"
    if name in _NAMES or name.startswith("X-"):
        return value
    return f"{name.capitalize()}: {value}"
