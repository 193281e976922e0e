"""Say what a cosine means in one collection: how similar its passages are when they were paired at random.

Vectors of language models fill a narrow cone (Ethayarajh, EMNLP 2019): random texts may have cosine 0.8 under one
encoder and 0.05 under another. Only against the collection's own random pairs does a cosine say anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.embedding.spec import DEFAULT_ADAPTER

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from indexer.embedding.spec import EncoderSpec

SAMPLE = 1_000
"""Passages to draw; every pair of them is compared, half a million, in some hundredths of a second."""
QUANTILES = 10_001
"""Values by which the pairs' distribution is kept where there are more pairs."""

STRONG = 5.0
"""Standard deviations above the mean of random pairs at which a passage about counts as an answer."""
FEW = 100
"""Passages from which on a collection speaks for itself. With fewer the encoder's own figures count too, the more the
fewer there are: three notes of one day are alike by chance, and any two of them say nothing about the encoder."""


@dataclass(frozen=True)
class Prior:
    """How similar unrelated texts are under an encoder."""

    mean: float | None = None
    """None: not known; then that of the collection counts alone."""
    spread: float = 0.1
    """Standard deviation; 0.1 is a little below that of the shipped encoders."""

    @classmethod
    def of(cls, spec: EncoderSpec) -> Prior:
        """Return the figures of a shipped adapter, else the general ones."""
        return SHIPPED.get(spec.adapter or "", cls())


SHIPPED = {DEFAULT_ADAPTER: Prior(0.165, 0.109), "fast": Prior(0.160, 0.119)}
"""Measured once on 96 passages from six unlike development collections (scripts/research/LOG.md); with fewer numbers
than the model gives they differ by less than a hundredth."""


@dataclass(frozen=True)
class Calibration:
    """The similarities of one generation of a collection."""

    mean: float
    spread: float
    """Standard deviation."""
    pairs: NDArray[np.float32]
    """(n,) ascending: cosines of random pairs, or quantiles of them; empty below two passages."""

    @classmethod
    def of(cls, vectors: NDArray[np.float32], prior: Prior | None = None) -> Calibration:
        """Return the calibration of passages drawn from a collection, all of them where they are few.

        Args:
            vectors: (n, d), unit length.
            prior: The encoder's own figures; they count for nothing from FEW passages on.
        """
        found = cls.from_pairs((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)])
        share = max(0.0, 1 - len(vectors) / FEW)
        if prior is None or not share:
            return found
        mean = found.mean if prior.mean is None else (1 - share) * found.mean + share * prior.mean
        if len(vectors) < 2:
            mean = prior.mean or 0.0
            share = 1.0
        variance = (1 - share) * found.spread**2 + share * prior.spread**2
        return cls(mean, float(np.sqrt(variance)), found.pairs)

    @classmethod
    def from_pairs(cls, cosines: NDArray[np.float32]) -> Calibration:
        """Return the calibration of random pairs' cosines (n,), in any order."""
        if not len(cosines):
            return cls(0.0, 1.0, np.zeros(0, np.float32))
        pairs = np.sort(cosines.astype(np.float32))
        mean, spread = float(pairs.mean(dtype=np.float64)), float(pairs.std(dtype=np.float64))
        if len(pairs) > QUANTILES:
            pairs = pairs[np.linspace(0, len(pairs) - 1, QUANTILES).round().astype(np.int64)]
        return cls(mean, spread, pairs)

    def scale(self, cosines: ArrayLike) -> NDArray[np.float32]:
        """Return the same shape: 0 for the mean of random pairs, 1 for STRONG standard deviations above it."""
        spread = max(self.spread, 1e-3)  # texts that are all alike
        scaled: NDArray[np.float32] = (np.asarray(cosines, np.float32) - np.float32(self.mean)) / np.float32(
            STRONG * spread
        )
        return scaled

    def percentile(self, cosine: ArrayLike) -> NDArray[np.float64]:
        """Return the share of random pairs that are less similar, 0 to 1, in the same shape.

        Below two passages nothing can be compared, and it is 1: nothing is called usual without evidence.
        """
        if not len(self.pairs):
            return np.ones(np.shape(cosine))
        found = np.searchsorted(self.pairs, np.asarray(cosine, np.float32), side="left")
        share: NDArray[np.float64] = np.asarray(found / len(self.pairs), np.float64)
        return share
