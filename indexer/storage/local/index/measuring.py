"""Recall of an index against exact search, and the least effort that gives the recall that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.storage.local.index.refined import Effort
from indexer.storage.vectors import widened

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.storage.local.index.refined import RefinedIndex

SAMPLED = 500
"""Passages whose neighbours are looked for; effort is chosen by so many, and recall measured by as many others."""
K = 10
BLOCK = 16_384
"""Vectors that are compared with all samples at a time."""
LEAST = {"efSearch": 64, "nprobe": 4}
"""Effort that is always made: a person's query lies further from the passages than they from each other, and is harder
to find the nearest of than a sampled passage."""
MOST = 1_024
"""Most candidates that are looked at while the effort is chosen."""
ALIKE = 1e-5
"""Scores that differ by less are the same: which of two equal vectors is found does not matter."""


@dataclass(frozen=True)
class Truth:
    """Sampled passages and what exact search finds of each, itself left out."""

    ids: np.ndarray
    """(q,) int64."""
    queries: np.ndarray
    """(q, d) float32: their vectors."""
    least: np.ndarray
    """(q,) float32: the score of the K-th nearest, or of the last there is."""
    most: int
    """How many nearest each has: K, or fewer in a small collection."""


@dataclass(frozen=True)
class Measured:
    """What was found of an index."""

    effort: Effort
    recall: float | None
    """None: it was not measured, as there is nothing to be found."""
    sampled: int


def truth(ids: np.ndarray, fetch: Callable[[np.ndarray], np.ndarray], sampled: np.ndarray) -> Truth:
    """Compare sampled passages with all, exactly.

    Args:
        ids: (n,) int64, ascending: all passages.
        fetch: Gives raw vectors (n, d) of ids.
        sampled: (q,) int64: some of the ids.
    """
    queries = widened(fetch(sampled))
    most = min(K, len(ids) - 1)
    kept = np.full((len(sampled), max(most, 1)), -np.inf, np.float32)
    for start in range(0, len(ids), BLOCK):
        part = ids[start : start + BLOCK]
        scores = queries @ widened(fetch(part)).T  # (q, b)
        mine = np.searchsorted(part, sampled)
        mine_here = (mine < len(part)) & (part[np.minimum(mine, len(part) - 1)] == sampled)
        scores[np.flatnonzero(mine_here), mine[mine_here]] = -np.inf
        both = np.concatenate([kept, scores], 1)
        kept = -np.partition(-both, kept.shape[1] - 1, axis=1)[:, : kept.shape[1]]
    return Truth(sampled, queries, kept.min(axis=1), most)


def recall(index: RefinedIndex, known: Truth) -> float:
    """Return the share of the K nearest that a search for K finds."""
    if not known.most or not len(known.ids):
        return 1.0
    found = index.search(known.queries, known.most + 1)
    others = np.where(found.ids == known.ids[:, None], -np.inf, found.scores)
    return _share(others, known)


def _share(scores: np.ndarray, known: Truth) -> float:
    right = (scores >= known.least[:, None] - ALIKE).sum(axis=1)
    return float(np.minimum(right, known.most).mean() / known.most)


def measure(index: RefinedIndex, chosen_by: Truth, measured_by: Truth, asked: float) -> Measured:
    """Choose the least effort for a recall, and measure it by other passages than those it was chosen by."""
    effort = choose(index, chosen_by, asked)
    while True:
        tried = index.trying(effort)
        found = recall(tried, measured_by)
        harder = _harder(tried)
        if found >= asked or harder is None:
            return Measured(effort, found, len(measured_by.ids))
        effort = harder


def _harder(index: RefinedIndex) -> Effort | None:
    """Return a quarter more effort; None where there is no more."""
    name = index.codes.shape.effort
    if name is None or not index.effort.search:
        return None
    limit = index.codes.shape.cells or max(len(index), 1)
    now = index.effort.search[name]
    more = min(limit, max(now + 1, now * 5 // 4))
    if more > now:
        return Effort({name: more}, index.effort.refine * 5 / 4)
    if index.effort.candidates(K) < min(MOST, len(index)):
        return Effort({name: more}, index.effort.refine * 2)
    return None


def choose(index: RefinedIndex, known: Truth, asked: float, least: int | None = None) -> Effort:
    """Return the least effort whose recall is the one asked for, as far as these passages show it.

    Args:
        index: What is searched.
        known: The truth about some passages.
        asked: Share of the K nearest that is to be found.
        least: Effort below which none is tried; None: LEAST.
    """
    name = index.codes.shape.effort
    if name is None or not known.most:
        return Effort()
    limit = index.codes.shape.cells or len(index)
    low = high = min(limit, least or LEAST[name])
    scores = _scores(index, known, name, high)
    while _share(scores, known) < asked and high < limit:
        low, high = high, min(limit, high * 2)
        scores = _scores(index, known, name, high)
    while high - low > max(1, high // 8):  # the least that is good enough lies between the two
        between = (low + high) // 2
        tried = _scores(index, known, name, between)
        if _share(tried, known) >= asked:
            high, scores = between, tried
        else:
            low = between
    reached = _share(scores, known)
    depths = (n for n in range(K, scores.shape[1] + 1) if _share(scores[:, : n + 1], known) >= min(asked, reached))
    return Effort({name: high}, round(next(depths, scores.shape[1]) / K, 1))


def _scores(index: RefinedIndex, known: Truth, name: str, value: int) -> np.ndarray:
    """Return the exact scores (q, n) of the candidates at one effort, in the order of their rough scores.

    The passage itself has -inf.
    """
    n = min(len(index), max(value, 2 * K) if name == "efSearch" else MOST // 4, MOST)
    _, ids = index.codes.candidates(known.queries, n, {name: value})
    scores = np.full(ids.shape, -np.inf, np.float32)
    for row, (query, found) in enumerate(zip(known.queries, ids, strict=True)):
        there = (found >= 0) & (found != known.ids[row])
        scores[row, there] = index.raw(found[there]) @ query
    return scores
