"""A search by words in memory: BM25 over titles and texts, exact and without a database."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from indexer import words
from indexer.storage.vectors import best, none, stack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from indexer.types import Neighbours
    from indexer.words import Wanted

TITLE = 2.0
"""Occurrences in the text that one in the title counts as."""
K1, B = 1.2, 0.75
MIN_RARITY = 1e-6
_COLUMNS = ((TITLE, False), (1.0, False), (TITLE, True), (1.0, True))
"""(Weight, whether it holds further terms) of title, text, the title's further terms and the text's."""


def rarity(passages: int, holders: int) -> float:
    """Return the weight in BM25 of a word that so many of the passages hold, as SQLite's FTS5 has it."""
    return max(MIN_RARITY, math.log(max(0.5, passages - holders + 0.5) / (holders + 0.5)))


class Bm25:
    """The words of passages, held in memory. It stays as it was made; safe to use from many threads.

    Each alternative of a thing wanted has a rarity of its own, as a phrase of SQLite's FTS5 has.
    """

    def __init__(self, passages: Iterable[tuple[int, str, str]]):
        """Take (id, title, text) of each passage in."""
        self._columns: dict[int, tuple[list[str], ...]] = {}
        self._holders: dict[tuple[str, bool], dict[int, float]] = {}  # (term, further one?) → passage → occurrences
        for number, title, text in passages:
            heads, terms = words.analyse(title), words.analyse(text)
            self._columns[number] = tuple(
                [token.term for token in tokens if token.part == part]
                for part in (False, True)
                for tokens in (heads, terms)
            )
            for column, (weight, part) in zip(self._columns[number], _COLUMNS, strict=True):
                for term, times in Counter(column).items():
                    held = self._holders.setdefault((term, part), {})
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
                holders: set[int] = set()
                for phrase in wanted.alternatives:
                    held = self._occurrences(phrase, wanted)
                    holders |= held.keys()
                    weight = rarity(len(self._columns), len(held))
                    for number, times in held.items():
                        room = K1 * (1 - B + B * self._lengths[number] / self._length)
                        scores[number] = scores.get(number, 0.0) + weight * times * (K1 + 1) / (times + room)
                most += rarity(len(self._columns), len(holders))
            found = [(n, score) for n, score in scores.items() if allowed is None or n in allowed]
            ids, values = np.array([n for n, _ in found], np.int64), np.array([score for _, score in found], np.float64)
            rows.append(best(ids[None], values[None], k))
            full.append(most)
        return stack(rows, np.array(full, np.float32))

    def _occurrences(self, phrase: tuple[str, ...], wanted: Wanted) -> dict[int, float]:
        """Return how often each passage holds a phrase, the title's occurrences weighted."""
        parts = (False, True) if wanted.anywhere else (False,)
        found: dict[int, float] = {}
        if len(phrase) == 1 and not wanted.prefix:
            for part in parts:
                for number, times in self._holders.get((phrase[0], part), {}).items():
                    found[number] = found.get(number, 0.0) + times
            return found
        for number, columns in self._columns.items():
            times = sum(
                weight * words.occurrences(phrase, column, wanted.prefix)
                for column, (weight, part) in zip(columns, _COLUMNS, strict=True)
                if part in parts
            )
            if times:
                found[number] = times
        return found
