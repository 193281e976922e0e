"""Batches of rows that share words."""

from itertools import islice

import numpy as np
import pytest

from semsearch.training.data import alike
from semsearch.training.data.batch_plan import plan
from semsearch.training.data.rows import Row

TOPICS = (
    "lift drag wing flow speed", "jury court law judge trial", "cake oven bread flour yeast", "goal ball team cup net",
)  # fmt: skip


@pytest.fixture
def rows():
    """Ten rows of each of four topics, whose texts share some words of the topic and the small words of all."""
    random = np.random.default_rng(3)
    found = []
    for number in range(40):
        a, b, c, d, _ = random.permutation(TOPICS[number % 4].split())
        found.append(Row(f"what is the {a} of a {b} {number}", f"it is the {b} {c} {d}"))
    return found


def test_signatures_are_near_where_rare_words_are_shared(rows):
    vectors = alike.signatures(rows)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near = vectors @ vectors.T
    same = np.arange(40)[:, None] % 4 == np.arange(40) % 4
    assert near[same & ~np.eye(40, dtype=bool)].mean() > 0.3
    assert abs(near[~same].mean()) < 0.1
    np.testing.assert_array_equal(vectors, alike.signatures(rows))


def test_batches_go_through_all_rows_and_hold_near_ones(rows):
    vectors = alike.signatures(rows)
    first = list(islice(alike.batches(vectors, 5, np.random.default_rng(0)), 24))
    for start in (0, 8, 16):
        assert sorted(np.concatenate(first[start : start + 8])) == list(range(40))
    assert any(set(a) != set(b) for a, b in zip(first[:8], first[8:16], strict=True))
    shared = np.mean([np.bincount(batch % 4).max() for batch in first])
    drawn = np.random.default_rng(0)
    chance = np.mean([np.bincount(drawn.permutation(40)[:5] % 4).max() for _ in range(200)])
    assert shared > chance + 1


def test_rows_that_are_left_over_come_another_time():
    vectors = np.random.default_rng(1).standard_normal((11, 4)).astype(np.float32)
    found = list(islice(alike.batches(vectors, 4, np.random.default_rng(2)), 40))
    assert {len(set(batch)) for batch in found} == {4}
    assert set(np.concatenate(found)) == set(range(11))


def test_a_plan_has_near_rows_only_where_they_are_asked_for(rows):
    vectors = alike.signatures(rows)
    batches = plan([40, 40], [1.0, 1.0], 5, 40, 1, {1: vectors})
    shared = [np.mean([np.bincount(b % 4).max() for s, b in batches if s == source]) for source in (0, 1)]
    assert shared[1] > shared[0] + 1
    for (a, b), (c, d) in zip(batches, plan([40, 40], [1.0, 1.0], 5, 40, 1, {1: vectors}), strict=True):
        assert a == c
        np.testing.assert_array_equal(b, d)
