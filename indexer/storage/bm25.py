"""A search by words in memory: BM25 over titles and texts, exact and without a database."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from indexer import words
from indexer.storage.vectors import best, none, stack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from indexer.types import Neighbours

TITLE = 2.0
"""Occurrences in the text that one in the title counts as."""
K1, B = 1.2, 0.75
MIN_RARITY = 1e-6


def rarity(passages: int, holders: int) -> float:
    """Return the weight in BM25 of a word that so many of the passages hold, as SQLite's FTS5 has it."""
    return max(MIN_RARITY, math.log(max(0.5, passages - holders + 0.5) / (holders + 0.5)))


@dataclass(frozen=True)
class _Column:
    """The terms of a title or a text."""

    weight: float
    words: list[str]
    parts: list[str]

    @classmethod
    def of(cls, weight: float, text: str) -> _Column:
        tokens = words.analyse(text)
        return cls(weight, [t.term for t in tokens if not t.part], [t.term for t in tokens if t.part])


class Bm25:
    """The words of passages, held in memory. It stays as it was made; safe to use from many threads."""

    def __init__(self, passages: Iterable[tuple[int, str, str]]):
        """Take in (id, title, text) of each passage."""
        self._columns = {number: (_Column.of(TITLE, title), _Column.of(1.0, text)) for number, title, text in passages}
        self._lengths = {
            number: sum(len(column.words) + len(column.parts) for column in columns)
            for number, columns in self._columns.items()
        }
        self._length = sum(self._lengths.values()) / max(1, len(self._lengths)) or 1.0

    @cached_property
    def _holders(self) -> Mapping[str, dict[int, float]]:
        """Term → passage → occurrences as one of its words, weighted."""
        return self._counted(parts=False)

    @cached_property
    def _part_holders(self) -> Mapping[str, dict[int, float]]:
        """The same as a further term."""
        return self._counted(parts=True)

    def _counted(self, parts: bool) -> Mapping[str, dict[int, float]]:
        counted: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for number, columns in self._columns.items():
            for column in columns:
                for term, times in Counter(column.parts if parts else column.words).items():
                    counted[term][number] = counted[term].get(number, 0.0) + column.weight * times
        return dict(counted)

    def search(self, queries: Sequence[str], k: int, allowed: Collection[int] | None = None) -> Neighbours:
        """Return the (q, k) best passages, of ``allowed`` only where it is given, with ``full``.

        As in FTS5, each alternative of a wanted thing has a weight of its own.
        """
        rows, full = [none(0, k)], []
        for text in queries:
            scores: dict[int, float] = {}
            whole = 0.0
            for wanted in words.query(text).wanted:
                holders: set[int] = set()
                for sequence in wanted.alternatives:
                    found = self._occurrences(sequence, wanted)
                    holders |= found.keys()
                    weight = rarity(len(self._columns), len(found))
                    for number, times in found.items():
                        room = K1 * (1 - B + B * self._lengths[number] / self._length)
                        scores[number] = scores.get(number, 0.0) + weight * times * (K1 + 1) / (times + room)
                whole += rarity(len(self._columns), len(holders))
            kept = [(n, score) for n, score in scores.items() if allowed is None or n in allowed]
            ids, values = np.array([n for n, _ in kept], np.int64), np.array([score for _, score in kept], np.float64)
            rows.append(best(ids[None], values[None], k))
            full.append(whole)
        return stack(rows, np.array(full, np.float32))

    def _occurrences(self, sequence: tuple[str, ...], wanted: words.Wanted) -> Mapping[int, float]:
        """Return how often each passage holds the terms in a row, occurrences in the title weighted."""
        if len(sequence) > 1:
            return self._in_a_row(sequence, wanted.prefix)
        found: dict[int, float] = {}
        for holders in (self._holders, self._part_holders) if wanted.anywhere else (self._holders,):
            terms = [t for t in holders if t.startswith(sequence[0])] if wanted.prefix else [sequence[0]]
            for term in terms:
                for number, times in holders.get(term, {}).items():
                    found[number] = found.get(number, 0.0) + times
        return found

    def _in_a_row(self, sequence: tuple[str, ...], prefix: bool) -> Mapping[int, float]:
        head, last = sequence[:-1], sequence[-1]
        found: dict[int, float] = {}
        for number in self._holders.get(head[0], {}):
            for column in self._columns[number]:
                for start in range(len(column.words) - len(head)):
                    end = start + len(head)
                    term = column.words[end]
                    if tuple(column.words[start:end]) == head and (term.startswith(last) if prefix else term == last):
                        found[number] = found.get(number, 0.0) + column.weight
        return found
