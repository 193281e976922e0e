"""The projection of a trained adapter, by which its vectors can be made shorter.

The principal axes of its own vectors; of too few texts to know them, that of the adapter it began from.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from indexer.embedding.weights import projection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from semsearch.training.data.rows import Rows

TEXTS = 1000
"""Texts whose vectors the axes are of, about."""


def write(
    adapter: Path,
    begun: Path | None,
    encode: Callable[[list[str]], np.ndarray],
    dim: int,
    sources: Sequence[Rows],
    seed: int,
) -> None:
    """Put the projection into the adapter's folder.

    Args:
        adapter: The folder of a finished adapter.
        begun: The folder of the adapter that it began from.
        encode: n texts → (n, d) float32, with the finished adapter.
        dim: d.
        sources: The rows that it was trained on; each source gives about as many texts.
        seed: Of their draw.
    """
    texts = _some_texts(sources, seed)
    if begun is not None and (begun / projection.FILE).is_file() and len(texts) < dim:
        shutil.copyfile(begun / projection.FILE, adapter / projection.FILE)
        return
    vectors = encode(texts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    projection.write(projection.principal_axes(vectors), adapter)


def _some_texts(sources: Sequence[Rows], seed: int) -> list[str]:
    """Return about TEXTS different texts: the two of drawn rows, as many rows of each source."""
    draw = np.random.default_rng([seed, 73])
    texts: dict[str, None] = {}
    for source in sources:
        rows = draw.permutation(len(source.rows))[: -(-TEXTS // (2 * len(sources)))]
        texts |= dict.fromkeys(text for i in rows for text in (source.rows[i].anchor, source.rows[i].positive))
    return list(texts)
