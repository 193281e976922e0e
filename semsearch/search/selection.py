"""Which of the ranked passages become hits: near-duplicates folded into the better one, few of one document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from indexer.types import StoredPassage

COSINE = 0.9
"""Vectors of near-duplicates are at least this near. Of passages of 60 words those with one word changed are at 0.97 or
more, with or without a trained adapter, and those with a line added at 0.93 or more (scripts/research/LOG.md)."""
OVERLAP = 0.85
"""Near-duplicates share at least this part of the words that either has (Jaccard)."""


@dataclass
class Kept:
    """A passage that becomes a hit, and the worse ones that say the same."""

    row: StoredPassage
    said: _Said
    duplicates: list[StoredPassage] = field(default_factory=list)


@dataclass(frozen=True)
class _Said:
    """A passage's text as it is compared."""

    id: int
    text: list[str]
    """Its words with their punctuation, without regard to case: what makes two texts equal."""
    words: frozenset[str]

    @classmethod
    def of(cls, row: StoredPassage) -> _Said:
        text = row.passage.text
        return cls(row.id, text.casefold().split(), frozenset(re.findall(r"\w+", text.lower())))


def select(
    rows: Sequence[StoredPassage],
    vectors: Callable[[Sequence[int]], np.ndarray],
    k: int,
    collapse: bool = True,
    per_document: int | None = None,
) -> list[Kept]:
    """The k best of ``rows``, best first; fewer where the rows do not suffice.

    ``vectors``: ids (n,) → stored unit vectors (n, d); asked for only where texts share their words.
    """
    kept: list[Kept] = []
    of_document: Counter[tuple[str, str | None]] = Counter()
    for row in rows:
        said = _Said.of(row)
        same = next((each for each in kept if _say_the_same(each.said, said, vectors)), None) if collapse else None
        if same is not None:
            same.duplicates.append(row)
        elif len(kept) < k and (per_document is None or of_document[row.path, row.record] < per_document):
            of_document[row.path, row.record] += 1
            kept.append(Kept(row, said))
    return kept


def _say_the_same(a: _Said, b: _Said, vectors: Callable[[Sequence[int]], np.ndarray]) -> bool:
    """Whether the texts are equal but for white space and case, or nearly so in words and in meaning, with the same
    numbers: two rows of a price list are no duplicates."""
    if a.text == b.text:
        return True
    if len(a.words & b.words) < OVERLAP * len(a.words | b.words):
        return False
    if any(re.search(r"\d", word) for word in a.words ^ b.words):
        return False
    first, second = vectors([a.id, b.id])
    return bool(first @ second >= COSINE)
