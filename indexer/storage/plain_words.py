"""A stand-in for indexer.words, with the part of its interface that Bm25 uses."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WANTED = re.compile(r'"([^"]*)"|(\w+)(\*(?!\S))?')
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    """a an and are as at be by can could did do does for from had has have how i if in into is it its me my no not of
    on or our so than that the their them then there these they this to was we were what when where which who why will
    with would you your""".split()
)


@dataclass(frozen=True)
class Token:
    """One word of a text."""

    start: int
    end: int
    term: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """One thing that a query looks for."""

    text: str
    alternatives: tuple[tuple[str, ...], ...]
    prefix: bool = False


@dataclass(frozen=True)
class Query:
    """What a query looks for, in the order of its text."""

    wanted: tuple[Wanted, ...]


def analyse(text: str) -> list[Token]:
    """Return the words of a text."""
    return [Token(match.start(), match.end(), match[0]) for match in _WORD.finditer(text.lower())]


def query(text: str) -> Query:
    """Return what a person's text looks for: words, quoted phrases and ``begin*``."""
    every, telling = [], []
    for phrase, word, star in _WANTED.findall(text.lower()):
        words = tuple([word] if word else _WORD.findall(phrase))
        if words:
            every.append(Wanted(" ".join(words), (words,), bool(star) and len(word) > 1))
            if phrase or every[-1].prefix or word not in _COMMON:
                telling.append(every[-1])
    return Query(tuple(telling or every))
