from itertools import combinations

import numpy as np
import pytest

from indexer import embedding
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from semsearch.search.ranking import calibration
from semsearch.search.ranking.calibration import FEW, STRONG, Calibration, Prior

WORDS = ["wing", "drag", "lift", "flow", "heat", "wave", "jet", "tail", "speed", "shock"]


def some(n, seed=0):
    random = np.random.default_rng(seed)
    return HashEncoder().encode([" ".join(random.choice(WORDS, 5)) + f" x{i}" for i in range(n)])


def cosines(vectors):
    return np.array([a @ b for a, b in combinations(vectors.astype(np.float64), 2)])


def test_all_pairs_of_what_is_given_are_compared():
    vectors = some(40)
    exact, found = cosines(vectors), Calibration.of(vectors)
    assert found.mean == pytest.approx(exact.mean(), abs=1e-5)
    assert found.spread == pytest.approx(exact.std(), abs=1e-5)
    for cosine in (-1.0, 0.1234, 0.513, 0.77, 1.5):
        assert found.percentile(cosine) == pytest.approx((exact < cosine).mean(), abs=1e-9)
    np.testing.assert_allclose(found.percentile(np.array([[-1.0, 1.5]])), [[0, 1]])


def test_many_pairs_are_kept_as_quantiles(monkeypatch):
    monkeypatch.setattr(calibration, "QUANTILES", 501)
    vectors = some(100)
    exact, found = cosines(vectors), Calibration.of(vectors)
    assert len(found.pairs) == 501
    for share in (0.1, 0.5, 0.9):
        assert found.percentile(np.quantile(exact, share)) == pytest.approx(share, abs=0.1)


def test_a_scale_that_says_how_far_from_random():
    found = Calibration.from_pairs(np.array([0.5, 0.7], np.float32))
    np.testing.assert_allclose(found.scale([0.6, 0.6 + 0.1 * STRONG, 0.5]), [0, 1, -1 / STRONG], atol=1e-5)
    assert found.scale(0.9).dtype == np.float32


@pytest.mark.parametrize("n", [1, 2, 3, 10, 30, 60])
@pytest.mark.parametrize("prior", [Prior(0.16, 0.12), Prior()])
def test_a_score_of_few_passages_reads_as_0_to_1(n, prior):
    vectors = np.tile(some(1), (n, 1)) + np.random.default_rng(n).normal(0, 0.005, (n, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # notes of one day: alike by chance
    found = Calibration.of(vectors, prior)
    assert abs(found.scale(0.7)) <= 2.0
    assert Calibration.of(vectors).scale(0.7) < -3 or n == 1  # alone they say nonsense


def test_the_priors_share_ends_where_passages_are_enough():
    prior = Prior(0.9, 0.5)
    for n in (FEW, FEW + 50):
        assert Calibration.of(some(n), prior).mean == Calibration.of(some(n)).mean
    gaps = [abs(Calibration.of(some(n), prior).mean - Calibration.of(some(n)).mean) for n in (5, 50, 95)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.05


def test_shipped_adapters_have_figures_of_their_own():
    for name in embedding.shipped_adapters():
        described = EncoderSpec.from_dict({**embedding.adapter_description(name), "adapter": name})
        assert Prior.of(described).mean is not None
    assert Prior.of(EncoderSpec()) == Prior()


def test_nothing_to_compare():
    for n in (0, 1):
        found = Calibration.of(some(2)[:n])
        assert found.percentile(-1.0) == 1
        assert np.isfinite(found.scale([0.0, 1.0])).all()


def test_texts_that_are_all_alike():
    found = Calibration.of(HashEncoder().encode(["the same words"] * 5))
    assert np.isfinite(found.scale([0.3, 1.0])).all()
    assert found.percentile(0.5) == 0


def test_an_equal_pair_is_not_less_similar():
    found = Calibration.from_pairs(np.array([0.5, 0.5, 0.75], np.float32))
    np.testing.assert_allclose(found.percentile([0.5, 0.75, 0.76]), [0, 2 / 3, 1])
