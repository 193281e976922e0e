"""Fuse what several arms (dense, lexical, sparse) found for one query into one ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

RRF_CONSTANT = 60
"""k of reciprocal rank fusion as published (Cormack, Clarke and Büttcher, SIGIR 2009)."""


def convex(scores: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> dict[str, np.ndarray]:
    """What each arm contributes to a convex combination: Σ_arm of these is the fused score.

    scores: arm → (n,) of the same n passages, scaled to be comparable; an arm without a weight counts for nothing.
    Returns arm → (n,) float32, weight of the arm / Σ weights × its score. (Bruch, Gai and Ingber, "An Analysis of
    Fusion Functions for Hybrid Retrieval", TOIS 2023, eq. 1: better than rank fusion, and hardly sensitive to how the
    scores are scaled.) Weights that are all 0 count as equal.
    """
    share = {arm: float(weights.get(arm, 0.0)) for arm in scores}
    total = sum(share.values())
    if total <= 0:
        share, total = dict.fromkeys(scores, 1.0), float(len(scores))
    return {arm: (share[arm] / total * values).astype(np.float32) for arm, values in scores.items()}


def reciprocal_rank(
    arms: Sequence[np.ndarray], k: int, weights: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reciprocal rank fusion: score(p) = Σ_arm weight / (60 + rank of p in the arm), ranks from 1.

    arms: each (n_i,) int64 ids, best first, -1 ignored. Returns the k best (ids int64, scores float32); equal
    scores are ordered by id, so that the result does not depend on the order of the arms.
    """
    scores: dict[int, float] = {}
    for arm, weight in zip(arms, weights or [1.0] * len(arms), strict=True):
        for rank, id in enumerate((int(i) for i in arm if i >= 0), 1):
            scores[id] = scores.get(id, 0.0) + weight / (RRF_CONSTANT + rank)
    best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]
    return np.array([id for id, _ in best], np.int64), np.array([score for _, score in best], np.float32)


def best(ids: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """(n,), (n,) → positions of the k best, best first; equal scores in the order of ids."""
    return np.lexsort((ids, -scores))[:k]
