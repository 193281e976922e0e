import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from semsearch.search.ranking import fusion

rankings = st.lists(st.integers(0, 30), max_size=20, unique=True)


def test_scores_are_the_published_formula():
    ids, scores = fusion.reciprocal_rank([np.array([7, 5]), np.array([5, 9])], k=3)
    assert ids.tolist() == [5, 7, 9]
    np.testing.assert_allclose(scores, [1 / 62 + 1 / 61, 1 / 61, 1 / 62], rtol=1e-6)


def test_weights_scale_an_arm():
    ids, scores = fusion.reciprocal_rank([np.array([1]), np.array([2])], k=2, weights=[1.0, 3.0])
    assert ids.tolist() == [2, 1]
    np.testing.assert_allclose(scores, [3 / 61, 1 / 61], rtol=1e-6)


@given(rankings, rankings, st.integers(1, 40))
def test_order_of_arms_does_not_matter_and_padding_is_ignored(a, b, k):
    padded = np.array([*a, -1, -1], np.int64)
    first = fusion.reciprocal_rank([padded, np.array(b, np.int64)], k)
    second = fusion.reciprocal_rank([np.array(b, np.int64), np.array(a, np.int64)], k)
    np.testing.assert_array_equal(first[0], second[0])
    assert len(first[0]) == min(k, len(set(a) | set(b)))
    assert (np.diff(first[1]) <= 0).all()


count = st.integers(1, 12)
unit = st.floats(-1, 1, width=32)
weight = st.floats(0, 4, width=16)


@st.composite
def scored(draw):
    """Some passages' scores in three arms, and weights of the arms."""
    n = draw(count)
    arms = {arm: np.array(draw(st.lists(unit, min_size=n, max_size=n)), np.float32) for arm in ("a", "b", "c")}
    return arms, {arm: draw(weight) for arm in arms}


def fused(arms, weights):
    return np.stack(list(fusion.convex(arms, weights).values())).sum(axis=0)


@given(scored())
def test_convex_is_the_weighted_mean(case):
    arms, weights = case
    rows = np.array([arms[arm] for arm in arms], np.float64)
    expected = np.average(rows, axis=0, weights=list(weights.values()) if sum(weights.values()) else None)
    np.testing.assert_allclose(fused(arms, weights), expected, atol=1e-6)


@given(scored(), st.floats(0.25, 8))
def test_neither_the_order_of_arms_nor_the_size_of_weights_matters(case, factor):
    arms, weights = case
    first = fused(arms, weights)
    reordered = {arm: arms[arm] for arm in ("c", "a", "b")}
    np.testing.assert_allclose(fused(reordered, weights), first, atol=1e-6)
    np.testing.assert_allclose(fused(arms, {a: w * factor for a, w in weights.items()}), first, atol=1e-6)


@given(scored(), st.data())
def test_a_better_score_in_an_arm_never_lowers_a_passage(case, data):
    arms, weights = case
    n = len(arms["a"])
    ids = np.arange(n)
    place = data.draw(st.integers(0, n - 1))
    before = fusion.best(ids, fused(arms, weights), n).tolist().index(place)
    arms["b"][place] += data.draw(st.floats(0, 2, width=32))
    after = fusion.best(ids, fused(arms, weights), n).tolist().index(place)
    assert after <= before


def test_an_arm_without_a_weight_counts_for_nothing():
    arms = {"a": np.array([1.0, 0.0], np.float32), "b": np.array([0.0, 9.0], np.float32)}
    np.testing.assert_array_equal(fused(arms, {"a": 2.0}), [1, 0])


def test_equal_scores_are_in_the_order_of_ids():
    assert fusion.best(np.array([9, 4, 7]), np.array([0.5, 0.5, 1.0]), 2).tolist() == [2, 1]
