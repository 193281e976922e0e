"""Which index is planned, and what is said of one that cannot be."""

import pytest

from indexer.errors import UsageError
from indexer.storage.planner import COPY_BYTES, SCAN_BYTES, Shape, plan

GB = 10**9


def factory(rows, dim=576, memory=8 * GB, **more):
    return plan(rows, dim, memory, cores=2, **more).factory


class TestPlan:
    def test_by_size(self):
        assert factory(0) == "SQfp16"
        assert factory(COPY_BYTES // 1152) == "SQfp16"
        assert factory(COPY_BYTES // 1152 + 1) == "SQ8"
        assert factory(SCAN_BYTES // 576) == "SQ8"
        assert factory(SCAN_BYTES // 576 + 1) == "HNSW32,SQ8"
        assert factory(100_000, 4096) == "HNSW32,SQ8"

    def test_small_ones_are_kept_as_the_vectors_are(self):
        assert factory(1000, dtype="fp32") == "Flat"

    def test_by_memory(self):
        assert factory(1_000_000, memory=2 * GB) == "HNSW32,SQ8"
        assert factory(1_000_000, memory=GB * 7 // 10) == "IVF4096,SQ8"
        assert factory(1_000_000, memory=GB // 2) == "RR576,IVF4096,RaBitQfs4"
        assert factory(1_000_000, memory=GB // 100) == "RR576,IVF4096,RaBitQfs"
        for memory in (2 * GB, GB * 7 // 10, GB // 2):
            assert plan(1_000_000, 576, memory).bytes <= memory

    def test_a_graph_is_not_for_what_changes_much(self):
        assert factory(1_000_000, churn=0.5) == "IVF4096,SQ8"

    def test_short_codes_are_always_of_turned_vectors(self):
        for dim in (32, 576, 4096):
            found = plan(10_000_000, dim, memory=GB).shape
            assert not found.short or found.rotation == dim

    def test_cells_stay_the_same_while_a_collection_grows_a_little(self):
        names = [factory(rows, churn=0.5) for rows in range(500_000, 2_000_000, 50_000)]
        assert len(set(names)) <= 3
        for rows in (500_000, 10_000_000):
            assert plan(rows, 576, GB // 3).shape.least_rows() <= rows

    def test_named(self):
        assert factory(5_000, factory="HNSW16,SQ8") == "HNSW16,SQ8"
        few = plan(100, 576, GB, factory="IVF64,SQ8")
        assert few.factory == "SQfp16"
        assert "IVF64,SQ8 is for 2,496 passages and more" in few.why
        assert factory(2_496, factory="IVF64,SQ8") == "IVF64,SQ8"

    def test_a_start_of_the_search_until_it_is_measured(self):
        assert plan(10, 8).search == {}
        assert plan(1_000_000, 576, 2 * GB).search.keys() == {"efSearch"}
        assert plan(1_000_000, 576, GB // 2).search.keys() == {"nprobe"}
        harder = plan(1_000_000, 576, 2 * GB, recall=0.99).search["efSearch"]
        assert harder > plan(1_000_000, 576, 2 * GB).search["efSearch"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "'' is not known; it is auto or a factory of FAISS: Flat"),
        ("HNSW", "'HNSW' is not known"),
        ("hnsw32,SQ8", "'hnsw32,SQ8' is not known"),
        ("IVF64,PQ32", "is not known"),
        ("RR32,IVF64,RaBitQfs4", "turns 32 dimensions; the vectors have 24: RR24"),
        ("IVF64,RaBitQfs4", "say RR24,IVF64,RaBitQfs4"),
        ("HNSW1,SQ8", "from 2 to 256"),
        ("IVF0,SQ8", "from 1 to"),
    ],
)
def test_a_bad_factory_is_refused_with_what_is_allowed(name, said):
    with pytest.raises(UsageError) as caught:
        Shape.of(name, 24)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["SQ8", "SQfp16", "Flat", "HNSW32,SQ8", "IVF8,SQ8", "RR64,IVF8,RaBitQfs4"])
def test_the_predicted_bytes_are_those_of_the_file(name, tmp_path):
    import numpy as np

    from indexer.storage.local.index.faiss_index import FaissIndex

    rows, dim = 4_000, 64
    index = FaissIndex(dim, name)
    vectors = np.random.default_rng(0).standard_normal((rows, dim)).astype(np.float32)
    index.add(np.arange(rows), vectors)
    index.save(tmp_path / "i")
    assert (tmp_path / "i").stat().st_size == pytest.approx(Shape.of(name).bytes(rows, dim), rel=0.1)
