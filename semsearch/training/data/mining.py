"""Hard negatives for pairs: passages that an encoder finds near a query and that are not its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semsearch.training.data.clean import key
from semsearch.training.data.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indexer.embedding.encoder import Encoder

BLOCK = 512
"""Queries compared at once with all passages."""


def mine(
    rows: Sequence[Row], encoder: Encoder, *, negatives: int = 1, ceiling: float = 0.95, skip: int = 0
) -> list[Row]:
    """Return the rows with hard negatives, the nearest positives of other rows first.

    Passages equal to a row's own texts, and other positives of an equal query, are never taken.

    Args:
        rows: Rows without hard negatives.
        encoder: Finds them.
        negatives: At most so many a row.
        ceiling: A passage nearer than this share of the cosine of the row's own positive is taken for another answer
            and left out (Moreira et al. 2024, "NV-Retriever", its positive-aware threshold).
        skip: Leave out that many of the nearest that remain.
    """
    passages = list(dict.fromkeys(row.positive for row in rows))
    place = {text: i for i, text in enumerate(passages)}
    vectors = encoder.encode(passages)
    queries = encoder.encode([row.anchor for row in rows], role="query")
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(key(row.anchor), set()).add(key(row.positive))
    result = []
    for start in range(0, len(rows), BLOCK):
        scores = queries[start : start + BLOCK] @ vectors.T  # (q, passages)
        for row, near in zip(rows[start : start + BLOCK], scores, strict=True):
            own = float(near[place[row.positive]])
            right = {*answers[key(row.anchor)], key(row.anchor)}
            found = list(_nearest(near, passages, right, ceiling * own, skip + negatives))[skip:]
            result.append(Row(row.anchor, row.positive, tuple(found)))
    return result


def _nearest(near: np.ndarray, passages: Sequence[str], right: set[str], limit: float, count: int) -> Iterator[str]:
    """Yield up to ``count`` passages nearer than the rest, none of them at ``limit`` or above or ``right``."""
    near = np.where(near < limit, near, -np.inf)
    top = np.argpartition(-near, min(4 * count, len(near) - 1))[: 4 * count]
    for i in top[np.argsort(-near[top], kind="stable")]:
        if count and np.isfinite(near[i]) and key(passages[i]) not in right:
            count -= 1
            yield passages[i]
