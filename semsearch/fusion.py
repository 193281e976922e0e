"""Fuse rankings of the same passages from different arms (dense, lexical)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RRF_CONSTANT = 60
"""k of reciprocal rank fusion as published (Cormack, Clarke and Büttcher, SIGIR 2009)."""


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
