"""Batches run side by side: the same bits from one worker as from several, and nothing left behind."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from indexer.embedding import open_encoder
from indexer.embedding.forward.workers import Workers, workers
from indexer.embedding.hf_encoder import HFEncoder
from indexer.embedding.spec import EncoderSpec

Tiny = Callable[[str], Path]
SAME = "the market is high on the beach and the waves are running in the park " * 6
TEXTS = [f"{i} two dogs " + "walk along the street " * (i % 7) for i in range(60)] + [f"{SAME}{i}" for i in range(12)]
"""Many batches of several lengths, and some texts that share far more than the prompt: a prefix of their own."""


def opened(folder: Path, count: int, **fields: object) -> HFEncoder:
    spec = EncoderSpec.from_dict({"model": str(folder), "precision": "fp32", **fields})
    encoder = open_encoder(spec, device="cpu", batch_tokens=200, workers=count)
    assert isinstance(encoder, HFEncoder)
    return encoder


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("llama", {}),
        ("llama", {"precision": "bf16"}),
        ("llama", {"precision": "int8"}),
        ("opt", {}),
        ("gemma3", {}),
        ("gpt2", {}),
        ("bert", {"pooling": "mean"}),
        ("bert", {"pooling": "first-last"}),
        ("t5", {"pooling": "mean"}),
    ],
)
def test_vectors_do_not_depend_on_the_number_of_workers(tiny: Tiny, family: str, fields: dict) -> None:
    encoders = [opened(tiny(family), count, **fields) for count in (1, 2, 5)]
    for texts in (TEXTS, TEXTS[::-1], TEXTS[40:70]):  # what was kept of one call does not show in the next either
        one, *more = (encoder.encode(texts, normalize=False) for encoder in encoders)
        for other in more:
            np.testing.assert_array_equal(one, other)
    assert len({encoder.stats.tokens for encoder in encoders}) == 1
    assert {encoder.stats.texts for encoder in encoders} == {2 * len(TEXTS) + 30}


def test_terms_do_not_either(tiny: Tiny) -> None:
    one, many = (opened(tiny("llama"), count).encode_terms(TEXTS) for count in (1, 3))
    np.testing.assert_array_equal(one[0], many[0])
    assert one[1] == many[1]


def test_a_run_that_is_left_ends(tiny: Tiny) -> None:
    encoder = opened(tiny("llama"), 2)
    run = encoder.encode_batches(TEXTS)
    next(run)
    run.close()
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 32)


def test_an_error_in_a_worker_is_the_callers(tiny: Tiny) -> None:
    encoder = opened(tiny("llama"), 2)
    encoder.encode(["a"])
    forward = encoder._forwards["last"]
    run = forward.run

    def fails(ids: list[list[int]], plan: object) -> torch.Tensor:
        if max(map(len, ids)) < 30:
            raise ZeroDivisionError("as if by a defect")
        return run(ids, plan)

    forward.run = fails
    with pytest.raises(ZeroDivisionError, match="as if by a defect"):
        encoder.encode(TEXTS)
    forward.run = run
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 32)


def test_workers_have_one_thread_each_and_others_keep_theirs() -> None:
    team = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        made = Workers(3)
        assert [made.call(torch.get_num_threads) for _ in range(6)] == [1] * 6
        seen = []
        thread = threading.Thread(target=lambda: (torch.ones(4).sum(), seen.append(torch.get_num_threads())))
        thread.start()
        thread.join()
        assert (torch.get_num_threads(), seen) == (2, [2])
    finally:
        torch.set_num_threads(team)


def test_tasks_are_taken_as_they_are_needed_and_come_back_in_order() -> None:
    taken = []

    def tasks() -> Iterator[tuple[int, Callable[[], int]]]:
        for i in range(20):
            taken.append(i)
            yield i, lambda i=i: i * i

    results = workers(2).map(tasks())
    assert next(results) == (0, 0)
    assert len(taken) == 3
    assert list(results) == [(i, i * i) for i in range(1, 20)]
