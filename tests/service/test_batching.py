"""The thread that encodes: who is read when, with whom, and what becomes of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.embedding import open_encoder
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.errors import ModelError
from semsearch.service.encoding.batching import Batcher, BatchingEncoder
from semsearch.service.encoding.caller import CALLER, Caller
from semsearch.service.faults import Refusal
from tests.models import make


class Watched(HashEncoder):
    """Notes each batch, and can be held up."""

    def __init__(self, exact: bool = True):
        super().__init__()
        self.exact = exact
        self.batches: list[list[str]] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.busy = threading.Event()

    def encode(self, texts, role="passage", normalize=True):
        self.batches.append(list(texts))
        self.busy.set()
        assert self.may_go.wait(10)
        if "bad" in texts:
            raise ModelError("bad text")
        return super().encode(texts, role, normalize)


class Crowd:
    """Many callers of one encoder while its thread is held up."""

    def __init__(self, **lines: Any):
        self.backend = Watched()
        self.batcher = Batcher(**lines)
        self.encoder = BatchingEncoder(self.backend, self.batcher)
        self.pool = ThreadPoolExecutor(64)

    def hold(self, texts: Sequence[str] = (), role: str = "query") -> None:
        """Keep the thread busy with the first batch of these texts, or one that is not noted, until ``release``."""
        self.backend.may_go.clear()
        self.backend.busy.clear()
        self.first = self.pool.submit(self.encoder.encode, texts or ["first"], role)
        assert self.backend.busy.wait(10)
        if not texts:
            self.backend.batches.clear()

    def ask(self, texts: list[str], role: str = "query", caller: Caller | None = None):
        """Ask, and return once the texts wait or were refused."""

        def work():
            CALLER.set(caller)
            return self.encoder.encode(texts, role)

        before = dict(self.batcher.waiting)
        asked = self.pool.submit(work)
        until = time.monotonic() + 10
        while self.batcher.waiting == before and not asked.done() and time.monotonic() < until:
            time.sleep(0.001)
        return asked

    def release(self) -> None:
        self.backend.may_go.set()
        self.first.result(10)


@pytest.fixture
def crowd() -> Iterator[Callable[..., Crowd]]:
    made: list[Crowd] = []

    def begin(**lines: Any) -> Crowd:
        made.append(Crowd(**lines))
        return made[-1]

    yield begin
    for each in made:
        each.backend.may_go.set()
        each.batcher.close()
        each.pool.shutdown()


def words(n: int, word: str = "w") -> str:
    """A text of n tokens; with the one that counts for its prompt n + 1."""
    return " ".join([word] * n)


def test_what_waits_is_read_together_longest_first(crowd):
    here = crowd()
    here.hold()
    asked = [here.ask([text]) for text in ("a", "a b c", "a b")]
    here.release()
    assert [each.result(10).shape for each in asked] == [(1, 64)] * 3
    assert here.backend.batches == [["a b c", "a b", "a"]]


def test_queries_go_before_documents_that_came_first(crowd):
    here = crowd()
    here.hold()
    asked = [here.ask(["document"], "passage"), here.ask(["query"], "query")]
    here.release()
    [each.result(10) for each in asked]
    assert here.backend.batches == [["query"], ["document"]]


def test_a_query_waits_for_one_bite_of_a_long_list_of_documents(crowd):
    here = crowd(documents=(10_000, 40), bite=20)
    here.hold([words(9, f"d{i}") for i in range(10)], "passage")
    query = here.ask(["query"])
    here.release()
    query.result(10)
    sizes = [len(batch) for batch in here.backend.batches]
    assert sizes == [4, 1, 2, 2, 2]  # large while nobody asks, small from then on
    assert here.backend.batches[1] == ["query"]


def test_a_batch_is_no_larger_than_the_budget_and_a_longer_text_goes_alone(crowd):
    """No endless loop over a text that fits into no batch, and nothing is left out of its request."""
    here = crowd(queries=(10_000, 10))
    here.hold()
    asked = [here.ask([words(n, f"x{n}")]) for n in (4, 4, 50, 3)] + [here.ask([words(60), words(2), words(61)])]
    here.release()
    [each.result(10) for each in asked]
    sizes = [[len(text.split()) for text in batch] for batch in here.backend.batches]
    assert sizes == [[4, 4], [50], [3], [60], [2], [61]]


def test_one_text_and_a_list_of_one_are_treated_alike(crowd):
    here = crowd(queries=(10_000, 4))
    long, short = words(600), words(2)
    alone, together = here.encoder.encode([long], "query"), here.encoder.encode([short, long, short], "query")
    np.testing.assert_array_equal(alone[0], together[1])
    np.testing.assert_array_equal(together[0], together[2])


def test_room_is_given_to_a_whole_request_or_not_at_all(crowd):
    here = crowd(queries=(20, 8))
    here.hold()
    first = here.ask([words(9)])  # 10 tokens
    refused = here.ask([words(4), words(5)])  # 11: the first text would have had room
    assert here.batcher.waiting["query"] == 10
    fits = here.ask([words(4), words(4)])
    with pytest.raises(Refusal, match="no room for more") as error:
        refused.result(10)
    assert (error.value.status, error.value.kind) == (429, "Busy")
    assert 1 <= int(error.value.headers["retry-after"]) <= 60
    here.release()
    assert len(first.result(10)) == 1
    assert len(fits.result(10)) == 2
    assert here.batcher.waiting == {"query": 0, "passage": 0}
    assert len(here.encoder.encode([words(19)], "query")) == 1  # there is room again


def test_more_than_the_room_is_read_when_nothing_else_waits(crowd):
    here = crowd(queries=(20, 8))
    assert len(here.encoder.encode([words(30), words(30)], "query")) == 2


def test_documents_take_no_room_from_queries(crowd):
    here = crowd(documents=(50, 10))
    here.hold()
    long = here.ask([words(40)], "passage")
    query = here.ask(["query"])
    here.release()
    assert len(query.result(10)) == 1
    assert len(long.result(10)) == 1


def test_what_a_gone_caller_asked_is_dropped(crowd):
    here = crowd(queries=(20, 4))
    here.hold()
    caller = Caller()
    dropped = here.ask([words(9), words(7)], caller=caller)
    kept = here.ask(["kept"])
    caller.leave()
    with pytest.raises(Refusal, match="went away"):
        dropped.result(10)
    assert here.batcher.waiting["query"] == 2
    with pytest.raises(Refusal, match="went away"):
        here.ask(["late"], caller=caller).result(10)
    here.release()
    kept.result(10)
    assert here.backend.batches == [["kept"]]


def test_nobody_gets_the_error_of_another(crowd):
    here = crowd()
    here.hold()
    good, bad, fine = here.ask(["good"]), here.ask(["bad"]), here.ask(["fine"])
    here.release()
    with pytest.raises(ModelError):
        bad.result(10)
    np.testing.assert_array_equal(good.result(10), HashEncoder().encode(["good"]))
    np.testing.assert_array_equal(fine.result(10), HashEncoder().encode(["fine"]))


def test_at_the_end_those_who_wait_are_told(crowd):
    here = crowd()
    here.hold()
    waits = here.ask(["waits"])
    closing, until = here.pool.submit(here.batcher.close), time.monotonic() + 20
    while not here.batcher._closed and time.monotonic() < until:
        time.sleep(0.001)
    here.release()
    closing.result(10)
    with pytest.raises(Refusal, match="the server stops"):
        waits.result(10)
    with pytest.raises(Refusal, match="the server stops"):
        here.encoder.encode(["late"])


def test_an_encoder_that_does_not_promise_equal_bits_gets_its_texts_one_by_one():
    backend = Watched(exact=False)
    with Batcher() as batcher:
        BatchingEncoder(backend, batcher).encode(["a", "b c", "d"])
    assert sorted(backend.batches) == [["a"], ["b c"], ["d"]]


@pytest.mark.parametrize(("family", "pooling"), [("llama", "last"), ("bert", "mean"), ("llama", "mean")])
def test_a_vector_has_the_same_bits_alone_in_a_batch_and_under_load(tmp_path: Path, family: str, pooling: str):
    spec = EncoderSpec.from_dict({"model": str(make(family, tmp_path)), "precision": "fp32", "pooling": pooling})
    alone, backend = open_encoder(spec, device="cpu"), open_encoder(spec, device="cpu")
    texts = [f"the man {i} " + "walks along the street " * (i % 5) for i in range(24)]
    wanted = np.concatenate([alone.encode([text], "query") for text in texts])
    with Batcher(queries=(10_000, 64)) as batcher, ThreadPoolExecutor(12) as pool:
        encoder = BatchingEncoder(backend, batcher)
        np.testing.assert_array_equal(encoder.encode(texts, "query"), wanted)
        documents = pool.submit(encoder.encode, texts * 2, "passage")
        under_load = list(pool.map(lambda text: encoder.encode([text], "query")[0], texts))
        np.testing.assert_array_equal(np.stack(under_load), wanted)
        np.testing.assert_array_equal(documents.result(60)[: len(texts)], wanted)


def test_every_verb_gives_what_the_backend_gives():
    backend, texts = HashEncoder(), ["a boat", "a bay", "bread and a boat"]
    with Batcher() as batcher:
        encoder = BatchingEncoder(backend, batcher)
        np.testing.assert_array_equal(encoder.encode(texts, "query", False), backend.encode(texts, "query", False))
        assert encoder.encode([]).shape == (0, 64)
        assert encoder.terms(texts, 2) == backend.terms(texts, 2)
        states = backend.encode(texts, normalize=False)
        assert encoder.terms(texts, 2, "query", states) == backend.terms(texts, 2)
        vectors, terms = encoder.encode_terms(texts, max_terms=2)
        assert terms == backend.encode_terms(texts, max_terms=2)[1]
        np.testing.assert_array_equal(vectors, backend.encode(texts))
        many = [f"text {i}" for i in range(300)]
        rows, found = zip(*encoder.encode_batches(many), strict=True)
        np.testing.assert_array_equal(np.concatenate(rows), np.arange(300))
        np.testing.assert_array_equal(np.concatenate(found), backend.encode(many))
        assert [each for batch in encoder.term_batches(many) for each in batch[2]] == backend.encode_terms(many)[1]
        np.testing.assert_array_equal(encoder.count_tokens(texts), [2, 2, 4])
        assert len(encoder.token_vectors(texts)) == 3
