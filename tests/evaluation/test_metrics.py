"""Resampled statistics equal the plain ones on the resampled data."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from semsearch.evaluation import metrics

values = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(values, st.integers(0, 2**32 - 1))
def test_a_weighted_rank_correlation_is_that_of_the_repeated_items(pairs: list[tuple[int, int]], seed: int) -> None:
    x, y = np.array(pairs, float).T
    draws = metrics.resamples(len(x), 3, seed)
    for row, ours in zip(draws.astype(int), metrics.weighted_spearman(x, y, draws), strict=True):
        a, b = np.repeat(x, row), np.repeat(y, row)
        constant = len(set(a)) < 2 or len(set(b)) < 2
        assert abs(ours - (0.0 if constant else spearmanr(a, b).statistic)) < 1e-9


def test_a_resample_draws_as_many_items_as_there_are() -> None:
    draws = metrics.resamples(50, 4, 1)
    assert draws.sum(axis=1).tolist() == [50] * 4
    assert (metrics.resamples(50, 4, 1) == draws).all()
    assert metrics.weighted_mean(np.arange(50.0), draws)[0] == np.repeat(np.arange(50), draws[0].astype(int)).mean()
