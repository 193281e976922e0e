"""Dev sets choose the checkpoint, by the weighted mean of their scores (times 100)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from indexer.errors import DataError
from semsearch.evaluation.metrics import cosine, spearman
from semsearch.training.data import rows as training_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from semsearch.training.data.rows import Row
    from semsearch.training.recipe import Dev

TIE = 1e-6
"""Cosines that differ by no more are equal."""


class Encode(Protocol):
    """Texts → (n, d) float32, not of unit length."""

    def __call__(self, texts: Sequence[str], *, query: bool = False) -> np.ndarray:
        """Return one vector a text; ``query``: whether the texts are queries."""


@dataclass(frozen=True)
class DevSet:
    """A dev set with its texts: scored pairs of sentences, or rows."""

    dev: Dev
    name: str
    pairs: tuple[list[str], list[str], np.ndarray] | None = None
    """First sentences, second sentences, people's scores."""
    rows: tuple[Row, ...] = ()

    @property
    def texts(self) -> list[str]:
        """All texts; equal ones as often as they occur."""
        if self.pairs is not None:
            return self.pairs[0] + self.pairs[1]
        return [text for row in self.rows for text in (row.anchor, row.positive, *row.negatives)]

    def score(self, encode: Encode) -> float:
        """Return the set's score times 100, as ``Dev.kind`` says."""
        if self.pairs is not None:
            first, second, gold = self.pairs
            vectors = encode(first + second)
            return 100 * (spearman(cosine(vectors[: len(first)], vectors[len(first) :]), gold) or 0.0)
        anchors = _unit(encode([row.anchor for row in self.rows], query=True))
        positives = _unit(encode([row.positive for row in self.rows]))
        near = (anchors * positives).sum(1)
        if self.dev.kind == "triplets":
            negatives = _unit(encode([row.negatives[0] for row in self.rows]))
            return 100 * float((near > (anchors * negatives).sum(1)).mean())
        scores = anchors @ positives.T  # (n, n)
        before = (scores > near[:, None] + TIE).sum(1)
        tied = (np.abs(scores - near[:, None]) <= TIE).sum(1) - 1
        ranks = 1 + before + tied / 2  # else vectors that are all alike would be the best there can be
        return 100 * float((1 / ranks).mean())


def load(devs: Sequence[Dev], folder: Path, own: Mapping[str, Sequence[Row]] | None = None) -> list[DevSet]:
    """Read the dev sets.

    Args:
        devs: The recipe's.
        folder: The data folder.
        own: Rows that are in no file, by their path.

    Raises:
        DataError: A file is missing or not what the recipe says, or has too few rows.
    """
    result = []
    for dev in devs:
        name = Path(dev.path).name.split(".")[0]
        if dev.kind == "sts":
            result.append(DevSet(dev, name, pairs=training_rows.scored_pairs(dev, folder)))
            continue
        rows = training_rows.dev_rows(dev, folder, own)
        if len(rows) < 2:
            raise DataError(f"dev set {dev.path}: {len(rows)} rows; it needs two or more")
        result.append(DevSet(dev, name, rows=tuple(rows)))
    return result


def evaluate(sets: Sequence[DevSet], encode: Encode) -> tuple[float, dict[str, float]]:
    """Return the weighted mean over the sets, and each set's score."""
    scores: dict[str, float] = {}
    for chosen in sets:
        name = chosen.name if chosen.name not in scores else f"{chosen.name} {len(scores) + 1}"
        scores[name] = chosen.score(encode)
    weights = np.array([chosen.dev.weight for chosen in sets])
    return float(np.dot(list(scores.values()), weights) / weights.sum()), scores


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return the rows at length 1."""
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return unit
