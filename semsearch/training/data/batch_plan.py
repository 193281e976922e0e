"""The plan of a run's batches: a function of the recipe and the data alone.

A run that was killed knows by its step number where it stood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import DataError
from semsearch.training.data import alike

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def plan(
    sizes: Sequence[int],
    weights: Sequence[float | None],
    batch: int,
    steps: int,
    seed: int,
    near: Mapping[int, np.ndarray] | None = None,
) -> list[tuple[int, np.ndarray]]:
    """Return the batches of a run: (source, (b,) int64 row numbers), ``steps`` of them.

    A source gets batches by its weight (its size where None), in an order drawn once, and goes through its rows in
    one random order after another; a source with fewer rows than ``batch`` gives smaller batches.

    Args:
        sizes: Rows of each source.
        weights: Share of the batches of each; None: its rows.
        batch: Rows of a batch.
        steps: Batches in all.
        seed: Of all draws.
        near: Source → the signatures of its rows, (n, w), where batches are of near rows.

    Raises:
        DataError: All weights are 0.
    """
    shares = np.array([size if weight is None else weight for size, weight in zip(sizes, weights, strict=True)], float)
    if shares.sum() <= 0:
        raise DataError("every source has weight 0; give at least one a weight")
    exact = shares / shares.sum() * steps
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: steps - counts.sum()]] += 1  # largest remainders
    random = np.random.default_rng([seed, 17])
    order = random.permutation(np.repeat(np.arange(len(sizes)), counts))
    queues = []
    for i, size in enumerate(sizes):
        draw = np.random.default_rng([seed, 18, i])
        rows = min(batch, size)
        queues.append(_forever(size, rows, draw) if not near or i not in near else alike.batches(near[i], rows, draw))
    return [(int(source), next(queues[source])) for source in order]


def _forever(size: int, batch: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield batches of row numbers without end, all rows in a new order each time round."""
    rest = np.empty(0, np.int64)
    while True:
        while len(rest) < batch:
            rest = np.concatenate([rest, random.permutation(size)])
        yield rest[:batch]
        rest = rest[batch:]
