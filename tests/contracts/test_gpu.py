"""A flat index on the GPU answers as the one on the CPU does."""

import numpy as np
import pytest

from indexer.errors import PrecisionError
from indexer.storage.local.faiss_index import FaissIndex
from tests.contracts.test_vector_index import DIM, ids, unit


def gpus() -> int:
    import faiss

    return faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0


@pytest.mark.skipif(gpus() > 0, reason="there is one")
def test_no_gpu_is_said_so():
    with pytest.raises(PrecisionError, match="--index-device cpu"):
        FaissIndex(DIM, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(gpus() == 0, reason="needs a GPU and FAISS's build for it")
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_like_the_cpu(dtype, tmp_path):
    numbers, vectors = ids(3000), unit(3000)
    vectors[100:200] = vectors[100]
    ours, theirs = FaissIndex(DIM, dtype=dtype, device="cuda"), FaissIndex(DIM, dtype=dtype)
    for index in (ours, theirs):
        index.add(numbers, vectors)
    for k in (1, 10, 150, 3000):
        for allowed in (None, numbers[::3]):
            a, b = ours.search(vectors[90:110], k, allowed), theirs.search(vectors[90:110], k, allowed)
            np.testing.assert_array_equal(a.ids, b.ids)
            np.testing.assert_array_equal(a.scores, b.scores)
    ours.save(tmp_path / "i")
    again = FaissIndex.load(tmp_path / "i", DIM, "flat")
    np.testing.assert_array_equal(again.search(vectors[:9], 9).ids, theirs.search(vectors[:9], 9).ids)
