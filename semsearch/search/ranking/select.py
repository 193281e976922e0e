"""Choose the passages that become hits: as many as were asked for, sure enough, near-duplicates folded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from semsearch.search.ranking.selection import select

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from indexer.types import StoredPassage
    from semsearch.search.asking.request import HitOptions
    from semsearch.search.ranking.rerank import Reranker
    from semsearch.search.ranking.retrieve import Ranked
    from semsearch.search.ranking.selection import Folded
    from semsearch.search.view import View

MAX_DEPTH = 10_000
"""Places of a ranking that are looked at before there are fewer hits than were asked for, or so many as were."""


@dataclass(frozen=True)
class Found:
    """A passage that will be a hit."""

    row: StoredPassage
    duplicates: Sequence[Folded]
    score: float
    raw: Mapping[str, float]
    """Retriever → its own score; NaN where it has none."""
    parts: Mapping[str, float]
    """Retriever → its part of the fused score."""
    reranked: float | None = None
    """The cross-encoder's score."""

    @property
    def final(self) -> float:
        """The score that orders the hits."""
        return self.score if self.reranked is None else self.reranked

    @property
    def shown(self) -> float:
        """The score that a person reads: a weighted sum of retrievers is held between 0 and 1."""
        return min(1.0, max(0.0, self.score)) if self.parts and self.reranked is None else self.final


def first_depth(options: HitOptions, hits: int, passages: int) -> int:
    """Return how deep to look into a ranking at first: some of it will be folded or dropped."""
    drops = options.collapse or options.per_document or options.min_confidence
    return max(1, min(2 * hits + 10 if drops else hits, passages))


def choose(
    view: View, options: HitOptions, hits: int, ranked: Ranked, deeper: Callable[[int], Ranked], text: str = ""
) -> list[Found]:
    """Return at most ``hits`` passages, looking deeper into the ranking as long as it takes to have enough.

    Args:
        view: The collection.
        options: What was asked for.
        hits: Passages wanted.
        ranked: The ranking down to ``first_depth``.
        deeper: Gives the ranking down to a depth.
        text: The query; passages that differ in a word which it names are no duplicates.
    """
    passages = view.counts.passages
    depth, limit = first_depth(options, hits, passages), min(MAX_DEPTH, passages)
    while True:
        at = {id_: i for i, id_ in enumerate(ranked.ids.tolist())}
        rows = view.snapshot.get(ranked.ids)
        sure = _sure(view, options, ranked, rows, at)
        kept = select(sure, view.vectors, hits, options.collapse, options.per_document, text)
        enough = len(kept) + len(rows) - len(sure) >= hits
        if enough or len(ranked.ids) < depth or depth >= limit:
            break
        depth = min(4 * depth, limit)
        ranked = deeper(depth)
    return [
        Found(
            each.row,
            each.duplicates,
            score=float(ranked.scores[i]),
            raw={name: float(scores[i]) for name, scores in ranked.raw.items()},
            parts={name: float(scores[i]) for name, scores in ranked.parts.items()},
        )
        for each in kept
        for i in [at[each.row.id]]
    ]


def _sure(
    view: View, options: HitOptions, ranked: Ranked, rows: list[StoredPassage], at: Mapping[int, int]
) -> list[StoredPassage]:
    """Return the rows that are similar enough to the query; a passage without a vector is not known to be."""
    if options.min_confidence is None:
        return rows
    cosines = ranked.raw["dense"]
    percentiles = np.where(np.isnan(cosines), -1.0, view.calibration.percentile(cosines))
    return [row for row in rows if percentiles[at[row.id]] >= options.min_confidence]


def rerank(query: str, found: list[Found], reranker: Reranker | None) -> list[Found]:
    """Return the passages in the order of a cross-encoder's scores; as they are without one."""
    if reranker is None or not found:
        return found
    scores = reranker.score(query, [each.row.passage.text for each in found]).tolist()
    judged = [replace(each, reranked=score) for each, score in zip(found, scores, strict=True)]
    return sorted(judged, key=lambda each: -each.final)
