"""A map of a collection: a sample of its passages in two dimensions, and where other vectors lie among them.

The dimensions are the two principal components of the sampled vectors: a map that is made in a moment, is the same
every time, and has a place for a query too.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.storage.store import Snapshot
    from indexer.types import StoredPassage

SAMPLE = 2_000
"""Passages on a map: more would lie over each other."""
GROUPS = 8
"""Folders with a colour of their own; the smaller ones share one."""
OTHERS = "others"
_BATCH = 256


@dataclass(frozen=True)
class Landscape:
    """A sample of a collection's passages in two dimensions."""

    passages: tuple[StoredPassage, ...]
    points: np.ndarray
    """(n, 2) float32 within -1 to 1, the place of each."""
    groups: tuple[int, ...]
    """Number in ``folders`` of each passage's folder."""
    folders: tuple[str, ...]
    """The largest first; the last may be OTHERS."""
    share: float
    """Of the vectors' variance that the two dimensions show, 0 to 1."""
    version: str
    """The snapshot's."""
    mean: np.ndarray
    axes: np.ndarray
    """(d, 2): a vector less the mean times this is its point."""

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Return the points (m, 2) of vectors (m, d); they may lie outside of -1 to 1."""
        points: np.ndarray = (vectors - self.mean) @ self.axes
        return points


def draw(snapshot: Snapshot, n: int = SAMPLE, seed: int = 0) -> Landscape:
    """Return a map of at most n passages; the same one for the same snapshot and seed."""
    rows = _sampled(snapshot, n, seed)
    vectors = snapshot.vectors([row.id for row in rows])  # (n, d)
    mean = vectors.mean(axis=0) if rows else np.zeros(snapshot.manifest.dim, np.float32)
    axes, share = _components(vectors - mean)
    points = (vectors - mean) @ axes
    scale = float(np.abs(points).max(initial=0.0)) or 1.0
    names = _folders([row.path for row in rows])
    folders = [name for name, _ in Counter(names).most_common()]
    if len(folders) > GROUPS + 1:
        kept = set(folders[:GROUPS])
        names = [name if name in kept else OTHERS for name in names]
        folders = [*folders[:GROUPS], OTHERS]
    numbers = {name: number for number, name in enumerate(folders)}
    groups = tuple(numbers[name] for name in names)
    return Landscape(
        tuple(rows), (points / scale).astype(np.float32), groups, tuple(folders), share, snapshot.version, mean,
        axes / scale,
    )  # fmt: skip


def _sampled(snapshot: Snapshot, n: int, seed: int) -> list[StoredPassage]:
    """Return passages whose vectors were drawn: a store draws vectors alone, and the nearest to one has it."""
    drawn = snapshot.sample(n, seed)
    ids = [snapshot.dense(drawn[start : start + _BATCH], 1).ids[:, 0] for start in range(0, len(drawn), _BATCH)]
    found = np.unique(np.concatenate(ids)) if ids else np.empty(0, np.int64)
    return snapshot.get(found[found >= 0])


def _components(centred: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the two first principal axes (d, 2) of centred vectors, and their share of the variance."""
    d = centred.shape[1]
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    power = lengths.astype(np.float64) ** 2
    first = np.zeros((d, 2), np.float32)
    for column, axis in enumerate(axes[:2]):
        turned = axis * np.sign(axis[np.abs(axis).argmax()] or 1)  # a decomposition leaves the direction open
        first[:, column] = turned
    total = float(power.sum())
    return first, float(power[:2].sum()) / total if total else 0.0


def _folders(paths: Sequence[str]) -> list[str]:
    """Return the folder that tells each file from the others: the first below what all of them share."""
    parents = [str(PurePath(path).parent) for path in paths]
    try:
        shared = os.path.commonpath(parents) if parents else ""
    except ValueError:  # names of standard input and the like lie nowhere
        shared = ""
    below = [PurePath(parent).relative_to(shared).parts if shared else PurePath(parent).parts for parent in parents]
    return [parts[0] if parts else "." for parts in below]
