"""An exact encoder: a text's vector has the same bits alone, in any batch, on one core or several, after any other."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from indexer.embedding import open_encoder
from indexer.embedding.forward.both_ways import BothWaysForward
from indexer.embedding.forward.linear import Dense, steady
from indexer.embedding.forward.plain import PlainForward
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.hf_encoder import HFEncoder
from indexer.embedding.prompts.prompt import PromptTemplate
from indexer.embedding.spec import EncoderSpec

Tiny = Callable[[str], Path]
WORDS = "the man walks his dogs along a street and sees two horses on the market".split()
TEXTS = [
    "",
    "a",
    '"quoted',
    "...",
    *(" ".join((WORDS * 9)[i : i + n]) for n in (1, 2, 2, 3, 7, 7, 7, 40, 90) for i in (0, 3)),
]
"""Lengths that occur once and several times; texts that may run into the template's quotation mark."""
DEMONSTRATED = {"demonstrations": [["A jockey riding a horse.", "Equestrian"]]}


@pytest.fixture(params=["AVX2", "AVX512"], autouse=True)
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The layers that a processor with these instructions gets."""
    if request.param == "AVX2" != torch.backends.cpu.get_cpu_capability():
        pytest.skip("MKL has other products here than with AVX2")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    steady.cache_clear()
    yield
    steady.cache_clear()


def exact(folder: Path, **fields: object) -> HFEncoder:
    if steady(torch.float32) is Dense:
        pytest.skip("the machine has no products that keep a row's bits")
    made = open_encoder(EncoderSpec.from_dict({"model": str(folder), "precision": "fp32", **fields}), device="cpu")
    assert isinstance(made, HFEncoder)
    assert made.exact
    return made


MEAN, CLS = {"pooling": "mean", "template": "{text}"}, {"pooling": "cls"}


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("llama", {}),
        ("llama", DEMONSTRATED),
        ("opt", {}),
        ("opt", DEMONSTRATED),
        ("bert", MEAN),
        ("bert", CLS),
        ("roberta", MEAN),
    ],
)
def test_alone_and_in_any_batch(tiny: Tiny, family: str, fields: dict) -> None:
    folder = tiny(family)
    encoder = exact(folder, **fields)
    first = exact(folder, **fields).encode([TEXTS[-1]])
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], together)
    np.testing.assert_array_equal(encoder.encode(TEXTS[3:9]), together[3:9])
    np.testing.assert_array_equal(first, together[-1:])
    small = HFEncoder(encoder.spec, device="cpu", batch_tokens=64, workers=2)
    np.testing.assert_array_equal(small.encode(TEXTS), together)


@pytest.mark.parametrize(("family", "fields"), [("llama", {}), ("opt", DEMONSTRATED), ("bert", MEAN)])
def test_few_batches_that_workers_share_out(tiny: Tiny, family: str, fields: dict) -> None:
    spec = exact(tiny(family), **fields).spec
    texts = [f"{i} {' '.join(WORDS[: i % 11])}" for i in range(60)]
    one, *several = (HFEncoder(spec, device="cpu", batch_tokens=2048, workers=n) for n in (1, 2, 3))
    several += [HFEncoder(spec, device="cpu", batch_tokens=500, workers=2)]
    together = one.encode(texts)
    for encoder in several:
        np.testing.assert_array_equal(encoder.encode(texts), together)
        assert encoder.stats.tokens == one.stats.tokens


def test_texts_that_begin_alike_leave_no_trace(tiny: Tiny) -> None:
    """A beginning that several texts share is not kept and used for a later one."""
    encoder = exact(tiny("llama"))
    [before] = encoder.encode(["the man walks his dogs home"])
    encoder.encode([f"the man walks his dogs along {word} street and sees two horses" for word in WORDS * 8])
    np.testing.assert_array_equal(encoder.encode(["the man walks his dogs home"])[0], before)


def test_who_does_not_promise_it(tiny: Tiny) -> None:
    assert HashEncoder().exact
    spec = EncoderSpec.from_dict({"model": str(tiny("llama")), "precision": "fp32", "pooling": "mean"})
    assert not open_encoder(spec, device="cpu").exact


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_packed_and_padded_forward_agree(tiny: Tiny, family: str, pooling: str) -> None:
    encoder = exact(tiny(family), pooling=pooling)
    assert isinstance(encoder._forward(pooling), BothWaysForward)
    ids = encoder.tokens.prompts(PromptTemplate.of(encoder.spec), TEXTS, 128).ids
    padded = PlainForward(encoder._model, pooling, encoder.tokens)(ids)
    np.testing.assert_allclose(encoder._forward(pooling)(ids), padded, atol=2e-6, rtol=1e-5)


@pytest.mark.model
def test_the_default_model() -> None:
    import semsearch

    encoder = semsearch.Encoder.load(device="cpu", precision="fp32").backend
    assert encoder.exact
    texts = ["how long should bread rise?", "ships at sea", "ships at bay", "ships at port", "a", "b", TEXTS[-1]]
    first = encoder.encode([texts[0]], "query")
    together = encoder.encode(texts, "query")
    np.testing.assert_array_equal(first, together[:1])
    np.testing.assert_array_equal(np.concatenate([encoder.encode([text], "query") for text in texts]), together)
