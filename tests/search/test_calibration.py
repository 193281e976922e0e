from itertools import combinations

import numpy as np
import pytest

from semsearch.search import calibration
from semsearch.search.calibration import STRONG, Calibration
from tests.storage.helpers import add, build

WORDS = ["wing", "drag", "lift", "flow", "heat", "wave", "jet", "tail", "speed", "shock"]


def some(path, n, seed=0):
    random = np.random.default_rng(seed)
    return build(path, [("/a.txt", [" ".join(random.choice(WORDS, 5)) + f" x{i}" for i in range(n)])])


def cosines(store):
    vectors = store.vectors(store.allowed(None)).astype(np.float64)
    return np.array([a @ b for a, b in combinations(vectors, 2)])


def test_of_a_small_collection_all_pairs_are_compared(tmp_path):
    with some(tmp_path / "c", 40) as store:
        store.commit()
        exact, found = cosines(store), Calibration.of(store)
        assert found.mean == pytest.approx(exact.mean(), abs=1e-5)
        assert found.spread == pytest.approx(exact.std(), abs=1e-5)
        for cosine in (-1.0, 0.1234, 0.5, 0.77, 1.5):
            assert found.unusual(cosine) == pytest.approx((exact < cosine).mean(), abs=1e-9)
        np.testing.assert_allclose(found.unusual(np.array([[-1.0, 1.5]])), [[0, 1]])


def test_of_a_larger_one_a_seeded_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "SAMPLE", 60)
    monkeypatch.setattr(calibration, "QUANTILES", 501)
    with some(tmp_path / "c", 200) as store:
        store.commit()
        exact, found, again = cosines(store), Calibration.of(store), Calibration.of(store)
        assert found.mean == pytest.approx(exact.mean(), abs=0.03)
        assert found.spread == pytest.approx(exact.std(), rel=0.15)
        np.testing.assert_array_equal(found.pairs, again.pairs)
        assert len(found.pairs) == 501
        for share in (0.1, 0.5, 0.9):
            assert found.unusual(np.quantile(exact, share)) == pytest.approx(share, abs=0.1)


def test_a_scale_that_says_how_far_from_random():
    found = Calibration.from_pairs(np.array([0.5, 0.7], np.float32))
    np.testing.assert_allclose(found.scale([0.6, 0.6 + 0.1 * STRONG, 0.5]), [0, 1, -1 / STRONG], atol=1e-5)
    assert found.scale(0.9).dtype == np.float32


def test_nothing_to_compare(tmp_path):
    with build(tmp_path / "c") as store:
        for texts in ([], ["the only passage"]):
            if texts:
                add(store, "/a.txt", texts)
            found = Calibration.of(store)
            assert found.unusual(-1.0) == 1
            assert np.isfinite(found.scale([0.0, 1.0])).all()


def test_texts_that_are_all_alike(tmp_path):
    with build(tmp_path / "c", [("/a.txt", ["the same words"] * 5)]) as store:
        store.commit()
        found = Calibration.of(store)
        assert np.isfinite(found.scale([0.3, 1.0])).all()
        assert found.unusual(0.5) == 0


def test_an_equal_pair_is_not_less_similar():
    found = Calibration.from_pairs(np.array([0.5, 0.5, 0.75], np.float32))
    np.testing.assert_allclose(found.unusual([0.5, 0.75, 0.76]), [0, 2 / 3, 1])
