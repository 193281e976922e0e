"""Part 3: FAISS on the GPU against the CPU: flat, cells and CAGRA over a million vectors."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from common import MissingError, Part, synchronise

if TYPE_CHECKING:
    import numpy as np

K = 10


def main() -> int:
    """Measure each index, the GPU's own first."""
    part = Part(__doc__ or "")
    part.wait()
    part.do("FAISS", 5, measure, part)
    return 0


def measure(part: Part) -> None:
    """Build every index over the same vectors, and ask it the same queries."""
    part.optional("FAISS", "faiss", "faiss-gpu-cuvs or faiss-cuda")
    import faiss

    library: Any = faiss
    gpu = hasattr(library, "StandardGpuResources") and library.get_num_gpus() > 0
    rows, dim, count = (5_000, 32, 50) if part.small else (1_000_000, 576, 1_000)
    vectors, queries = made(part, rows, dim, count)
    truth = exact(part, vectors, queries)
    part.row("vectors", rows, f"of {dim}", note="" if gpu else "this FAISS has no GPU: the CPU's rows only")
    cells = max(4, int(4 * rows**0.5))
    same = (vectors, queries, truth)
    few = (vectors, queries[: max(10, count // 10)], truth)
    if gpu:
        resources = library.StandardGpuResources()
        part.do("flat, GPU", 5, lambda: ask(part, "flat, GPU", library.GpuIndexFlatIP(resources, dim), *same))
        part.do("cells, GPU", 8, lambda: ask(part, f"IVF{cells}, GPU", cells_of(library, dim, cells, resources), *same))
        part.do("CAGRA, GPU", 12, lambda: ask(part, "CAGRA, GPU", cagra(library, dim, resources), *same))
    part.do("flat, CPU", 6, lambda: ask(part, "flat, CPU", library.IndexFlatIP(dim), *few))
    part.do("cells, CPU", 20, lambda: ask(part, f"IVF{cells}, CPU", cells_of(library, dim, cells, None), *same))


def cells_of(library: Any, dim: int, cells: int, resources: Any) -> Any:
    """Return an index that looks into 32 of its cells; ``resources``: of the GPU, None: on the CPU."""
    metric = library.METRIC_INNER_PRODUCT
    if resources is None:
        index = library.IndexIVFFlat(library.IndexFlatIP(dim), dim, cells, metric)
    else:
        index = library.GpuIndexIVFFlat(resources, dim, cells, metric)
    index.nprobe = 32
    return index


def cagra(library: Any, dim: int, resources: Any) -> Any:
    """Return CAGRA's graph.

    Raises:
        MissingError: This FAISS has none.
    """
    if not hasattr(library, "GpuIndexCagra"):
        raise MissingError("this FAISS was built without cuVS (wheel: faiss-gpu-cuvs)")
    config = library.GpuIndexCagraConfig()
    config.graph_degree, config.intermediate_graph_degree = 32, 64
    return library.GpuIndexCagra(resources, dim, library.METRIC_INNER_PRODUCT, config)


def made(part: Part, rows: int, dim: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors that crowd as those of texts do, (rows, dim), and queries near some of them."""
    import torch

    torch.manual_seed(0)
    centres = torch.randn(1000, dim, device=part.device)
    which = torch.randint(1000, (rows,), device=part.device)
    vectors = torch.nn.functional.normalize(centres[which] + 0.7 * torch.randn(rows, dim, device=part.device))
    near = vectors[torch.randint(rows, (count,), device=part.device)]
    queries = torch.nn.functional.normalize(near + 0.03 * torch.randn(count, dim, device=part.device))
    return vectors.float().cpu().numpy(), queries.float().cpu().numpy()


def exact(part: Part, vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the ids of each query's nearest, (q, K), by torch."""
    import torch

    with torch.inference_mode():
        scores = torch.from_numpy(queries).to(part.device) @ torch.from_numpy(vectors).to(part.device).T
        return scores.topk(K, 1).indices.cpu().numpy()


def ask(part: Part, name: str, index: Any, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray) -> None:
    """Write how long an index takes to build and to answer, one query at a time and all at once, and how well."""
    began = time.perf_counter()
    index.train(vectors)
    if index.ntotal == 0:  # CAGRA's graph is built by train
        index.add(vectors)
    synchronise(part.device)
    built = time.perf_counter() - began
    index.search(queries[:8], K)
    began = time.perf_counter()
    _, found = index.search(queries, K)
    rate = len(queries) / (time.perf_counter() - began)
    hits = sum(len(set(ours) & set(theirs)) for ours, theirs in zip(found, truth, strict=False))
    recall = hits / (K * len(queries))
    single = []
    for query in queries[:50]:
        began = time.perf_counter()
        index.search(query[None], K)
        single.append(time.perf_counter() - began)
    part.row(
        name, rate, "queries/s", recall=round(recall, 4), build_seconds=round(built, 2),
        one_query_ms=round(1000 * sorted(single)[len(single) // 2], 3),
        note=f"recall@10 {recall:.3f}, built in {built:.1f} s, alone {1000 * sorted(single)[len(single) // 2]:.2f} ms",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
