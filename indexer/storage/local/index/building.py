"""Build the index of a plan, let one grow, and measure how much of the truth it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import StoreError
from indexer.storage import planner
from indexer.storage.local.index import measuring
from indexer.storage.local.index.devices import check_device, fall_back
from indexer.storage.local.index.faiss_index import FaissIndex
from indexer.storage.local.index.measuring import Measured
from indexer.storage.local.index.refined import Effort, RefinedIndex
from indexer.storage.vectors import widened

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.storage.local.pinned import PinnedIndex
    from indexer.storage.manifest import Manifest
    from indexer.storage.planner import IndexPlan, Shape

BLOCK = 8_192
SAMPLE = 65_536
"""Vectors, at least, that cells are fitted to where there are so many; more for many cells."""
DEAD = 0.25
"""Share of removed vectors up to which an index grows rather than being built anew."""


def planned(manifest: Manifest, rows: int, churn: float) -> IndexPlan:
    """Return the plan for a collection of so many passages with vectors."""
    return planner.plan(
        rows,
        manifest.dim,
        recall=manifest.index_recall,
        churn=churn,
        factory=manifest.index_plan,
        dtype=manifest.vector_dtype,
    )


@dataclass(frozen=True)
class Builder:
    """Makes and measures indexes of vectors that lie in shards."""

    fetch: Callable[[np.ndarray], np.ndarray]
    """Gives raw vectors (n, d) of ids (n,)."""
    device: str

    def built(self, plan: IndexPlan, ids: np.ndarray, dim: int) -> FaissIndex:
        """Return the index of a plan over these passages (n,) int64, ascending."""
        index = FaissIndex(dim, plan.factory)
        if not len(ids):
            return index
        if self._on_gpu():
            try:
                self._fill_on_gpu(index, ids)
                return index
            except StoreError as error:
                fall_back(self.device, error)
                index = FaissIndex(dim, plan.factory)
        index.train(self._sample(ids, index.shape), *self._ranges(ids, index.shape))
        self._add(index, ids)
        return index

    def _on_gpu(self) -> bool:
        check_device(self.device)
        if self.device == "cpu":
            return False
        from indexer.storage.local.index import faiss_gpu

        return faiss_gpu.available()

    def _fill_on_gpu(self, index: FaissIndex, ids: np.ndarray) -> None:
        from indexer.storage.local.index import faiss_gpu

        if index.shape.links is not None and index.shape.rotation is None:
            faiss_gpu.build_graph(index, ids, widened(self.fetch(ids)))
            return
        if index.shape.cells is not None:
            faiss_gpu.train_cells(index, self._sample(ids, index.shape))
        else:
            index.train(self._sample(ids, index.shape), *self._ranges(ids, index.shape))
        self._add(index, ids)

    def _add(self, index: FaissIndex, ids: np.ndarray) -> None:
        for start in range(0, len(ids), BLOCK):
            part = ids[start : start + BLOCK]
            index.add(part, self.fetch(part))

    def _sample(self, ids: np.ndarray, shape: Shape) -> np.ndarray:
        wanted = 1 if shape.scans and shape.whole else max(SAMPLE, 2 * shape.least_rows())
        return self.fetch(np.sort(np.random.default_rng(0).choice(ids, min(len(ids), wanted), replace=False)))

    def _ranges(self, ids: np.ndarray, shape: Shape) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        """Return the least and the greatest value of each dimension over all vectors, where codes are made of them."""
        if shape.codes != "SQ8" or shape.cells is not None or shape.rotation is not None:
            return None, None
        parts = (self.fetch(ids[start : start + BLOCK]) for start in range(0, len(ids), BLOCK))
        ends = [(part.min(axis=0), part.max(axis=0)) for part in parts]
        least, most = (np.array(each) for each in zip(*ends, strict=True))
        return least.min(axis=0).astype(np.float32), most.max(axis=0).astype(np.float32)

    def grown(self, file: PinnedIndex, dim: int, oldest: int, added: np.ndarray, removed: np.ndarray
              ) -> FaissIndex | None:  # fmt: skip
        """Return the saved index with what has changed; None where it has to be built anew.

        What is scanned is quick to build, and its value ranges hold for all its vectors only if it is built of them.
        """
        saved = file.load(dim, oldest, mapped=False)
        if saved is None or saved.shape.scans:
            return None
        saved.remove(removed)
        if saved.dead > DEAD * (len(saved) + saved.dead + len(added)) or len(added) > len(saved):
            return None
        self._add(saved, added)
        return saved

    def measured(self, index: FaissIndex, ids: np.ndarray, asked: float) -> Measured:
        """Choose the effort for a recall by some passages, and measure the recall by others."""
        if len(ids) < 2:
            return Measured(Effort(), None, 0)
        refined = RefinedIndex(index, self.fetch)
        chosen, judged = self._drawn(ids, 0)
        judge = measuring.truth(ids, self.fetch, judged)
        chooser = judge if index.shape.scans else measuring.truth(ids, self.fetch, chosen)
        return measuring.measure(refined, chooser, judge, asked)

    def recall(self, index: FaissIndex, ids: np.ndarray, effort: Effort, seed: int) -> tuple[float | None, int]:
        """Return (recall@10, passages it was measured by); None where there is nothing to be found."""
        if len(ids) < 2:
            return None, 0
        judged = self._drawn(ids, seed)[1]
        known = measuring.truth(ids, self.fetch, judged)
        return measuring.recall(RefinedIndex(index, self.fetch, effort), known), len(judged)

    def _drawn(self, ids: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return two lots of passages: different ones where there are enough, else twice the same."""
        count = min(2 * measuring.SAMPLED, len(ids))
        drawn = np.random.default_rng(seed).choice(ids, count, replace=False)
        half = measuring.SAMPLED if count == 2 * measuring.SAMPLED else 0
        return np.sort(drawn[: half or measuring.SAMPLED]), np.sort(drawn[half : half + measuring.SAMPLED])
