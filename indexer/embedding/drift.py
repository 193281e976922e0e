"""How far two ways of encoding the same texts lie apart.

Measured are the cosine of each text's two vectors, and whether its nearest neighbours among the others stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.embedding.spec import EncoderSpec

NEIGHBOURS = 10


@dataclass(frozen=True)
class Way:
    """An encoder and how it is run: what is compared."""

    spec: EncoderSpec
    alone: bool = False
    """Every text in a batch of its own, in place of batches of 64."""


@dataclass(frozen=True)
class Drift:
    """The distance between two ways."""

    texts: int
    cosine_mean: float | None
    """None where the two have vectors of different sizes."""
    cosine_min: float | None
    worst: str | None
    """The text with the lowest cosine."""
    overlap: float
    """Mean share of a text's 10 nearest neighbours that both ways agree on."""
    score_shift: float
    """Largest change of the cosine between any two texts."""


def drift(first: Way, others: Sequence[Way], texts: Sequence[str], device: str | None = None) -> list[Drift]:
    """Compare each of ``others`` with ``first`` on the distinct ``texts``, one encoder in memory at a time.

    Raises:
        UsageError: There are fewer than three different texts.
    """
    texts = list(dict.fromkeys(texts))
    if len(texts) < 3:
        raise UsageError(f"{len(texts)} different texts were given; neighbours need three or more")
    base = _vectors(first, texts, device)
    return [compare(base, _vectors(other, texts, device), texts) for other in others]


def compare(a: np.ndarray, b: np.ndarray, texts: Sequence[str]) -> Drift:
    """Return the drift between unit vectors a (n, d) and b (n, e) of the same n texts."""
    k = min(NEIGHBOURS, len(texts) - 1)
    first, second = (np.clip(v.astype(np.float64) @ v.T.astype(np.float64), -1, 1) for v in (a, b))  # (n, n)
    shift = float(np.abs(first - second).max())
    for similarities in (first, second):
        np.fill_diagonal(similarities, -np.inf)
    ours, theirs = (np.argsort(-similarities, axis=1, kind="stable")[:, :k] for similarities in (first, second))
    overlap = float(np.mean([len(set(x) & set(y)) / k for x, y in zip(ours.tolist(), theirs.tolist(), strict=True)]))
    if a.shape != b.shape:
        return Drift(len(texts), None, None, None, overlap, shift)
    cosine = (a.astype(np.float64) * b).sum(1)
    worst = int(cosine.argmin())
    return Drift(len(texts), float(cosine.mean()), float(cosine[worst]), texts[worst], overlap, shift)


def _vectors(way: Way, texts: Sequence[str], device: str | None) -> np.ndarray:
    from indexer.embedding import open_encoder, resolve

    encoder = open_encoder(resolve(way.spec), device=device)
    if way.alone:
        return np.concatenate([encoder.encode([text]) for text in texts])
    return np.concatenate([encoder.encode(texts[i : i + 64]) for i in range(0, len(texts), 64)])
