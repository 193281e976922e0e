"""Record files → documents: each row of a table, each line or item of JSON is one.

CSV, TSV and JSON lines are streamed: however large the file, only one record is in memory, and a line of at most
``ReadOptions.max_record_bytes``. A record that cannot be read is reported as "line N: reason" and left out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.corpus.decoding.text import clean
from indexer.corpus.formats import ReadOptions, printable
from indexer.corpus.records import jsons, tables
from indexer.corpus.records.lines import Remarks, lines
from indexer.corpus.texts import plain_text
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

MAX_NAMES = 40
"""Field names listed in a message."""
MAX_FILTERABLE = 1000
"""Longest value that is kept as a field to filter by."""


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield a document for each record of a CSV, TSV or JSON-lines source, in order.

    A record's line is where it begins in the file.

    Raises:
        NothingToRead: It holds no records.
        ReadError: Nothing at all could be read, or an option names a field that no record has. The last may come
            after documents, which are then not to be kept.
    """
    remarks = Remarks(notes)
    newline = "\n" if source.kind == "jsonl" else ""
    found = lines(source.stream, source.name, newline, source.options, remarks, source.charset)
    if source.kind == "jsonl":
        rows = jsons.line_rows(found, remarks, source.options.max_bytes)
    else:
        rows = tables.rows(found, source.kind, source.options.max_record_bytes, remarks)
    return _documents(rows, source, notes, remarks)


