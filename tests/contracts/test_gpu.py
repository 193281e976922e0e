"""Indexes on a GPU answer as those of the CPU do; and what becomes of a search where there is no GPU, or it fails."""

import logging

import numpy as np
import pytest

from indexer.errors import PrecisionError, StoreError
from indexer.storage.local.index import devices, faiss_gpu
from indexer.storage.local.index.building import Builder
from indexer.storage.local.index.faiss_index import FaissIndex
from indexer.storage.local.index.refined import Effort, RefinedIndex
from indexer.storage.planner import IndexPlan
from tests.contracts.test_vector_index import DIM, HNSW, IVF, Kept, ids, unit

pytest.importorskip("faiss", reason="needs FAISS (scripts/gpu/check.py names the wheel)")
no_gpu = pytest.mark.skipif(faiss_gpu.available(), reason="there is one")


@no_gpu
def test_a_gpu_that_is_demanded_and_not_there_is_an_error():
    for demanding in (
        lambda: devices.on_device(FaissIndex(DIM), lambda _: unit(0), "cuda"),
        lambda: Builder(lambda _: unit(3), "cuda").built(IndexPlan("SQ8"), ids(3), DIM),
    ):
        with pytest.raises(PrecisionError, match="--index-device auto or cpu"):
            demanding()


@no_gpu
def test_one_that_is_not_demanded_is_done_without():
    index = FaissIndex(DIM)
    assert devices.on_device(index, lambda _: unit(0), "auto") is index


def test_an_unknown_device_is_refused():
    with pytest.raises(PrecisionError, match="it is auto, cpu or cuda"):
        devices.on_device(FaissIndex(DIM), lambda _: unit(0), "tpu")


class TestFailing:
    """A GPU that FAISS shows and that then fails."""

    @pytest.fixture(autouse=True)
    def shown(self, monkeypatch):
        def fails(*_):
            raise StoreError("FAISS failed: CUDA error 700")

        monkeypatch.setattr(faiss_gpu, "available", lambda: True)
        for name in ("train_cells", "build_graph"):
            monkeypatch.setattr(faiss_gpu, name, fails)
        monkeypatch.setattr(faiss_gpu.GpuIndex, "_flat", fails)
        monkeypatch.setattr(faiss_gpu.GpuIndex, "_cells", fails)
        monkeypatch.setattr(faiss_gpu.GpuIndex, "_resources_of", staticmethod(lambda: None))

    @pytest.mark.parametrize("factory", [HNSW, IVF])
    def test_the_cpu_builds(self, factory, caplog):
        numbers, vectors = ids(600), unit(600)

        def fetch(wanted):
            return vectors[np.searchsorted(numbers, wanted)]

        with caplog.at_level(logging.WARNING):
            index = Builder(fetch, "auto").built(IndexPlan(factory), numbers, DIM)
        assert "CUDA error 700" in caplog.text
        assert index.ids.tolist() == numbers.tolist()
        with pytest.raises(PrecisionError, match="CUDA error 700"):
            Builder(fetch, "cuda").built(IndexPlan(factory), numbers, DIM)

    @pytest.mark.parametrize("factory", ["SQfp16", IVF])
    def test_the_cpu_searches(self, factory, caplog):
        index = Kept(factory)
        index.add(ids(600), unit(600))
        with caplog.at_level(logging.WARNING):
            assert devices.on_device(index.codes, index.kept.fetch, "auto") is index.codes
        assert "CUDA error 700" in caplog.text
        with pytest.raises(PrecisionError, match="CUDA error 700"):
            devices.on_device(index.codes, index.kept.fetch, "cuda")

    def test_a_search_that_breaks_off_goes_on_on_the_cpu(self, caplog, monkeypatch):
        class Broken:
            def search(self, *_, **__):
                raise RuntimeError("CUDA error 2 out of memory")

        monkeypatch.setattr(faiss_gpu.GpuIndex, "_flat", lambda *_: Broken())
        index = Kept("SQ8")
        index.add(ids(600), unit(600))
        for device in ("auto", "cuda"):
            on_gpu = RefinedIndex(devices.on_device(index.codes, index.kept.fetch, device), index.kept.fetch)
            if device == "cuda":
                with pytest.raises(PrecisionError, match="out of memory"):
                    on_gpu.search(unit(3), 5)
                continue
            with caplog.at_level(logging.WARNING):
                for _ in range(2):
                    np.testing.assert_array_equal(on_gpu.search(unit(3), 5).ids, index.search(unit(3), 5).ids)
            assert caplog.text.count("out of memory") == 1


@pytest.mark.gpu
@pytest.mark.skipif(not faiss_gpu.available(), reason="needs a GPU and FAISS's build for it")
@pytest.mark.parametrize("factory", ["SQfp16", "Flat", "SQ8", IVF])
def test_like_the_cpu(factory):
    numbers, vectors = ids(3000), unit(3000)
    vectors[100:200] = vectors[100]
    effort = Effort({"nprobe": 8}) if factory == IVF else Effort()
    index = Kept(factory, effort)
    index.add(numbers, vectors)
    ours = RefinedIndex(devices.on_device(index.codes, index.kept.fetch, "cuda"), index.kept.fetch, effort)
    for k in (1, 10, 150, 3000):
        for allowed in (None, numbers[::3]):
            a, b = ours.search(vectors[90:110], k, allowed), index.search(vectors[90:110], k, allowed)
            np.testing.assert_array_equal(a.ids, b.ids)
            np.testing.assert_array_equal(a.scores, b.scores)


@pytest.mark.gpu
@pytest.mark.skipif(not faiss_gpu.available(), reason="needs a GPU and FAISS's build for it")
@pytest.mark.parametrize("factory", [HNSW, IVF])
def test_built_on_the_gpu(factory, tmp_path):
    numbers, vectors = ids(3000), unit(3000)
    builder = Builder(lambda wanted: vectors[np.searchsorted(numbers, wanted)], "cuda")
    index = builder.built(IndexPlan(factory), numbers, DIM)
    index.save(tmp_path / "i")
    again = FaissIndex.load(tmp_path / "i", DIM, factory)
    measured = builder.measured(again, numbers, 0.95)
    assert measured.recall is not None
    assert measured.recall >= 0.95
