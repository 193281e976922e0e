"""A search by words in memory: BM25 over titles and texts, exact and without a database."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from indexer.storage import plain_words as words
from indexer.storage.vectors import best, none, stack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from indexer.storage.plain_words import Token, Wanted
    from indexer.types import Neighbours

TITLE = 2.0
"""Occurrences in the text that one in the title counts as."""
K1, B = 1.2, 0.75
LEAST_RARITY = 1e-6


def rarity(passages: int, holders: int) -> float:
    """Return the weight in BM25 of a word that so many of the passages hold, as SQLite's FTS5 has it."""
    return max(LEAST_RARITY, math.log(max(0.5, passages - holders + 0.5) / (holders + 0.5)))


class Bm25:
    """The words of passages, held in memory. It stays as it was made; safe to use from many threads."""

    def __init__(self, passages: Iterable[tuple[int, str, str]]):
        """Take (id, title, text) of each passage in."""
        self._columns: dict[int, tuple[list[Token], list[Token]]] = {}
        self._holders: dict[str, dict[int, float]] = {}  # term → passage → occurrences, weighted
        for number, title, text in passages:
            columns = words.analyse(title), words.analyse(text)
            self._columns[number] = columns
            for weight, tokens in zip((TITLE, 1.0), columns, strict=True):
                for term, times in Counter(term for token in tokens for term in _forms(token)).items():
                    held = self._holders.setdefault(term, {})
                    held[number] = held.get(number, 0.0) + weight * times
        self._lengths = {number: sum(map(len, columns)) for number, columns in self._columns.items()}
        self._length = sum(self._lengths.values()) / max(1, len(self._lengths)) or 1.0

    def search(self, queries: Sequence[str], k: int, allowed: Collection[int] | None = None) -> Neighbours:
        """Return the (q, k) best passages, of ``allowed`` only where it is given, with ``full``."""
        rows, full = [none(0, k)], []
        for text in queries:
            scores: dict[int, float] = {}
            most = 0.0
            for wanted in words.query(text).wanted:
                holders = self._occurrences(wanted)
                weight = rarity(len(self._columns), len(holders))
                most += weight
                for number, times in holders.items():
                    room = K1 * (1 - B + B * self._lengths[number] / self._length)
                    scores[number] = scores.get(number, 0.0) + weight * times * (K1 + 1) / (times + room)
            found = [(n, score) for n, score in scores.items() if allowed is None or n in allowed]
            ids, values = np.array([n for n, _ in found], np.int64), np.array([score for _, score in found], np.float64)
            rows.append(best(ids[None], values[None], k))
            full.append(most)
        return stack(rows, np.array(full, np.float32))

    def _occurrences(self, wanted: Wanted) -> dict[int, float]:
        """Return how often each passage holds it, the title's occurrences weighted."""
        found: dict[int, float] = {}
        for sequence in wanted.alternatives:
            if len(sequence) == 1 and not wanted.prefix:
                held = self._holders.get(sequence[0], {})
            else:
                held = self._sequences(sequence, wanted.prefix)
            for number, times in held.items():
                found[number] = found.get(number, 0.0) + times
        return found

    def _sequences(self, sequence: tuple[str, ...], prefix: bool) -> dict[int, float]:
        """Return how often each passage holds the terms in a row; the last may only be the beginning of one."""
        found = {}
        for number, columns in self._columns.items():
            times = [_count(sequence, prefix, tokens) for tokens in columns]
            if any(times):
                found[number] = TITLE * times[0] + times[1]
        return found


def _forms(token: Token) -> tuple[str, ...]:
    return (token.term, *token.parts)


def _count(sequence: tuple[str, ...], prefix: bool, tokens: list[Token]) -> int:
    last = len(sequence) - 1

    def fits(at: int, wanted: str, token: Token) -> bool:
        if prefix and at == last:
            return any(term.startswith(wanted) for term in _forms(token))
        return wanted in _forms(token)

    return sum(
        all(fits(at, wanted, tokens[start + at]) for at, wanted in enumerate(sequence))
        for start in range(len(tokens) - last)
    )