def read_json(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the records of a JSON file that holds data; one of settings is a single document as it is written."""
    text = plain_text.text_of(source, notes)
    found = jsons.values(text)
    rows = jsons.records_of(text, found) if found else None
    if rows is None:
        yield source.document(jsons.unescaped(text), kind="code")
        return
    single = len(rows) == 1 and not text.lstrip().startswith("[")
    for document in _documents(iter(rows), source, notes, Remarks(notes)):
        yield replace(document, record=source.record) if single and document.record == "1" else document


def _documents(rows: Iterator[jsons.Row], source: Source, notes: Notes, remarks: Remarks) -> Iterator[Document]:
    options = source.options
    seen: dict[str, None] = {}
    missing = {*options.text_fields, *filter(None, (options.title_field, options.id_field))}
    wanted = list(missing)
    names: set[str] = set()
    unused: Counter[str] = Counter()
    count = number = 0
    for line, record in rows:
        if record is not None and set(record) == {"preamble"}:
            count += 1
            yield _Record(record, ReadOptions()).document(source, "preamble", line)
            continue
        number += 1
        if record is None:
            continue
        if len(seen) < 1000:
            seen.update(dict.fromkeys(record))
        fields = _Record(record, options)
        missing -= {name for name in missing if fields.has(name)}
        document = fields.document(source, str(number), line)
        if not document.text.strip():
            remarks.warn(line, f" left out: {_no_text(record, options)}")
            continue
        while document.record in names:  # an id that is not unique must not hide a record
            document = replace(document, record=f"{document.record}#{number}")
        names.add(document.record or "")
        unused.update(fields.unused())
        count += 1
        yield document
    remarks.close()
    if missing and seen:
        absent = ", ".join(repr(name) for name in wanted if name in missing)
        raise ReadError(f"no record has the field {absent}: its fields are {_list(seen)}")
    if unused:
        most = ", ".join(f"{printable(name)} ({n})" for name, n in unused.most_common(5))
        notes.warnings.append(f"fields neither searched nor kept to filter by: {most}; name them with --text-field")
    if not count:
        if notes.problems:
            raise ReadError(f"no record could be read: {notes.problems[0]}")
        raise NothingToRead(f"no record holds text: {notes.warnings[0]}" if remarks.warned else "it holds no records")


class _Record:
    """The fields of one record, found by the names that a person or a convention gives them."""

    def __init__(self, record: Mapping[str, object], options: ReadOptions) -> None:
        self.record = record
        self.options = options
        self.id_field = self._key(options.id_field) or self._usual("id", "_id")
        self.title_field = self._key(options.title_field) or self._usual("title")
        text = None if options.text_fields else self._usual("text")
        self.unsaid = not options.text_fields and text is None
        """Nothing says which fields are text: all with texts in them are."""
        if options.text_fields:
            self.chosen = list(options.text_fields)
        elif text is not None:
            self.chosen = [text, *(name for name in record if isinstance(name, tables.Overflow))]
        else:
            texts = (
                name for name, value in record.items() if isinstance(value, str | list | dict) and _text(value).strip()
            )
            self.chosen = [name for name in texts if name != self.id_field]

    def has(self, name: str) -> bool:
        """Return whether the record has a field, or something at a dotted path."""
        return bool(self._values(name))

    def document(self, source: Source, number: str, line: int) -> Document:
        """Return the record as a document; ``number`` identifies it if it has no identifier of its own."""
        title_name = self.title_field or self.options.title_field
        title = self._said(title_name).strip() if title_name else ""
        chosen = self.chosen
        if title and title_name and (not self.options.text_fields or self.options.title_field):
            chosen = [title_name, *(name for name in chosen if name != title_name)]
        id_name = self.id_field or self.options.id_field
        identifier = "\n".join(map(_scalar, self._values(id_name))).strip() if id_name else ""
        record = clean(identifier) or number
        if source.record is not None:
            record = f"{source.record}#{record}"
        return source.document(
            clean("\n".join(part for name in chosen if (part := self._said(name).strip()))),
            title=title,
            record=record,
            fields=self._kept(),
            line_start=line,
        )

    def unused(self) -> list[str]:
        """Return the fields that are neither text nor short enough to filter by."""
        if self.unsaid:
            return []
        tops = {name.partition(".")[0] for name in self.chosen} | {*self.chosen}
        kept = {name.partition(".")[0] for name in self._kept()}
        return [
            name
            for name, value in self.record.items()
            if name not in tops | kept | {self.id_field, self.title_field} and _text(value).strip()
        ]

    def _key(self, name: str | None) -> str | None:
        """Return the record's own spelling of a field that a person named."""
        if name is None or name in self.record:
            return name
        return next((key for key in self.record if key.casefold() == name.casefold()), None)

    def _usual(self, *names: str) -> str | None:
        """Return the field with one of these names, in any case, whose value says something."""
        for name in names:
            for key in [name, *(key for key in self.record if key != name and key.casefold() == name)]:
                if _text(self.record.get(key)).strip():
                    return key
        return None

    def _values(self, name: str) -> list[object]:
        """Return the values at a field or a dotted path, through lists; null counts as none."""
        if (key := self._key(name)) is not None:
            return [self.record[key]]
        found: list[object] = [self.record]
        for part in name.split("."):
            flat = [item for value in found for item in (value if isinstance(value, list) else [value])]
            found = [item[part] for item in flat if isinstance(item, dict) and part in item]
            if not found:
                break
        return found if "." in name else []

    def _said(self, name: str) -> str:
        return "\n".join(filter(None, map(_text, self._values(name))))

    def _kept(self) -> dict[str, str]:
        """Return the fields to filter by: short values, those within objects by their dotted path."""
        kept: dict[str, str] = {}
        text_fields = set() if self.unsaid else set(self.chosen)
        stack: list[tuple[str, object]] = list(reversed(list(self.record.items())))
        while stack:
            name, value = stack.pop()
            if name in (self.id_field, self.title_field) or name in text_fields:
                continue
            if isinstance(value, dict):
                if name.count(".") < 4:
                    stack.extend((f"{name}.{key}", part) for key, part in reversed(value.items()))
            elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
                value = ", ".join(value)
            if 0 < len(text := _scalar(value)) <= MAX_FILTERABLE and len(kept) < MAX_FILTERABLE:
                kept[clean(str(name))] = clean(text)
        return kept


def _scalar(value: object) -> str:
    """Return a value to filter or identify by, as JSON would write it; empty for null, lists and objects."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else ""


def _text(value: object) -> str:
    """Return the text within a value, each on a line of its own; a number that was chosen is text too."""
    if isinstance(value, list | dict):
        return "\n".join(text for text in jsons.strings(value) if text.strip())
    return _scalar(value) if value is not None else ""


def _no_text(record: Mapping[str, object], options: ReadOptions) -> str:
    wanted = f"the field {', '.join(map(repr, options.text_fields))}" if options.text_fields else "any of its fields"
    return f"no text in {wanted} (fields: {_list(record)})"


def _list(names: Mapping[str, object]) -> str:
    shown = [printable(str(name))[:80] for name, _ in zip(names, range(MAX_NAMES), strict=False)]
    return ", ".join(shown) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "") or "none"
