"""Many threads at one encoder: every vector is that of its text alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from indexer.embedding import open_encoder
from indexer.embedding.encoder import Encoder
from indexer.embedding.spec import EncoderSpec

Tiny = Callable[[str], Path]
THREADS, ROUNDS = 8, 6
SUBJECTS = ["the man", "two dogs", "a horse", "the market", "people", "a jockey", "the plate", "the beach"]


def texts_of(thread: int, turn: int) -> list[str]:
    """Several lengths; none is asked for twice."""
    return [f"{SUBJECTS[thread]} {turn} " + "walks along the street " * (i % 4) + str(i) for i in range(1 + turn * 2)]


def together(encoder: Encoder, work: Callable[[int, int], object]) -> list[object]:
    """What ``work`` gave each of the threads in each of the rounds, all threads starting at once."""
    start = Barrier(THREADS)

    def run(thread: int) -> list[object]:
        start.wait()
        return [work(thread, turn) for turn in range(ROUNDS)]

    with ThreadPoolExecutor(THREADS) as pool:
        return [each for made in pool.map(run, range(THREADS)) for each in made]


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("llama", {}),
        ("opt", {}),
        ("llama", {"pooling": "mean"}),
        ("bert", {"pooling": "first-last"}),
        ("llama", {"query_template": "{text} ="}),
    ],
)
def test_threads_get_the_vectors_of_their_own_texts(tiny: Tiny, family: str, fields: dict) -> None:
    spec = EncoderSpec.from_dict({"model": str(tiny(family)), "precision": "fp32", **fields})
    alone, shared = open_encoder(spec, device="cpu"), open_encoder(spec, device="cpu", batch_tokens=96)
    role = ("passage", "query")
    got = together(shared, lambda thread, turn: shared.encode(texts_of(thread, turn), role[turn % 2]))
    count = 0
    for place, vectors in enumerate(got):
        texts = texts_of(*divmod(place, ROUNDS))
        count += len(texts)
        want = np.concatenate([alone.encode([text], role[place % ROUNDS % 2]) for text in texts])
        np.testing.assert_allclose(vectors, want, atol=1e-5)
    assert (shared.stats.texts, shared.stats.truncated) == (count, 0)


def test_terms_and_counts_too(tiny: Tiny) -> None:
    spec = EncoderSpec(model=str(tiny("llama")), precision="fp32")
    alone, shared = open_encoder(spec, device="cpu"), open_encoder(spec, device="cpu", batch_tokens=96)

    def work(thread: int, turn: int) -> object:
        texts = texts_of(thread, turn)
        return (
            shared.encode_terms(texts)[1],
            [[word for word, _ in each] for each in shared.terms(texts, 3)],
            (shared.count_tokens(texts).tolist()),
        )

    for place, (terms, words, counts) in enumerate(together(shared, work)):
        texts = texts_of(*divmod(place, ROUNDS))
        for ours, theirs in zip(terms, alone.encode_terms(texts)[1], strict=True):
            assert set(ours) == set(theirs)
            assert all(abs(ours[term] - theirs[term]) <= 1 for term in ours)  # a weight is rounded
        assert words == [[word for word, _ in each] for each in alone.terms(texts, 3)]
        assert counts == alone.count_tokens(texts).tolist()


def test_stats_lose_nothing() -> None:
    encoder = open_encoder(EncoderSpec(model="hash:8"))
    together(encoder, lambda thread, turn: [encoder.encode([f"one two {thread}"]) for _ in range(200)])
    assert (encoder.stats.texts, encoder.stats.tokens) == (THREADS * ROUNDS * 200, 3 * THREADS * ROUNDS * 200)
