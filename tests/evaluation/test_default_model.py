"""The gate on the real default encoder, broken by its specification and left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer import embedding
from indexer.embedding.encoder import Encoder, EncoderSpec
from semsearch.evaluation import gate, runner
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.runner import Data

pytestmark = pytest.mark.model
PLAIN = EncoderSpec()


@pytest.fixture(scope="module")
def loaded(shared_data: Path) -> list[Data]:
    return runner.load(["STSBenchmark-dev"], shared_data, quick=True)


def opened(spec: EncoderSpec, batch_tokens: int | None = None) -> Encoder:
    return embedding.open_encoder(embedding.resolve(spec), device="cpu", batch_tokens=batch_tokens)


@pytest.fixture(scope="module")
def whole(loaded: list[Data]) -> list[Score]:
    return runner.score(loaded, opened(PLAIN))


def failed(before: Sequence[Score], after: Sequence[Score]) -> bool:
    return gate.compare(gate.rounded(before), gate.rounded(after)).failed


def test_the_figure_is_near_the_known_one(whole: list[Score]) -> None:
    """66.0 on all 1,500 pairs; these are 150 of them."""
    assert whole[0].value == pytest.approx(66.0, abs=6)


@pytest.mark.parametrize(
    "broken",
    [
        replace(PLAIN, template="{text}"),
        replace(PLAIN, layers=15),
        replace(PLAIN, template=PLAIN.template + " the"),
    ],
    ids=["no template", "half of the layers", "one token too far"],
)
def test_a_broken_encoder_fails(broken: EncoderSpec, whole: list[Score], loaded: list[Data]) -> None:
    assert failed(whole, runner.score(loaded, opened(broken)))


def test_coarse_vectors_fail(whole: list[Score], loaded: list[Data]) -> None:
    """Noise as large as the vectors' own spread, as a quantisation with one scale for all dimensions leaves it."""
    encoder = opened(PLAIN)
    batches, random = encoder.encode_batches, np.random.default_rng(5)

    def noisy(*arguments, **options):
        for rows, vectors in batches(*arguments, **options):
            yield rows, vectors + random.normal(0, vectors.std(), vectors.shape).astype(np.float32)

    encoder.encode_batches = noisy
    assert failed(whole, runner.score(loaded, encoder))


def test_batch_size_and_threads_change_nothing_that_matters(whole: list[Score], loaded: list[Data]) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert not failed(whole, runner.score(loaded, opened(PLAIN, batch_tokens=300)))
    finally:
        torch.set_num_threads(threads)
