"""Every vector index does what the exact one does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import CorruptError, StoreError, UsageError
from indexer.storage.local.index.faiss_index import FaissIndex
from indexer.storage.local.index.refined import Effort, RefinedIndex
from indexer.storage.vectors import ExactIndex, LayeredIndex, VectorIndex, nearest, rescore, widened

DIM = 24


class Raw:
    """Raw vectors, as shards hold them."""

    def __init__(self) -> None:
        self.known: dict[int, np.ndarray] = {}

    def fetch(self, numbers: np.ndarray) -> np.ndarray:
        return np.array([self.known[n] for n in numbers.tolist()], np.float32).reshape(len(numbers), DIM)


class Kept(RefinedIndex):
    """An index over raw vectors that are taken in with it."""

    def __init__(self, factory: str, effort: Effort | None = None):
        self.kept = Raw()
        super().__init__(FaissIndex(DIM, factory), self.kept.fetch, effort)

    def add(self, numbers: np.ndarray, vectors: np.ndarray) -> None:
        super().add(numbers, vectors)
        self.kept.known |= dict(zip(numbers.tolist(), vectors.astype(np.float32), strict=True))


def layered() -> LayeredIndex:
    return LayeredIndex(Kept("SQ8"), ExactIndex(DIM))


HNSW, IVF, RABITQ = "HNSW32,SQ8", "IVF8,SQ8", f"RR{DIM},IVF8,RaBitQfs4"
EXACT = {
    "exact": lambda: ExactIndex(DIM),
    "flat fp32": lambda: RefinedIndex(FaissIndex(DIM, "Flat")),
    "flat fp16": lambda: RefinedIndex(FaissIndex(DIM, "SQfp16")),
    "sq8": lambda: Kept("SQ8"),
    "layered": layered,
}
APPROXIMATE = {
    "hnsw": lambda: Kept(HNSW, Effort({"efSearch": 128})),
    "ivf": lambda: Kept(IVF, Effort({"nprobe": 6})),
    "rabitq": lambda: Kept(RABITQ, Effort({"nprobe": 6}, 8.0)),
}


def unit(n: int, seed: int = 0) -> np.ndarray:
    """(n, DIM) unit vectors that float16 holds exactly enough for one order in every index."""
    vectors = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def ids(n: int) -> np.ndarray:
    return np.sort(np.random.default_rng(1).choice(10**12, n, replace=False)).astype(np.int64)


@pytest.mark.parametrize("make", (EXACT | APPROXIMATE).values(), ids=(EXACT | APPROXIMATE).keys())
class TestContract:
    def test_empty(self, make):
        found = make().search(unit(2), 3)
        assert found.ids.tolist() == [[-1] * 3] * 2
        assert np.isneginf(found.scores).all()

    def test_types_and_shapes(self, make):
        index: VectorIndex = make()
        index.add(ids(50), unit(50))
        assert (len(index), index.dim) == (50, DIM)
        for queries, k in ((0, 3), (1, 1), (70, 50), (2, 80)):
            found = index.search(unit(queries, 9), k)
            assert found.ids.shape == found.scores.shape == (queries, k)
            assert (found.ids.dtype, found.scores.dtype) == (np.int64, np.float32)
            assert (found.ids[:, 50:] == -1).all()

    def test_allowed_only(self, make):
        index, numbers = make(), ids(600)
        index.add(numbers, unit(600))
        allowed = numbers[::7]
        found = index.search(unit(5, 9), 10, allowed)
        assert np.isin(found.ids, allowed).all()
        assert (index.search(unit(1), 3, numbers[:0]).ids == -1).all()
        assert (index.search(unit(1), 3, np.array([5], np.int64)).ids == -1).all()

    def test_removed_ids_are_gone(self, make):
        index, numbers, vectors = make(), ids(600), unit(600)
        index.add(numbers, vectors)
        index.remove(np.concatenate([numbers[:590:2], [3]]))
        index.remove(numbers[:2])
        assert len(index) == 600 - 296
        found = index.search(vectors[:20], 600)
        assert not np.isin(found.ids, numbers[:590:2]).any()
        index.add(np.array([10**13], np.int64), vectors[:1])
        assert index.search(vectors[:1], 1).ids[0, 0] == 10**13
        assert index.search(vectors[:1], 1, numbers[:2]).ids[0, 0] == -1

    def test_wrong_shapes_are_refused(self, make):
        with pytest.raises(StoreError, match="shape"):
            make().add(ids(2), unit(3))
        with pytest.raises(StoreError, match="int64"):
            make().add(ids(2).astype(np.int32), unit(2))
        with pytest.raises(StoreError, match="shape"):
            make().search(np.ones(DIM, np.float32), 1)
        with pytest.raises(StoreError, match="k is 0"):
            make().search(unit(1), 0)


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT.keys())
class TestExact:
    def test_like_the_definition(self, make):
        index, numbers, vectors, queries = make(), ids(500), unit(500), unit(70, 3)
        index.add(numbers[:300], vectors[:300])
        index.add(numbers[300:], vectors[300:].astype(np.float16))
        scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
        found = index.search(queries, 10)
        assert (found.ids == numbers[np.argsort(-scores, axis=1, kind="stable")[:, :10]]).all()
        np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :10], atol=1e-6)

    def test_the_same_alone_and_in_any_batch(self, make):
        index, queries = make(), unit(70, 3)
        index.add(ids(500), unit(500))
        together = index.search(queries, 20)
        for number in (0, 33, 69):
            alone = index.search(queries[number : number + 1], 20)
            np.testing.assert_array_equal(alone.ids[0], together.ids[number])
            np.testing.assert_array_equal(alone.scores[0], together.scores[number])

    def test_ties_go_to_the_lower_id_also_past_the_kth(self, make):
        index, numbers = make(), ids(400)
        vectors = unit(400)
        vectors[50:350] = vectors[50]
        order = np.random.default_rng(5).permutation(400)
        index.add(numbers[order], vectors[order])
        found = index.search(vectors[50:51], 40)
        assert found.ids[0].tolist() == numbers[50:90].tolist()
        assert len(set(found.scores[0])) == 1

    @settings(max_examples=30, deadline=None)
    @given(st.data())
    def test_like_the_reference(self, make, data):
        """Random additions, removals and filtered searches, with many ties."""
        index, exact = make(), ExactIndex(DIM)
        pool = unit(6, 11)
        known: list[int] = []
        for _ in range(data.draw(st.integers(1, 6))):
            fresh = [n for n in data.draw(st.lists(st.integers(0, 500), max_size=30, unique=True)) if n not in known]
            numbers = np.array(fresh, np.int64)
            vectors = pool[data.draw(st.lists(st.integers(0, 5), min_size=len(fresh), max_size=len(fresh)))]
            index.add(numbers, vectors)
            exact.add(numbers, vectors)
            known += fresh
            if known and data.draw(st.booleans()):
                gone = np.array(data.draw(st.lists(st.sampled_from(known))), np.int64)
                index.remove(gone)
                exact.remove(gone)
            allowed = None
            if known and data.draw(st.booleans()):
                allowed = np.array(sorted(set(data.draw(st.lists(st.sampled_from(known))))), np.int64)
            k = data.draw(st.integers(1, 40))
            ours, theirs = index.search(pool[:3], k, allowed), exact.search(pool[:3], k, allowed)
            np.testing.assert_array_equal(ours.ids, theirs.ids)
            np.testing.assert_array_equal(ours.scores, theirs.scores)
            assert len(index) == len(exact)


FACTORIES = {"Flat": Effort(), "SQfp16": Effort(), "SQ8": Effort(), HNSW: Effort({"efSearch": 128}),
             IVF: Effort({"nprobe": 6}), RABITQ: Effort({"nprobe": 6}, 8.0)}  # fmt: skip


@pytest.mark.parametrize("factory", FACTORIES)
class TestSaved:
    def test_comes_back(self, factory, tmp_path):
        index, numbers, vectors = Kept(factory, FACTORIES[factory]), ids(600), unit(600)
        index.add(numbers, vectors)
        index.save(tmp_path / "i")
        for mapped in (True, False):
            codes = FaissIndex.load(tmp_path / "i", DIM, factory, mapped)
            again = RefinedIndex(codes, index.kept.fetch, FACTORIES[factory])
            before, after = index.search(vectors[:9], 20), again.search(vectors[:9], 20)
            np.testing.assert_array_equal(before.ids, after.ids)
            np.testing.assert_array_equal(before.scores, after.scores)
            assert codes.ids.tolist() == numbers.tolist()

    def test_finds_nearly_all(self, factory):
        index, exact, numbers, vectors = Kept(factory, FACTORIES[factory]), ExactIndex(DIM), ids(3000), unit(3000)
        index.add(numbers, vectors)
        exact.add(numbers, vectors)
        allowed = numbers[::3]
        for only in (None, allowed):
            ours, theirs = index.search(unit(50, 9), 10, only), exact.search(unit(50, 9), 10, only)
            recall = np.mean([np.isin(a, b).mean() for a, b in zip(ours.ids, theirs.ids, strict=True)])
            assert recall >= (0.93 if FACTORIES[factory].search else 1.0)
            right = ours.ids == theirs.ids
            np.testing.assert_array_equal(ours.scores[right], theirs.scores[right])

    def test_removed_vectors_stay_removed_and_more_can_come(self, factory, tmp_path):
        index, numbers, vectors = Kept(factory, FACTORIES[factory]), ids(600), unit(600)
        index.add(numbers[:500], vectors[:500])
        index.remove(numbers[:5])
        index.save(tmp_path / "i")
        codes = FaissIndex.load(tmp_path / "i", DIM, factory, mapped=False)
        assert (codes.dead, codes.ids.tolist()) == (5, numbers[5:500].tolist())
        again = RefinedIndex(codes, index.kept.fetch, FACTORIES[factory])
        index.kept.known |= dict(zip(numbers.tolist(), vectors, strict=True))
        codes.add(numbers[500:], vectors[500:])
        codes.add(numbers[:5], vectors[:5])  # under ids that were there before
        codes.remove(numbers[5:9])
        found = again.search(vectors, 600)
        assert set(found.ids[0].tolist()) == {-1, *numbers[:5].tolist(), *numbers[9:].tolist()}
        codes.save(tmp_path / "j")
        assert FaissIndex.load(tmp_path / "j", DIM, factory).ids.tolist() == sorted({*numbers} - {*numbers[5:9]})

    def test_as_many_results_as_there_are(self, factory):
        """Also where the links of a graph lead nowhere, and where effort is small."""
        vectors = np.repeat(unit(3), 200, axis=0)
        index = Kept(factory, Effort({name: 1 for name in FACTORIES[factory].search}))
        index.add(ids(600), vectors)
        for k in (10, 300, 600):
            assert (index.search(unit(4, 3), k).ids >= 0).all()
            assert (index.search(unit(4, 3), k, ids(600)[::2]).ids[:, : min(k, 300)] >= 0).all()

    def test_one_that_shares_its_vectors_changes_apart(self, factory):
        index, numbers = Kept(factory, FACTORIES[factory]), ids(100)
        index.add(numbers, unit(100))
        apart = index.apart()
        apart.remove(numbers[:1])
        assert (len(index), len(apart)) == (100, 99)
        assert index.search(unit(1), 1).ids[0, 0] == numbers[0]
        assert apart.search(unit(1), 1).ids[0, 0] != numbers[0]


def test_codes_of_bytes_never_miss_what_lies_outside_a_samples_range():
    """The bound on their rounding holds only where no value is cut off."""
    vectors = unit(2000)
    vectors[7] = np.eye(DIM, dtype=np.float32)[3]  # one number far greater than any other
    index, exact = Kept("SQ8"), ExactIndex(DIM)
    for each in (index, exact):
        each.add(ids(2000), vectors)
    queries = np.concatenate([np.eye(DIM, dtype=np.float32), unit(200, 5)])
    ours, theirs = index.search(queries, 30), exact.search(queries, 30)
    np.testing.assert_array_equal(ours.ids, theirs.ids)
    np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_one_query_on_all_cores_finds_the_same(monkeypatch):
    import faiss

    from indexer.storage.local.index import faiss_index

    index, vectors = Kept("SQ8"), unit(3000)
    index.add(ids(3000), vectors)
    alone = index.search(vectors[:1], 20), index.search(vectors[:1], 20, ids(3000)[::3])
    threads = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        monkeypatch.setattr(faiss_index, "SCANNED_TOGETHER", 0)
        shared = index.search(vectors[:1], 20), index.search(vectors[:1], 20, ids(3000)[::3])
    finally:
        faiss.omp_set_num_threads(threads)
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_another_dimension_or_no_index_at_all(tmp_path):
    index = FaissIndex(DIM)
    index.add(ids(3), unit(3))
    index.save(tmp_path / "i")
    with pytest.raises(CorruptError, match="dimensions"):
        FaissIndex.load(tmp_path / "i", DIM + 1, "SQfp16")
    (tmp_path / "j").write_bytes(b"no index")
    with pytest.raises(CorruptError, match="no FAISS index"):
        FaissIndex.load(tmp_path / "j", DIM, "SQfp16")


def test_an_unknown_factory_is_refused():
    with pytest.raises(UsageError, match="'magic' is not known; it is auto or a factory"):
        FaissIndex(DIM, "magic")


def test_scores_do_not_depend_on_what_stands_beside():
    vectors = unit(200)
    together = rescore(vectors[0], vectors)
    assert all(rescore(vectors[0], vectors[n : n + 1])[0] == together[n] for n in range(200))


def test_nearest_among_a_few():
    index, numbers, vectors = ExactIndex(DIM), ids(500), unit(500)
    index.add(numbers, vectors)
    chosen = numbers[100:300]
    ours = nearest(chosen, lambda part: vectors[np.searchsorted(numbers, part)], unit(4, 2), 7, block=64)
    theirs = index.search(unit(4, 2), 7, chosen)
    np.testing.assert_array_equal(ours.ids, theirs.ids)
    np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_float16_is_widened_as_numpy_does():
    """Every finite number, those below the normal ones included."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    np.testing.assert_array_equal(widened(finite), finite.astype(np.float32))
    assert np.array_equal(np.signbit(widened(finite)), np.signbit(finite))
    several = finite[: 24 * 100].reshape(100, 24)[::3]
    np.testing.assert_array_equal(widened(several), several.astype(np.float32))
