"""Tables of text: where the table begins in a CSV or TSV file, what parts its cells, and its rows as records."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from indexer.corpus.records.lines import Spoiled
from indexer.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from indexer.corpus.records.lines import Remarks

SAMPLE_LINES = 200
SAMPLE_CHARS = 1 << 16
"""Beginning of the file by which its form is told."""
PROPOSAL_CHARS = 4000
"""Characters shown to clevercsv, whose time grows faster than they do."""
PREFERENCE = 1.4
"""Weight of its proposal."""
MAX_PREAMBLE = 40
"""Lines that may stand before the table."""
MAX_NAME = 80
"""Longest name of a column in a file that does not say which line holds them."""

NO_DELIMITER = "\x1e"
"""Stands for the delimiter of a table with one column."""

_DELIMITERS = {
    ",": 1.0,
    ";": 1.0,
    "\t": 1.0,
    "|": 1.0,
    "\x1f": 1.0,
    "\x01": 1.0,
    "^": 0.9,
    "~": 0.8,
    "¦": 0.8,
    ":": 0.4,
}
"""Delimiter → how likely it is one where it parts the rows evenly."""
_SEP = re.compile(r"\s*\"?sep=(.|\\t)\"?[,;\s]*\Z", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(
    r"[-+]?[$€£]?\d[\d.,' ]*%?\Z|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[T ][\d:.]+Z?)?\Z|\d{1,2}:\d\d(?::\d\d)?\Z"
)
_YEAR = re.compile(r"(?:1[5-9]|20|21)\d\d\Z")
_WELL_KNOWN = frozenset("id _id text title body content abstract summary name description question answer".split())

_OPEN = re.compile(r'(?:^|\t)(")(?:[^"]|"")*\Z')  # a cell whose quote is not closed in its line
_CLOSE = re.compile(r'(?:[^"]|"")*"(?!")')
_BROKEN = re.compile(r'(?:^|\t)"(?:[^"]|"")*"[^"\t\r\n]')  # a quote that closes before the cell's end


class Overflow(str):
    """Name of a cell beyond those that the header names."""

    __slots__ = ()


@dataclass(frozen=True)
class Form:
    """How a table is written."""

    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    """Character that stands before a quote within a cell; None: such a quote is doubled."""
    first: int = 1
    """Line on which the table begins."""
    named: bool = True
    """Whether that line names the columns."""


def rows(
    lines: Iterator[str], kind: str, limit: int, remarks: Remarks
) -> Iterator[tuple[int, Mapping[str, object] | None]]:
    """Yield (line, column → cell) of each row of a table; None for a row that could not be read.

    Text before the table comes as a record of its own, with the one field "preamble". Cells beyond the header's are
    kept under the name of their place ("column 4").

    Raises:
        ReadError: Its first line cannot be read.
        NothingToRead: It is blank.
    """
    head = _head(lines)
    form = choose(head, kind)
    if line := next((n for n, text in enumerate(head[: form.first], 1) if isinstance(text, Spoiled)), None):
        raise ReadError(f"its first line, which names the columns, cannot be read (line {line})")
    if preamble := _preamble(head[: form.first - 1]):
        yield 1, {"preamble": preamble}
    lines = chain(head[form.first - 1 :], lines)
    if kind == "tsv" and form.delimiter == "\t":
        columns = head[form.first - 1].count("\t") + 1 if head else 1
        lines = _literal_quotes(lines, columns)
    yield from _rows(lines, form, kind, limit, remarks)


def choose(head: Sequence[str], kind: str) -> Form:
    """Return the form of a table by its first lines.

    A line ``sep=X`` says the delimiter. Else clevercsv proposes one, every usual one is tried too, and the one wins
    whose rows have the same number of cells most often, clevercsv's counting more.
    """
    sample = [line for line in head if not isinstance(line, Spoiled)]
    if not sample:
        return Form()
    if said := _SEP.match(sample[0].rstrip("\r\n") or " "):
        delimiter = said[1].replace("\\t", "\t")
        return Form(delimiter, *_quoting(head[1:], delimiter), 2, _is_named(head, delimiter, 2))
    best, best_score = Form(delimiter="\t"), 0.0
    proposed = "\t" if kind == "tsv" and any("\t" in line for line in sample) else _proposed(sample)
    for delimiter, weight in ({proposed: 0.5} | _DELIMITERS).items():
        if not delimiter or not any(delimiter in line for line in sample):
            continue
        quote, escape = _quoting(head, delimiter)
        form, score = _judge(head, Form(delimiter, quote, escape))
        if delimiter not in _DELIMITERS and score < 0.7:  # an odd one must part every row alike
            continue
        score *= PREFERENCE if delimiter == proposed and delimiter in _DELIMITERS else weight
        if score > best_score:
            best, best_score = form, score
    if best_score:
        named = _is_named(head, best.delimiter, best.first)
        return Form(best.delimiter, best.quote, best.escape, best.first, named)
    single = best.delimiter if kind == "tsv" else NO_DELIMITER
    return Form(single, *_quoting(head, single))


def _proposed(sample: Sequence[str]) -> str:
    """Return the delimiter that clevercsv sees; empty where it sees none."""
    import clevercsv

    try:
        dialect = clevercsv.Detector().detect("".join(sample)[:PROPOSAL_CHARS].replace("\0", ""), verbose=False)
    except (clevercsv.Error, ValueError, RecursionError):
        return ""
    return (dialect and dialect.delimiter) or ""


def _head(lines: Iterator[str]) -> list[str]:
    head: list[str] = []
    size = 0
    for line in islice(lines, SAMPLE_LINES):
        head.append(line)
        size += len(line)
        if size > SAMPLE_CHARS:
            break
    return head


def _parse(head: Sequence[str], form: Form) -> list[tuple[int, list[str]]]:
    """Return (line, cells) of each row that is not blank, with empty cells at the end left out."""
    reader = csv.reader(
        (line.replace("\0", "") for line in head),
        delimiter=form.delimiter,
        quotechar=form.quote,
        escapechar=form.escape,
        doublequote=form.escape is None,
        skipinitialspace=True,
    )
    found: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for row in reader:
            while row and not row[-1].strip():
                row.pop()
            if row:
                found.append((line, row))
            line = reader.line_num + 1
    except csv.Error:  # a cell beyond the limit
        pass
    return found


def _judge(head: Sequence[str], form: Form) -> tuple[Form, float]:
    """Return the form with the line on which its table begins, and how evenly it parts the rows (0 to 1)."""
    found = _parse(head, form)
    widths = [len(row) for _, row in found]
    if not widths:
        return form, 0.0
    counts = Counter(widths)
    most = max(counts.values())
    width = widths[0] if counts[widths[0]] == most else max(w for w, count in counts.items() if count == most)
    if widths[0] >= 2:
        # the first row names the columns; only much wider rows, many of them, say that it does not
        start = 0
        if widths[0] < width:
            start = next((i for i, w in enumerate(widths[:MAX_PREAMBLE]) if w >= width), 0)
            if not _is_preamble(found, start, width):
                start, width = 0, widths[0]
        else:
            width = widths[0]
    else:
        start = next((i for i, w in enumerate(widths[:MAX_PREAMBLE]) if w == width), 0) if width >= 2 else 0
        if width < 2 or not _is_preamble(found, start, width):
            return form, 0.0
    table = widths[start:]
    even = sum(w == width for w in table) / len(table)
    near = sum(abs(w - width) <= 1 for w in table) / len(table)
    score = (0.8 * even + 0.2 * near) * (1 - 0.5 / width) * (len(table) / len(widths)) ** 0.5
    if width > 1 and all(len(cell) > MAX_NAME for cell in found[start][1]):
        score *= 0.5
    return Form(form.delimiter, form.quote, form.escape, found[start][0]), max(score, 0.01)


def _is_preamble(found: Sequence[tuple[int, list[str]]], start: int, width: int) -> bool:
    """Return whether the rows before ``start`` stand before a table: it has names, and three even rows or a gap."""
    header = [cell.strip() for cell in found[start][1]]
    if not all(header) or any(len(cell) > MAX_NAME for cell in header) or len(set(header)) < len(header):
        return False
    if sum(bool(_NUMBER.match(cell)) for cell in header) * 2 > len(header):
        return False
    first = found[0][1]
    if start == 1 and len(first) == 1 and first[0].strip().lower() in _WELL_KNOWN:
        return False  # one column whose cells hold the delimiter
    even = sum(len(row) >= width - 1 and len(row) >= 2 for _, row in found[start:])
    gap = start > 0 and found[start][0] - found[start - 1][0] > 1
    return even >= (2 if gap or start > 1 else 3) and even >= 0.6 * len(found[start:])


def _quoting(head: Sequence[str], delimiter: str) -> tuple[str, str | None]:
    """Return the quote character and the escape character, None where quotes are doubled."""
    text = "".join(head)
    d = re.escape(delimiter)
    cell = r"(?:^|{d})\s*{q}(?:[^{q}\n]|{q}{q})*{q}\s*(?={d}|$)"
    single = len(re.findall(cell.format(d=d, q="'"), text, re.MULTILINE))
    double = len(re.findall(cell.format(d=d, q='"'), text, re.MULTILINE))
    quote = "'" if single > len(head) / 2 and not double else '"'
    escaped = len(re.findall(r"\\" + quote + rf"(?!\s*(?:{d}|$))", text, re.MULTILINE))
    return quote, "\\" if escaped and quote * 2 not in re.sub(rf"(?:^|{d}){quote * 2}(?={d}|$)", "", text) else None


def _is_named(head: Sequence[str], delimiter: str, first: int) -> bool:
    """Return whether the table's first row names its columns: it holds no number where the rows below do."""
    found = _parse(head[first - 1 :], Form(delimiter, *_quoting(head, delimiter)))
    if len(found) < 2:
        return True
    header, below = [cell.strip() for cell in found[0][1]], [row for _, row in found[1:20]]
    if any(cell.lower() in _WELL_KNOWN for cell in header):
        return True
    numbers = [int(cell) for cell in header if cell.isdecimal()]
    if len(numbers) == len(header) and numbers in (list(range(len(header))), list(range(1, len(header) + 1))):
        return True  # columns that a program numbered
    for place, cell in enumerate(header):
        column = [row[place].strip() for row in below if place < len(row)]
        if _NUMBER.match(cell) and not _YEAR.match(cell):
            return not (column and all(_NUMBER.match(other) for other in column if other))
    return not any(len(cell) > 2 * MAX_NAME for cell in header)


