"""Sentences of a text, and the lines of a text that are no sentences: logs, code, lists, tables."""

from __future__ import annotations

import re
from itertools import pairwise

Span = tuple[int, int]
"""Offsets (start, end) of characters in a text."""

MIN_WIDTH = 40
"""Characters of the longest line of a paragraph that was wrapped at a width."""

_LINE = re.compile(r"[^\n]+")
_END = re.compile(
    r"[.!?\u2026]+[\"')\]\u2019\u201d\u00bb]*(?=\s)|[\u3002\uff01\uff1f\uff61\u061f\u06d4\u0964\u0965]+[\u300d\u300f\uff09\u201d\u2019\"')]*"
)
"""The end of a sentence. Western marks need a space behind them; the full stops of Chinese, Japanese, Arabic, Urdu and
Indic scripts do not."""
_LAST_WORD = re.compile(r"(?:^|[\s(\[\"'])([^\s(\[\"']*)$")
_ABBREVIATIONS = frozenset(
    """al approx art bzw ca cf ch col corp dept dr ed eds eq etc fig figs gen gov inc jr lt ltd mr mrs ms mt nr op p pp
    prof rev sec sen sgt sr st usw v vgl vol vs z""".split()
)
"""Words that a full stop shortens; it does not end a sentence there, unless a new one plainly begins."""
_NUMBERED = frozenset("no nos art ch eq fig figs nr p pp sec vol".split())
"""Those that a number follows."""
_ITEM = re.compile(r"\s*(?:[-*+\u2022\u2023\u25e6\u2013|>#]|\(?\w{1,3}[.)]\s|\d{1,4}[-/:.]\d)")
"""The beginning of a list item, a table's row, a quotation, a heading, a time."""
_CODE_END = re.compile(r"[;{}()=\\|>\[]\s*$|\S\s{2,}\S|\t\S")
"""A line of code or of a table."""


def sentences(text: str) -> list[Span]:
    """Return the sentences of a text, without the white space between them.

    A line that was not wrapped (of a log, of code, a list, a table) is a sentence of its own.
    """
    spans: list[Span] = []
    for start, end in _paragraphs(text):
        first = start
        for match in _END.finditer(text, start, end):
            if _ends(text, first, match, end):
                spans.append((first, match.end()))
                first = match.end()
                while first < end and text[first].isspace():
                    first += 1
        if first < end:
            spans.append((first, end))
    return spans


def unwrapped(text: str) -> str:
    """Return text of the same length, with blanks for the line ends at which its paragraphs were wrapped."""
    lines = [match.span() for match in _LINE.finditer(text)]
    pieces, done = [], 0
    for (_, end), (start, _) in _wraps(text, lines):
        pieces += [text[done:end], " " * (start - end)]
        done = start
    return "".join(pieces) + text[done:]


def _paragraphs(text: str) -> list[Span]:
    """Return spans without white space around them: each lines that were wrapped, or one line."""
    lines = [match.span() for match in _LINE.finditer(text)]
    wraps = {start for _, (start, _) in _wraps(text, lines)}
    spans: list[list[int]] = []
    for start, end in lines:
        if not text[start:end].strip():
            continue
        if spans and start in wraps:
            spans[-1][1] = end
        else:
            spans.append([start, end])
    found = []
    for start, end in spans:
        value = text[start:end]
        found.append((start + len(value) - len(value.lstrip()), start + len(value.rstrip())))
    return found


def _wraps(text: str, lines: list[Span]) -> list[tuple[Span, Span]]:
    """Return the pairs of lines between which a paragraph was wrapped."""
    blocks: list[list[Span]] = []
    for line in lines:
        near = blocks and text.count("\n", blocks[-1][-1][1], line[0]) == 1 and text[slice(*line)].strip()
        if near:
            blocks[-1].append(line)
        else:
            blocks.append([line])
    found = []
    for block in blocks:
        width = max(len(text[start:end].rstrip()) for start, end in block)
        rows = [text[start:end] for start, end in block]
        if width < MIN_WIDTH or _is_table(rows):
            continue
        found += [
            (one, other) for one, other in pairwise(block) if _wrapped(text[slice(*one)], text[slice(*other)], width)
        ]
    return found


def _wrapped(line: str, following: str, width: int) -> bool:
    """Return whether a line was broken only because its paragraph is ``width`` wide."""
    words = following.split(None, 1)
    first = line.split(None, 1)
    if not words or not first or _ITEM.match(following) or _CODE_END.search(line.strip()):
        return False
    if len(line.rstrip()) + 1 + len(words[0]) <= width:  # the next word had room
        return False
    indented, behind = (len(each) - len(each.lstrip()) for each in (line, following))
    return behind <= indented or bool(_ITEM.match(line))


def _is_table(rows: list[str]) -> bool:
    """Return whether lines are rows of a table or a log: as many separators in each, or the same first word."""
    if len(rows) < 2:
        return False
    for separator in ",;\t|":
        counts = {row.count(separator) for row in rows}
        if len(counts) == 1 and counts.pop() >= 2:
            return True
    firsts = [re.sub(r"\d+", "0", (row.split(None, 1) or [""])[0]) for row in rows]
    return len(rows) > 2 and max(map(firsts.count, firsts)) > len(rows) / 2


def _ends(text: str, start: int, match: re.Match[str], end: int) -> bool:
    """Return whether a sentence that began at ``start`` ends with this mark."""
    marks = match[0].rstrip("\"')]\u2019\u201d\u00bb")
    behind = text[match.end() : end].lstrip()
    if marks[0] not in ".\u2026" or not behind:
        return True
    if behind[0].islower():
        return False
    if marks != ".":
        return True
    before = _LAST_WORD.search(text, start, match.start())
    word = before[1] if before else ""
    if len(word) == 1 and word.isalpha() and word.isupper():  # J. S. Bach
        return False
    if "." in word and len(word.replace(".", "")) <= 3 and not behind[0].isupper():  # e.g. 5
        return False
    low = word.casefold()
    if low in _NUMBERED and behind[0].isdigit():
        return False
    return low not in _ABBREVIATIONS or (low in {"etc", "inc", "ltd", "corp", "al"} and behind[0].isupper())
