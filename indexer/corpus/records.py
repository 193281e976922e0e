"""Record files: every row of a CSV or TSV file, or line of a JSON-lines file, is a document.

They are streamed: however large the file, only one record is in memory, and a line of at most
``ReadOptions.max_record_bytes``. A record that cannot be read is reported as "line N: reason" and left out.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from indexer.corpus.formats import ReadOptions, human, printable
from indexer.corpus.text import clean
from indexer.errors import ReadError
from indexer.types import Document

if TYPE_CHECKING:
    from indexer.corpus.source import Source
    from indexer.types import Notes

Problems = list[str]
MOST_PROBLEMS = 100
"""Reports kept of one file; the rest is counted."""
MOST_NAMES = 40
"""Field names listed in a message."""
FILTERABLE = 1000
"""Longest value that is kept as a field to filter by."""

_ESCAPED = re.compile("[\udc80-\udcff]")  # how errors="surrogateescape" passes on an invalid byte

_OPEN = re.compile(r'(?:^|\t)(")(?:[^"]|"")*\Z')  # a cell whose quote is not closed in its line
_CLOSE = re.compile(r'(?:[^"]|"")*"(?!")')
_BROKEN = re.compile(r'(?:^|\t)"(?:[^"]|"")*"[^"\t\r\n]')  # a quote that closes before the cell's end


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield a document for each record of the source."""
    return read_records(source.stream, source.path, source.kind, source.options, notes.problems)


def read_records(
    stream: BinaryIO, path: str, kind: str, options: ReadOptions, problems: Problems
) -> Iterator[Document]:
    """The documents of a record file, in order.

    A record's line is where it begins in the file. Raises ReadError where nothing at all could be read, where a
    gzip file is damaged, or where an option names a field that no record has: the last two may come after
    documents, which are then not to be kept.
    """
    report = _Report(problems)
    seen: dict[str, None] = {}
    names: set[str] = set()
    count = 0
    try:
        if kind == "jsonl":
            rows = _json_rows(_lines(stream, "\n", options, report), report)
        else:
            rows = _csv_rows(_lines(stream, "", options, report), kind, options.max_record_bytes, report)
        for number, (line, record) in enumerate(rows, 1):
            if record is None:
                continue
            if len(seen) < 1000:
                seen.update(dict.fromkeys(record))
            document = _document(path, kind, number, line, record, options)
            if not document.text.strip():
                report(line, _no_text(record, options))
                continue
            while document.record in names:  # an id that is not unique must not hide a record
                document = replace(document, record=f"{document.record}#{number}")
            names.add(document.record or "")
            count += 1
            yield document
    finally:
        report.close()
    wanted = [*options.text_fields, *filter(None, (options.title_field, options.id_field))]
    missing = [name for name in wanted if name not in seen]
    if missing and seen:
        raise ReadError(f"no record has the field {', '.join(map(repr, missing))}: its fields are {_list(seen)}")
    if not count:
        raise ReadError(f"no record could be read: {problems[0]}" if problems else "it holds no records")


class _Report:
    """Collects problems up to a limit, each record at most once."""

    def __init__(self, problems: Problems):
        self.problems = problems
        self.count = 0
        self.spoiled = False
        """Whether the line now being read stands for one that could not be."""

    def __call__(self, line: int, reason: str) -> None:
        self.count += 1
        if self.count <= MOST_PROBLEMS:
            self.problems.append(f"line {line}: {reason}")

    def close(self) -> None:
        if self.count > MOST_PROBLEMS:
            self.problems.append(f"and {self.count - MOST_PROBLEMS} more records that could not be read")


def _lines(stream: BinaryIO, newline: str, options: ReadOptions, report: _Report) -> Iterator[str]:
    """The file's lines. One that is too long or no text is reported and comes as an empty one."""
    buffered = io.BufferedReader(stream, 1 << 16)  # type: ignore[type-var]
    wide = buffered.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
    text = io.TextIOWrapper(buffered, encoding, errors, newline)
    limit = options.max_record_bytes
    number = 0
    try:
        while line := text.readline(limit + 1):
            number += 1
            reason = None
            whole = len(line) <= limit
            while not whole and not line.endswith(("\n", "\r")):  # pass over the rest without keeping it
                line = text.readline(1 << 20)
                if not line:
                    break
            if not whole:
                reason = f"longer than {human(limit)}: raise the limit with --max-record-bytes"
            elif not line.isascii() and (match := _ESCAPED.search(line)):
                offset = len(line[: match.start()].encode())
                reason = f"invalid UTF-8: byte 0x{ord(match[0]) - 0xDC00:02x} at offset {offset} of the line"
            elif "\0" in line:
                reason = "NUL byte: it is not text, or damaged"
            if reason:
                report(number, reason)
                report.spoiled = True
                line = "\n"
            yield line
    except UnicodeDecodeError as error:
        raise ReadError(f"invalid UTF-16 after line {number}: {error.reason}: save it as UTF-8") from error
    finally:
        text.detach()
        buffered.detach()


