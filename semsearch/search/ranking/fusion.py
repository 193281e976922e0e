"""Fuse what several retrievers (dense, lexical, sparse) found for one query into one ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RRF_CONSTANT = 60
"""k of reciprocal rank fusion as published (Cormack, Clarke and Büttcher, SIGIR 2009)."""


def convex(
    scores: Mapping[str, np.ndarray],
    weights: Mapping[str, float],
    known: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Return each retriever's part of a convex combination; the sum of the parts is the fused score.

    Args:
        scores: Retriever → (n,) scores of the same n passages, scaled to be comparable.
        weights: Retriever → weight from 0 up; one without a weight counts for nothing. Weights that are all 0 count
            as equal.
        known: Retriever → (n,) bool, whether it can judge each passage. A passage is judged by those that know it
            alone, their weights put to a sum of 1. None: every retriever knows all.

    Returns:
        Retriever → (n,) float32: its weight / Σ of the weights × its score.

    Source:
        Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023, eq. 1: better than
        rank fusion, and hardly sensitive to how the scores are scaled.
    """
    share = {name: float(weights.get(name, 0.0)) for name in scores}
    if sum(share.values()) <= 0:
        share = dict.fromkeys(scores, 1.0)
    judged = {
        name: share[name] * (np.ones(len(values)) if known is None or name not in known else known[name])
        for name, values in scores.items()
    }
    total = np.sum(list(judged.values()), axis=0)
    total[total <= 0] = 1.0  # known to no retriever that counts: nothing to say of it
    return {name: (judged[name] / total * values).astype(np.float32) for name, values in scores.items()}


def reciprocal_rank(
    rankings: Sequence[np.ndarray], k: int, weights: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best passages by reciprocal rank fusion: score(p) = Σ weight / (60 + rank of p), ranks from 1.

    Args:
        rankings: Each retriever's (n_i,) int64 ids, best first; -1 is passed over.
        k: Passages to return, at most.
        weights: One for each ranking; None: all 1.

    Returns:
        (ids int64, scores float32). Equal scores are ordered by id, so that the order of the rankings does not
        matter.
    """
    scores: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, id_ in enumerate((int(i) for i in ranking if i >= 0), 1):
            scores[id_] = scores.get(id_, 0.0) + weight / (RRF_CONSTANT + rank)
    top = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]
    return np.array([id_ for id_, _ in top], np.int64), np.array([score for _, score in top], np.float32)


def best(ids: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Return the positions of the k best of (n,) scores, best first; equal scores in the order of ids."""
    return np.lexsort((ids, -scores))[:k]
