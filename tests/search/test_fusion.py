import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from semsearch import fusion

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
