"""Dev sets: scores written out by hand."""

import numpy as np
import pytest

from semsearch.training.data.devset import DevSet
from semsearch.training.data.rows import Row
from semsearch.training.recipe import Dev

PAIRS = DevSet(Dev(path="t", kind="pairs"), "t", rows=tuple(Row(f"q{i}", f"p{i}") for i in range(4)))


def test_pairs_are_scored_by_the_reciprocal_rank_of_the_own_positive():
    angles = {"p0": 0, "p1": 30, "p2": 60, "p3": 90, "q0": 0, "q1": 10, "q2": 80, "q3": 100}

    def encode(texts, query=False):
        assert query == texts[0].startswith("q")
        return np.array([[np.cos(np.radians(angles[t])), np.sin(np.radians(angles[t]))] for t in texts], np.float32)

    # q1 has p0 before p1, q2 has p3 before p2
    assert PAIRS.score(encode) == pytest.approx(100 * (1 + 1 / 2 + 1 / 2 + 1) / 4)


def test_vectors_that_are_all_alike_find_nothing():
    assert PAIRS.score(lambda texts, query=False: np.ones((len(texts), 3), np.float32)) == pytest.approx(100 / 2.5)
