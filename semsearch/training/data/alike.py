"""Put rows that share words into one batch: texts that resemble each other teach more than texts that do not.

n rows, w numbers of a row's signature.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from semsearch.training.data.clean import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from semsearch.training.data.rows import Row

WIDTH = 64
"""w."""


def signatures(rows: Sequence[Row]) -> np.ndarray:
    """Return a short vector of each row's words, rare words first: (n, w) float32 of unit length.

    A word's direction follows from its letters alone. A row's vector is the sum over its anchor's and its positive's
    words, weighted by the logarithm of how rare they are.
    """
    found = [words(f"{row.anchor} {row.positive}") for row in rows]
    frequency = Counter(word for each in found for word in each)
    direction = {
        word: np.random.default_rng(zlib.crc32(word.encode())).standard_normal(WIDTH, np.float32) for word in frequency
    }
    result = np.zeros((len(rows), WIDTH), np.float32)
    for i, each in enumerate(found):
        for word in sorted(each):  # in one order, or sums would differ in their last bit
            result[i] += np.log(len(rows) / frequency[word]) * direction[word]
    lengths: np.ndarray = np.linalg.norm(result, axis=1, keepdims=True).clip(1e-9)
    unit: np.ndarray = result / lengths
    return unit


def batches(vectors: np.ndarray, batch: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield batches of row numbers without end, each of ``batch`` rows that are near each other.

    Every time round the rows are split anew: in two by their place between two rows drawn at random, and so on. At
    most ``batch`` - 1 rows are left over each time round, others every time.

    Args:
        vectors: (n, w), n at least ``batch``.
        batch: Rows of a batch.
        random: Draws all that is drawn.
    """
    while True:
        rows = random.permutation(len(vectors))
        parts = list(_split(rows[: len(rows) // batch * batch], vectors, batch, random))
        for i in random.permutation(len(parts)):
            yield parts[i]


def _split(rows: np.ndarray, vectors: np.ndarray, batch: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the rows, a multiple of ``batch``, in batches of near ones."""
    if len(rows) == batch:
        yield rows
        return
    a, b = vectors[random.choice(rows, 2, replace=False)]
    order = rows[np.argsort(vectors[rows] @ (a - b), kind="stable")]
    middle = len(rows) // batch // 2 * batch
    yield from _split(order[:middle], vectors, batch, random)
    yield from _split(order[middle:], vectors, batch, random)
