"""FAISS on a GPU: flat and inverted indexes searched there, graphs built by CAGRA; files stay of the CPU's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.storage.local.index.faiss_index import FaissIndex, library, translated
from indexer.storage.vectors import SLACK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BLOCK = 65_536
"""Vectors copied to the GPU at a time."""
MAX_K = 2_048
"""The most results of a GPU index; more are searched for on the CPU."""
LISTED = ("Flat", "SQfp16", "SQ8")
"""Codes of inverted files that FAISS searches on a GPU."""


def available() -> bool:
    """Return whether this FAISS is built for GPUs and there is one."""
    faiss = library()
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


class GpuIndex(FaissIndex):
    """An index with a copy on the GPU, for searches without a filter and of few results."""

    _gpu: Any
    _resources: Any
    _failed: Callable[[Exception], None]

    @classmethod
    def of(
        cls, index: FaissIndex, fetch: Callable[[np.ndarray], np.ndarray], failed: Callable[[Exception], None]
    ) -> FaissIndex:
        """Return it with its copy; the index itself where a GPU cannot search its kind.

        Args:
            index: Of the CPU.
            fetch: Gives raw vectors (n, d) of ids: those of an index that is scanned lie on the GPU as float32.
            failed: Told when the GPU fails in a search; where it returns, the CPU goes on.
        """
        if not index.shape.scans and not (index.shape.cells is not None and index.shape.codes in LISTED):
            return index
        on_gpu = cls.__new__(cls)
        on_gpu.__dict__.update(index.__dict__)
        on_gpu._failed = failed
        with translated("to copy an index to the GPU"):
            on_gpu._resources = cls._resources_of()
            on_gpu._gpu = on_gpu._flat(fetch) if index.shape.scans else on_gpu._cells()
        return on_gpu

    @staticmethod
    def _resources_of() -> Any:
        return library().StandardGpuResources()

    def _flat(self, fetch: Callable[[np.ndarray], np.ndarray]) -> Any:
        faiss = library()
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = False  # it would round the queries too
        gpu = faiss.GpuIndexFlatIP(self._resources, self.dim, config)
        for start in range(0, len(self._by_position), BLOCK):
            ids = self._by_position[start : start + BLOCK]
            rows = np.zeros((len(ids), self.dim), np.float32)
            rows[ids >= 0] = fetch(ids[ids >= 0])
            gpu.add(rows)
        return gpu

    def _cells(self) -> Any:
        faiss = library()
        return faiss.index_cpu_to_gpu(self._resources, 0, self._outer)

    def bound(self, query: np.ndarray) -> float:
        """Return how far a rough score may lie from the exact one."""
        return max(super().bound(query), 10 * float(SLACK))

    def candidates(
        self, queries: np.ndarray, n: int, effort: Mapping[str, float], allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return rough scores (q, n) and ids (q, n); FAISS has no selectors on the GPU, so filters go to the CPU."""
        faiss = library()
        whole = allowed is None and not self.dead
        if self._gpu is None or not whole or n > MAX_K or (not self.shape.scans and not effort):
            return super().candidates(queries, n, effort, allowed)
        try:
            with translated("to search on the GPU"):
                if self.shape.scans:
                    scores, at = self._gpu.search(queries, n)
                else:
                    cells = faiss.SearchParametersIVF(nprobe=int(min(effort["nprobe"], self._inner.nlist)))
                    scores, at = self._gpu.search(queries, n, params=cells)
        except Exception as error:
            self._failed(error)
            self._gpu = None
            return super().candidates(queries, n, effort, allowed)
        return scores, np.where(at < 0, -1, self._by_position[at])


def train_cells(index: FaissIndex, vectors: np.ndarray) -> None:
    """Fit the cells of an inverted file on the GPU; the index stays one of the CPU."""
    faiss = library()
    with translated("to fit cells on the GPU"):
        ivf = faiss.extract_index_ivf(index.outer)
        resources = faiss.StandardGpuResources()
        ivf.clustering_index = faiss.index_cpu_to_gpu(resources, 0, faiss.IndexFlatIP(index.dim))
        try:
            index.train(vectors)
        finally:
            ivf.clustering_index = None


def build_graph(index: FaissIndex, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Fill an empty graph with all its vectors, the links found by CAGRA (Ootomo et al., ICDE 2024).

    Args:
        index: An empty one with links.
        ids: (n,) int64.
        vectors: (n, d) float32; all of them have to fit on the GPU.

    Raises:
        StoreError: FAISS is built without cuVS, or the GPU fails.
    """
    faiss = library()
    with translated("to build a graph on the GPU"):
        if not hasattr(faiss, "GpuIndexCagra"):
            raise RuntimeError("this FAISS is built without cuVS")
        config = faiss.GpuIndexCagraConfig()
        config.graph_degree = 2 * (index.shape.links or 32)
        cagra = faiss.GpuIndexCagra(faiss.StandardGpuResources(), index.dim, config, faiss.METRIC_INNER_PRODUCT)
        cagra.train(vectors)
        linked = faiss.IndexHNSWCagra()
        linked.base_level_only = False
        cagra.copyTo(linked)
        index.take_graph(linked, ids, vectors)
