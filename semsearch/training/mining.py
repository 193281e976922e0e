"""Hard negatives for pairs: passages that an encoder finds near a query and that are not its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from indexer.embedding.encoder import Encoder
from semsearch.training.clean import key
from semsearch.training.rows import Row

BLOCK = 512
"""Queries compared at once with all passages."""


def mine(
    rows: Sequence[Row], encoder: Encoder, *, negatives: int = 1, ceiling: float = 0.95, skip: int = 0
) -> list[Row]:
    """The rows with up to ``negatives`` hard negatives each, the nearest positives of other rows first.

    A passage nearer than ``ceiling`` times the cosine of the row's own positive is taken for another answer and left
    out (Moreira et al. 2024, "NV-Retriever", its positive-aware threshold), and so are passages equal to the row's
    texts and other positives of an equal query. ``skip``: leave out that many of the nearest that remain.
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


def _nearest(near: np.ndarray, passages: Sequence[str], right: set[str], most: float, count: int) -> Iterator[str]:
    near = np.where(near < most, near, -np.inf)
    top = np.argpartition(-near, min(4 * count, len(near) - 1))[: 4 * count]
    for i in top[np.argsort(-near[top], kind="stable")]:
        if count and np.isfinite(near[i]) and key(passages[i]) not in right:
            count -= 1
            yield passages[i]