def _json_rows(lines: Iterator[str], report: _Report) -> Iterator[tuple[int, Mapping[str, object] | None]]:
    for number, line in enumerate(lines, 1):
        if report.spoiled:
            report.spoiled = False
            yield number, None
            continue
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            report(number, f"not JSON: {error.msg} at column {error.colno}")
            yield number, None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
            report(number, f"JSON that cannot be read: {error}")
            yield number, None
        else:
            if not isinstance(record, dict):
                report(number, f"a JSON {_json_name(record)}, where an object with fields is needed")
            yield number, record if isinstance(record, dict) else None


def _json_name(value: object) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")


def _csv_rows(
    lines: Iterator[str], kind: str, limit: int, report: _Report
) -> Iterator[tuple[int, Mapping[str, object] | None]]:
    """Rows as field → cell, by the header. Columns part at commas (CSV) or tabs (TSV); a CSV file whose header
    has no comma but semicolons or tabs parts there."""
    header_line = next(lines, "")
    delimiter = "\t" if kind == "tsv" else next((d for d in ",;\t" if d in header_line), ",")

    def again() -> Iterator[str]:
        yield header_line
        yield from _literal_quotes(lines, header_line.count("\t") + 1) if kind == "tsv" else lines

    csv.field_size_limit(max(csv.field_size_limit(), limit))  # the whole process's: only ever raised
    reader = csv.reader(again(), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error) or "field limit" in str(error):
                report(line, "a quote is opened and not closed: nothing after it was read")
                return
            report(line, f"not {kind.upper()}: {error}")
            row = None
        if report.spoiled:
            report.spoiled = False
            row = None
        if not header:
            if not row:
                raise ReadError(
                    f"its first line is no header: {report.problems[-1]}"
                    if report.count
                    else "its first line, which names the columns, is blank"
                )
            header = _header(row)
        elif row is None:
            yield line, None
        elif len(row) > len(header):
            report(line, f"{len(row)} cells, more than the header's {len(header)}")
            yield line, None
        elif row:
            yield line, dict(zip(header, row, strict=False))


def _literal_quotes(lines: Iterator[str], columns: int) -> Iterator[str]:
    """TSV lines as the csv module understands them: most programs write quotes around a cell that needs them, but
    many data sets write every cell as it is, so that a sentence may begin with a quote. Such a line is told by a quote
    that closes before its cell ends, or not at all though the line has all its cells; its cells get quotes of ours."""
    inside = False
    for line in lines:
        if inside:
            closing = _CLOSE.match(line)
            inside = not closing or _OPEN.search(line, closing.end()) is not None
        elif '"' in line:
            opening = _OPEN.search(line)
            whole = opening and "\t" in line[opening.end(1) :] and line.count("\t") == columns - 1
            if whole or _BROKEN.search(line):
                body = line.rstrip("\r\n")
                cells = (cell.replace('"', '""') for cell in body.split("\t"))
                line = "\t".join(f'"{cell}"' for cell in cells) + line[len(body) :]
            else:
                inside = opening is not None
        yield line


def _header(row: list[str]) -> list[str]:
    """Column names, made unique: a blank one is named by its place, a repeated one numbered."""
    names: list[str] = []
    for place, cell in enumerate(row, 1):
        name = cell.strip() or f"column {place}"
        while name in names:
            name += f" {place}"
        names.append(name)
    return names


def _document(
    path: str, kind: str, number: int, line: int, record: Mapping[str, object], options: ReadOptions
) -> Document:
    id_field = options.id_field or next((name for name in ("id", "_id") if _scalar(record.get(name))), None)
    identifier = _scalar(record.get(id_field)) if id_field else ""
    title_field = options.title_field or "title"
    title = _text(record.get(title_field)).strip() or None
    unsaid = not options.text_fields and "text" not in record  # nothing says which fields are text: all strings are
    if unsaid:
        chosen = [name for name, value in record.items() if isinstance(value, str) and name != id_field]
    else:
        chosen = list(options.text_fields) or ["text"]
    if title and (not options.text_fields or options.title_field):
        chosen = [title_field, *(name for name in chosen if name != title_field)]
    parts = (_text(record.get(name)).strip() for name in chosen)
    fields = {
        clean(str(name)): clean(text)
        for name, value in record.items()
        if name not in (id_field, title_field)
        and (unsaid or name not in chosen)
        and 0 < len(text := _scalar(value)) <= FILTERABLE
    }
    return Document(
        path=path,
        text=clean("\n".join(part for part in parts if part)),
        kind=kind,
        record=clean(identifier.strip()) or str(number),
        title=title and " ".join(clean(title).split()),
        fields=fields,
        line_start=line,
    )


def _scalar(value: object) -> str:
    """A value to filter or identify by, as text: what JSON would write; empty for null, lists and objects."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else ""


def _text(value: object) -> str:
    """A chosen field's value as text; the items of a list on a line each."""
    return "\n".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)


def _no_text(record: Mapping[str, object], options: ReadOptions) -> str:
    wanted = f"the field {', '.join(map(repr, options.text_fields))}" if options.text_fields else "any of its fields"
    return f"no text in {wanted} (fields: {_list(record)})"


def _list(names: Mapping[str, object]) -> str:
    shown = [printable(str(name))[:80] for name, _ in zip(names, range(MOST_NAMES), strict=False)]
    return ", ".join(shown) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "") or "none"
