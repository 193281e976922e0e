"""Drift of vectors whose answer is known by hand, and of tiny models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.drift import Way, compare, drift
from indexer.embedding.spec import EncoderSpec
from indexer.errors import UsageError

TEXTS = [f"text number {i} about {w}" for i, w in enumerate(["cats", "dogs", "ships", "rain", "bread"] * 4)]


def unit(angles: list[float]) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_the_same_vectors_do_not_drift() -> None:
    vectors = unit([0.0, 0.3, 0.7, 1.5])
    same = compare(vectors, vectors, list("abcd"))
    assert (same.cosine_mean, same.cosine_min, same.overlap) == pytest.approx((1, 1, 1))
    assert same.score_shift == 0


def test_cosine_and_the_worst_text() -> None:
    report = compare(unit([0.0, 0.5, 1.0]), unit([0.0, 0.5, 1.2]), list("abc"))
    assert report.worst == "c"
    assert report.cosine_min == pytest.approx(np.cos(0.2), abs=1e-6)
    assert report.cosine_mean == pytest.approx((2 + np.cos(0.2)) / 3, abs=1e-6)


def test_a_rotation_changes_no_neighbour() -> None:
    report = compare(unit([0.0, 0.3, 0.7]), unit([1.0, 1.3, 1.7]), list("abc"))
    assert report.overlap == 1
    assert report.score_shift == pytest.approx(0, abs=1e-6)
    assert report.cosine_min == pytest.approx(np.cos(1.0), abs=1e-6)


def test_neighbours_that_changed() -> None:
    """12 texts on a line of angles, 10 neighbours of 11 others: leaving out the farthest, at the other end."""
    angles = list(np.linspace(0, 1, 12))
    swapped = [angles[-1], *angles[1:-1], angles[0]]
    report = compare(unit(angles), unit(swapped), [str(i) for i in range(12)])
    assert report.overlap == pytest.approx((10 * 9 + 2 * 10) / 120)  # the inner ten lose one end and get the other


def test_spaces_of_different_size_have_neighbours_alone() -> None:
    report = compare(unit([0.0, 0.3, 0.7]), np.eye(3, dtype=np.float32), list("abc"))
    assert report.cosine_mean is None
    assert report.overlap == 1


def test_of_models(tiny: Callable[[str], Path]) -> None:
    spec = EncoderSpec(model=str(tiny("llama")), precision="fp32")
    bf16, opt = EncoderSpec(model=spec.model, precision="bf16"), EncoderSpec(model=str(tiny("opt")), precision="fp32")
    batches, rounded, other = drift(Way(spec), [Way(spec, alone=True), Way(bf16), Way(opt)], TEXTS, "cpu")
    assert batches.texts == len(TEXTS)
    assert batches.cosine_min > 1 - 1e-6 > rounded.cosine_min > 0.99 > other.cosine_mean
    assert batches.overlap == 1 > other.overlap


def test_too_few_texts() -> None:
    with pytest.raises(UsageError, match="2 different texts were given"):
        drift(Way(EncoderSpec(model="hash:8")), [], ["a", "b", "a"])
