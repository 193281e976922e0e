"""Where texts hold the things that a query looks for."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from indexer.words.analysis import analyse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indexer.words.analysis import Token
    from indexer.words.query import Query

Span = tuple[int, int]
"""Offsets (start, end) of characters in a text as it is written."""


def find(query: Query, texts: Sequence[str]) -> list[dict[Span, str]]:
    """Return for each text where it holds what the query looks for: span → ``Wanted.text``.

    A thing that is another form of an earlier one adds nothing. Spans may lie in one another, where the query looks for
    words in a row and for each alone.
    """
    wanted = query.distinct
    found: list[dict[Span, str]] = []
    for text in texts:
        tokens = analyse(text)
        words = [token for token in tokens if not token.part]
        places: dict[str, list[int]] = defaultdict(list)
        for number, token in enumerate(words):
            places[token.term].append(number)
        parts: dict[str, list[Token]] = defaultdict(list)
        for token in tokens:
            if token.part:
                parts[token.term].append(token)
        held: dict[Span, str] = {}
        for each in wanted:
            for phrase in each.alternatives:
                for span in _phrase(phrase, each.prefix, words, places):
                    held.setdefault(span, each.text)
            if each.anywhere:
                for token in _parts(each.alternatives[0][0], each.prefix, parts):
                    held.setdefault((token.start, token.end), each.text)
        found.append(held)
    return found


def occurrences(phrase: Sequence[str], terms: Sequence[str], prefix: bool = False) -> int:
    """Return how often a list of terms holds a phrase; with ``prefix`` its last term is only the beginning of one."""
    size = len(phrase)
    head, tail = list(phrase[:-1]), phrase[-1]
    return sum(
        (terms[at + size - 1].startswith(tail) if prefix else terms[at + size - 1] == tail)
        and list(terms[at : at + size - 1]) == head
        for at in range(len(terms) - size + 1)
    )


def _phrase(
    phrase: Sequence[str], prefix: bool, words: Sequence[Token], places: dict[str, list[int]]
) -> Iterator[Span]:
    if len(phrase) == 1 and prefix:
        for token in words:
            if token.term.startswith(phrase[0]):
                yield token.start, token.start + token.first if token.first else token.end
        return
    size = len(phrase)
    for at in places.get(phrase[0], ()):
        if at + size > len(words):
            break
        last = words[at + size - 1]
        fits = last.term.startswith(phrase[-1]) if prefix else last.term == phrase[-1]
        if fits and all(words[at + n].term == phrase[n] for n in range(1, size - 1)):
            yield words[at].start, last.end


def _parts(term: str, prefix: bool, parts: dict[str, list[Token]]) -> Iterator[Token]:
    if not prefix:
        yield from parts.get(term, ())
        return
    for held, tokens in parts.items():
        if held.startswith(term):
            yield from tokens
