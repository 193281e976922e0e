"""PATH or PATH:LINE of an indexed file → its passages in the collection."""

from __future__ import annotations

import os
import re

from indexer.errors import UsageError
from indexer.storage.local.rows import printable
from indexer.storage.local.store import Store
from indexer.types import StoredPassage


def passages_at(store: Store, place: str, line: int | None = None) -> tuple[list[StoredPassage], list[int]]:
    """The passages of an indexed file, or those on a line of it; where none is on the line, the nearest. And the ids
    of all passages of the documents (the file, or records of it) that they are from.

    ``place`` may end in ``:LINE`` or ``:LINE-LINE``, as hits are shown; of two lines the first counts. Raises
    UsageError for a file that is not indexed and for a line before its first or after its last passage.
    """
    rows = _of_file(store, place)
    if not rows and line is None and (both := re.fullmatch(r"(.+):(\d{1,9})(?:-\d+)?", place, re.DOTALL)):
        place, line = both[1], int(both[2])  # only now: the path of a file may end like this itself
        rows = _of_file(store, place)
    if not rows:
        raise UsageError(_why_not(store, place))
    if line is None:
        return rows, [row.id for row in rows]
    first, last = min(r.passage.line_start for r in rows), max(r.passage.line_end for r in rows)
    if not first <= line <= last:
        raise UsageError(f"{place} has nothing indexed on line {line}; its passages are on lines {first} to {last}")
    on_it = [row for row in rows if row.passage.line_start <= line <= row.passage.line_end]
    on_it = on_it or [min(rows, key=lambda r: max(r.passage.line_start - line, line - r.passage.line_end))]
    records = {row.record for row in on_it}
    return on_it, [row.id for row in rows if row.record in records]


def _of_file(store: Store, path: str) -> list[StoredPassage]:
    return list(store.passages(path)) or list(store.passages(os.path.abspath(path)))


def _why_not(store: Store, path: str) -> str:
    absolute, name = printable(os.path.abspath(path)), store.path.name
    for record in store.files():
        if record.path in (path, absolute):
            return f"{record.path} is in collection {name!r} without passages: {record.reason or 'it holds no text'}"
    if os.path.isdir(absolute):
        return f"{absolute} is a folder; name one of its files"
    if os.path.exists(absolute):
        return (
            f"{absolute} is not in collection {name!r}; index it with: semsearch index {path}, or look for its text "
            "with: semsearch query TEXT"
        )
    return (
        f"{absolute} is not in collection {name!r}, and there is no such file; name an indexed file as PATH or "
        "PATH:LINE, as `semsearch query` shows them, or look for a text with: semsearch query TEXT"
    )
