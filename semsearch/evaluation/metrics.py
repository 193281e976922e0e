"""Statistics: similarities, rank correlation, and the bootstrap over items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Score:
    """One task's figure with the items it is made of, so that two encoders can be compared item by item."""

    task: str
    value: float
    """Times 100."""
    items: np.ndarray
    """(n,) float64: similarity of each pair, 0 or 1 for a wrong or right class, or a metric of each query (0 to 1)."""
    gold: np.ndarray | None
    """(n,) float64 where the figure is Spearman's correlation of ``items`` with it; None where it is their mean."""
    labels: tuple[str, ...]
    """A text for people that names each item."""
    details: Mapping[str, Any]
    """JSON-ready: figures of the parts and whatever else belongs to the task."""

    def sampled(self, draws: np.ndarray) -> np.ndarray:
        """Return the figure, times 100, of each bootstrap sample: (r, n) → (r,)."""
        of_each = (
            weighted_mean(self.items, draws) if self.gold is None else weighted_spearman(self.items, self.gold, draws)
        )
        figures: np.ndarray = 100 * of_each
        return figures


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of ``a`` with that of ``b``: (n, d), (n, d) → (n,) float64.

    A zero vector has cosine 0 with everything, as in SentEval. Values are rounded to ten places, so that equal pairs
    are tied whatever the last bits of a sum say.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: np.ndarray = np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(a)), where=norms > 0)
    return found.round(10)


def spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return the rank correlation, ties given their mean rank; None where a side is constant: it is undefined."""
    return None if _constant(x) or _constant(y) else float(stats.spearmanr(x, y).statistic)


def pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return the linear correlation; None where a side is constant: it is undefined."""
    return None if _constant(x) or _constant(y) else float(stats.pearsonr(x, y).statistic)


def _constant(x: np.ndarray) -> bool:
    return len(x) < 2 or bool((x == x[0]).all())


def resamples(n: int, count: int, seed: int) -> np.ndarray:
    """Draw ``count`` bootstrap samples of n items; return (count, n) float64, how often each is in each."""
    random = np.random.default_rng(seed)
    return np.stack([np.bincount(random.integers(0, n, n), minlength=n) for _ in range(count)]).astype(np.float64)


def weighted_mean(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the mean of each sample: (n,), (r, n) → (r,)."""
    means: np.ndarray = draws @ values / draws.sum(axis=1)
    return means


def weighted_spearman(x: np.ndarray, y: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of each sample, 0 where it is undefined: (n,), (n,), (r, n) → (r,).

    Drawing an item c times gives c tied values; the mean rank of a value is what lies below it plus half its own
    count, so ranks follow from counts without sorting each sample.
    """
    rank_x, rank_y = _sample_ranks(x, draws), _sample_ranks(y, draws)
    n = draws.sum(axis=1, keepdims=True)
    rank_x -= (draws * rank_x).sum(axis=1, keepdims=True) / n
    rank_y -= (draws * rank_y).sum(axis=1, keepdims=True) / n
    covariance = (draws * rank_x * rank_y).sum(axis=1)
    scale = np.sqrt((draws * rank_x**2).sum(axis=1) * (draws * rank_y**2).sum(axis=1))
    found: np.ndarray = np.divide(covariance, scale, out=np.zeros(len(draws)), where=scale > 0)
    return found


def _sample_ranks(x: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return each item's mean rank within each sample: (n,), (r, n) → (r, n)."""
    values, place = np.unique(x, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(values)))
    counts = np.add.reduceat(draws[:, order], starts, axis=1)  # (r, distinct values)
    ranks: np.ndarray = np.cumsum(counts, axis=1) - counts / 2
    return ranks[:, place]
