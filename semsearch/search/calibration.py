"""What a cosine means in one collection: how similar its passages are when they were paired at random.

Vectors of language models fill a narrow cone (Ethayarajh, EMNLP 2019): random texts may have cosine 0.8 under one
encoder and 0.05 under another. Only against the collection's own random pairs does a cosine say anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from indexer.storage.local.store import Store

SAMPLE = 1_000
"""Passages drawn; every pair of them is compared, half a million, in some hundredths of a second."""
QUANTILES = 10_001
"""Values by which the pairs' distribution is kept where there are more pairs."""

STRONG = 5.0
"""Standard deviations above the mean of random pairs at which a passage about counts as an answer."""


@dataclass(frozen=True)
class Calibration:
    """Of one generation of a collection. The draw is seeded: the same collection gives the same figures."""

    mean: float
    spread: float
    """Standard deviation."""
    pairs: np.ndarray
    """(n,) float32, ascending: cosines of random pairs, or quantiles of them; empty below two passages."""

    @classmethod
    def of(cls, store: Store) -> Calibration:
        ids = store.allowed(None)
        if len(ids) > SAMPLE:
            ids = np.sort(np.random.default_rng(0).choice(ids, SAMPLE, replace=False))
        vectors = store.vectors(ids) if len(ids) else np.zeros((0, 1), np.float32)
        return cls.from_pairs((vectors @ vectors.T)[np.triu_indices(len(ids), 1)])

    @classmethod
    def from_pairs(cls, cosines: np.ndarray) -> Calibration:
        """cosines: (n,) of random pairs, in any order."""
        if not len(cosines):
            return cls(0.0, 1.0, np.zeros(0, np.float32))
        pairs = np.sort(cosines.astype(np.float32))
        mean, spread = float(pairs.mean(dtype=np.float64)), float(pairs.std(dtype=np.float64))
        if len(pairs) > QUANTILES:
            pairs = pairs[np.linspace(0, len(pairs) - 1, QUANTILES).round().astype(np.int64)]
        return cls(mean, spread, pairs)

    def scale(self, cosines: ArrayLike) -> np.ndarray:
        """The same shape, float32: 0 for the mean of random pairs, 1 for ``STRONG`` standard deviations above it."""
        spread = max(self.spread, 1e-3)  # texts that are all alike
        return (np.asarray(cosines, np.float32) - np.float32(self.mean)) / np.float32(STRONG * spread)

    def unusual(self, cosine: ArrayLike) -> np.ndarray:
        """The share of random pairs that are less similar, 0 to 1, the same shape. Below two passages nothing can be
        compared, and it is 1: nothing is called usual without evidence."""
        found = np.searchsorted(self.pairs, np.asarray(cosine, np.float32), side="left")
        return found / len(self.pairs) if len(self.pairs) else np.ones(np.shape(cosine))