def _preamble(lines: Sequence[str]) -> str:
    said = bool(lines) and _SEP.match(lines[0].rstrip("\r\n") or " ")
    return "\n".join(filter(None, (line.strip(' \t\r\n;,"') for line in lines[1 if said else 0 :])))


def _rows(
    lines: Iterator[str], form: Form, kind: str, limit: int, remarks: Remarks
) -> Iterator[tuple[int, Mapping[str, object] | None]]:
    spoiled = False

    def fed() -> Iterator[str]:
        nonlocal spoiled
        for line in lines:
            spoiled = spoiled or isinstance(line, Spoiled)
            yield line or "\n"

    csv.field_size_limit(max(csv.field_size_limit(), limit))  # the whole process's: only ever raised
    reader = csv.reader(
        fed(),
        delimiter=form.delimiter,
        quotechar=form.quote,
        escapechar=form.escape,
        doublequote=form.escape is None,
        strict=True,
    )
    header: list[str] = []
    first_row: list[str] = []
    before = form.first - 1
    while True:
        line = before + reader.line_num + 1
        row: list[str] | None
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error) or "field limit" in str(error):
                remarks.fail(line, "a quote is opened and not closed: nothing after it was read")
                return
            remarks.fail(line, f"not {kind.upper()}: {error}")
            row = None
        if spoiled:
            row, spoiled = None, False
        if not header:
            if row is None:
                raise ReadError(f"its first line, which names the columns, cannot be read (line {line})")
            if not any(cell.strip() for cell in row):
                continue
            while not row[-1].strip():
                row.pop()
            first_row, header = row, _names(row if form.named else [""] * len(row))
            if form.named:
                continue
            remarks.warn(line, ": it names no columns: they are called column 1, column 2 and so on")
        if row is None:
            yield line, None
        elif any(cell.strip() for cell in row) and (row != first_row or not form.named):
            while len(row) > len(header) and not row[-1].strip():
                row.pop()
            if len(row) > len(header):
                more = [Overflow(f"column {place + 1}") for place in range(len(header), len(row))]
                remarks.warn(
                    line, f": {len(row)} cells, more than the header's {len(header)}: kept as {', '.join(more)}"
                )
                yield line, dict(zip([*header, *more], row, strict=False))
            else:
                yield line, dict(zip(header, row, strict=False))


def _literal_quotes(lines: Iterator[str], columns: int) -> Iterator[str]:
    """Yield TSV lines as the csv module understands them.

    Most programs write quotes around a cell that needs them, but many data sets write every cell as it is, so that a
    sentence may begin with a quote. Such a line is told by a quote that closes before its cell ends, or not at all
    though the line has all its cells; its cells get quotes of ours.
    """
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


def _names(row: list[str]) -> list[str]:
    """Return column names, made unique: a blank one is named by its place, a repeated one numbered."""
    names: list[str] = []
    for place, cell in enumerate(row, 1):
        name = cell.strip() or f"column {place}"
        while name in names:
            name += f" {place}"
        names.append(name)
    return names
