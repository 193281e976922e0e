"""Rows of a sheet → lines of text: "Header: value | Header: value"."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from indexer.corpus.blocks import Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAX_CELLS = 5_000_000
"""Cells of one file that are read."""
MAX_HEADER = 80
"""Characters of a column's name."""


def blocks_of_sheet(name: str, rows: Iterable[Sequence[str]]) -> Iterator[Block]:
    """Yield a sheet's name as its heading and its rows as lines.

    The first row names the columns if it holds two or more different short texts and no number; else the values
    stand alone. Rows and cells without text are left out.
    """
    header: list[str] | None = None
    seen = False
    for row in rows:
        values = [" ".join(value.split()) for value in row]
        if not any(values):
            continue
        if not seen:
            seen = True
            yield Block("heading", name)
            if _is_header(values):
                header = values
                yield Block("line", " | ".join(value for value in values if value))
                continue
        cells = []
        for at, value in enumerate(values):
            if value:
                column = header[at] if header and at < len(header) else ""
                cells.append(f"{column}: {value}" if column else value)
        yield Block("line", " | ".join(cells))


def shown(value: object, number_format: str = "") -> str:
    """Return a cell's value as text, about as the sheet shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        if "%" in number_format:
            return f"{value * 100:.10g}%"
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.10g}"
    if isinstance(value, int) and "%" in number_format:
        return f"{value * 100}%"
    if isinstance(value, dt.datetime):
        if value.time() == dt.time():
            return value.date().isoformat()
        return value.isoformat(" ", "seconds")
    if isinstance(value, dt.time):
        return value.isoformat("seconds")
    return str(value)


def _is_header(values: Sequence[str]) -> bool:
    names = [value for value in values if value]
    if len(names) < 2 or len(set(names)) < len(names) or max(map(len, names)) > MAX_HEADER:
        return False
    return not any(_is_number(name) for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ".").rstrip("%"))
    except ValueError:
        return False
    return True
