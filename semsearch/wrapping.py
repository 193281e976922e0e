"""Break text into lines of a terminal's width, by the cells that its characters take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Span = tuple[int, int]
"""Offsets (start, end) of characters in a text."""

TAB = 8
"""Cells that a tab takes at most."""

_WORD = re.compile(r"[^\S\n]*[^\s]+[^\S\n]*")


def lines(text: str, width: int) -> list[Span]:
    """Return the lines of a text, none wider than ``width`` cells, without the white space at their ends.

    A line is broken before a word; a word that is wider than a line is broken inside.
    """
    spans: list[Span] = []
    for at in _own_lines(text):
        for start, end in _broken(text, *at, width):
            spans.append((start, start + len(text[start:end].rstrip())))
    return spans


def cells(text: str) -> int:
    """Return the width of a text in cells: two for a wide character, none for one that joins the one before it."""
    if text.isascii():
        return len(text) + (TAB - 1) * text.count("\t")
    return sum(map(_cells, text))


def _own_lines(text: str) -> Iterator[Span]:
    start = 0
    for line in text.split("\n"):
        yield start, start + len(line)
        start += len(line) + 1


def _broken(text: str, start: int, end: int, width: int) -> Iterator[Span]:
    """Yield the pieces of one line."""
    used = 0
    for match in _WORD.finditer(text, start, end):
        word = match[0]
        needs = cells(word.rstrip())
        if used and used + needs > width:
            yield start, match.start()
            start, used = match.start(), 0
        if needs > width:
            for cut in _cuts(word, match.start(), width):
                yield start, cut
                start = cut
            used = cells(text[start : match.end()])
        else:
            used += cells(word)
    yield start, end


def _cuts(word: str, at: int, width: int) -> Iterator[int]:
    """Yield the places in a text at which a word that stands at ``at`` is broken."""
    used = 0
    for i, character in enumerate(word):
        needs = _cells(character)
        if used and used + needs > width:
            yield at + i
            used = 0
        used += needs


def _cells(character: str) -> int:
    if character.isascii():
        return TAB if character == "\t" else 1
    import unicodedata  # here: most answers do without its tables

    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
