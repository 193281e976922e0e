"""Next tokens and sparse terms against plain transformers and peft forwards, written here."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from indexer.embedding import open_encoder
from indexer.embedding.forward.vocabulary import STOP_WORDS
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import PROMPTEOL, EncoderSpec
from indexer.errors import ModelError

Tiny = Callable[[str], Path]
TEXTS = [
    "A man is RIDING a horse in the park",
    "Two dogs; the beach, and dogs again",
    "...",
    "",
    "of the",
    "xylo 42 été",
]


def spec(base: Path, **fields: object) -> EncoderSpec:
    return EncoderSpec.from_dict({"model": str(base), "precision": "fp32", "normalise": False, **fields})


def adapter(base: Path, folder: Path, modules: list[str], causal: bool = True, **options: object) -> Path:
    """What peft writes after training the model, its matrices random."""
    model = (AutoModelForCausalLM if causal else AutoModel).from_pretrained(base)
    wrapped = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=modules, **options))
    torch.manual_seed(1)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data = parameter.data + torch.randn_like(parameter) * 0.2
    wrapped.save_pretrained(folder)
    return folder


def logits(base: Path, text: str, adapter: Path | None = None, causal: bool = True) -> torch.Tensor:
    """(v,) after the prompt of one text."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if adapter is not None:
        wrapped = PeftModel.from_pretrained(model if causal else model.model, adapter)
        model = wrapped if causal else model  # the body now holds the adapter
    ids = AutoTokenizer.from_pretrained(base)(PROMPTEOL.replace("{text}", text), return_tensors="pt").input_ids
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits[0, -1]


def same_terms(got: list[tuple[str, float]], base: Path, expected: torch.Tensor) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    weights, best = expected.softmax(0).topk(len(got))
    np.testing.assert_allclose([weight for _, weight in got], weights.numpy(), rtol=2e-3)
    assert [term for term, _ in got] == [tokenizer.decode([i]) for i in best.tolist()]


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("causal", [True, False], ids=["with model.", "without"])
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_terms_with_an_adapter(tiny: Tiny, tmp_path: Path, family: str, causal: bool, merge: bool) -> None:
    base = tiny(family)
    folder = adapter(base, tmp_path, ["q_proj", "v_proj"], causal)
    opened = open_encoder(spec(base, adapter=str(folder), merge_adapter=merge))
    expected = logits(base, TEXTS[0], folder, causal)
    assert (expected - logits(base, TEXTS[0])).abs().max() > 0.01
    same_terms(opened.terms(TEXTS, 5)[0], base, expected)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("how", ["lora", "whole"])
@pytest.mark.parametrize("family", ["llama", "opt", "qwen3"])  # tied, tied, a head of its own
def test_terms_with_an_adapted_head(tiny: Tiny, tmp_path: Path, family: str, how: str, merge: bool) -> None:
    base = tiny(family)
    if how == "lora":
        folder = adapter(base, tmp_path, ["q_proj", "lm_head"])
    else:
        folder = adapter(base, tmp_path, ["q_proj"], modules_to_save=["lm_head"])
    opened = open_encoder(spec(base, adapter=str(folder), merge_adapter=merge))
    same_terms(opened.terms(TEXTS, 5)[0], base, logits(base, TEXTS[0], folder))


def test_an_adapter_of_the_embeddings_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = adapter(tiny("llama"), tmp_path, ["q_proj", "embed_tokens"])
    for merge in (True, False):
        with pytest.raises(ModelError, match="only LoRA of linear layers and the LM head"):
            open_encoder(spec(tiny("llama"), adapter=str(folder), merge_adapter=merge))


def expected_terms(base: Path, text: str, logits: torch.Tensor) -> dict[str, int]:
    """Word → weight, from the definition: over the whole vocabulary, spelling by spelling."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    spelt = [tokenizer.decode([i]).strip().lower() for i in range(len(logits))]
    words = {w for w in re.findall(r"[a-z0-9à-ÿ]+", text.lower()) if w not in STOP_WORDS}
    own = {w for w in words if w in spelt}
    for word in words - own:
        own |= {spelt[i] for i in tokenizer(word, add_special_tokens=False).input_ids}
    own = {w for w in own if w.isalnum() and w not in STOP_WORDS}
    best: dict[str, float] = {}
    for word, logit in zip(spelt, logits.tolist(), strict=True):
        if word in own if own else word.isalnum() and word not in STOP_WORDS:
            best[word] = max(best.get(word, -1e9), logit)
    weights = {w: round(100 * np.log1p(max(0.0, x))) for w, x in best.items()}
    kept = sorted((w for w in weights if weights[w] > 0), key=lambda w: -weights[w])
    return {w: weights[w] for w in (kept if own else kept[:10])}


@pytest.mark.parametrize("family", ["llama", "opt", "qwen3"])
def test_sparse_terms_are_those_of_the_definition(tiny: Tiny, family: str) -> None:
    base = tiny(family)
    opened = open_encoder(spec(base))
    vectors, terms = opened.encode_terms([*TEXTS, TEXTS[0]])
    np.testing.assert_array_equal(terms[-1], terms[0])
    np.testing.assert_allclose(vectors, opened.encode([*TEXTS, TEXTS[0]]), atol=1e-6)
    tokenizer = AutoTokenizer.from_pretrained(base)
    some = 0
    for text, got in zip(TEXTS, terms, strict=False):
        expected = expected_terms(base, text, logits(base, text))
        assert list(got.values()) == sorted(got.values(), reverse=True)
        spelt = {tokenizer.decode([i]).strip().lower(): weight for i, weight in got.items()}
        assert spelt.keys() == expected.keys()
        assert all(abs(spelt[word] - expected[word]) <= 1 for word in spelt)  # rounding
        some += len(got)
    assert some > 20


def test_at_most_so_many_terms_the_heaviest(tiny: Tiny) -> None:
    opened = open_encoder(spec(tiny("llama")))
    _, whole = opened.encode_terms(TEXTS)
    _, few = opened.encode_terms(TEXTS, max_terms=2)
    assert [list(terms.items())[:2] for terms in whole] == [list(terms.items()) for terms in few]
    assert opened.encode_terms([])[1] == []


def test_sparse_terms_of_a_query_follow_its_prompt(tiny: Tiny) -> None:
    opened = open_encoder(spec(tiny("llama"), query_template='"{text}" :'))
    as_passage, as_query = opened.encode_terms(TEXTS[:1]), opened.encode_terms(TEXTS[:1], role="query")
    assert as_passage[1] != as_query[1]
    np.testing.assert_allclose(as_query[0], opened.encode(TEXTS[:1], role="query"), atol=1e-6)


def test_encoders_without_a_next_token_have_no_sparse_terms(tiny: Tiny) -> None:
    with pytest.raises(ModelError, match="use pooling last"):
        open_encoder(spec(tiny("llama"), pooling="mean")).encode_terms(["a"])
    with pytest.raises(ModelError, match="no terms"):
        open_encoder(spec(tiny("bert"), pooling="last")).encode_terms(["a"])


def test_the_hash_encoder_weighs_words() -> None:
    encoder = HashEncoder()
    vectors, (both, one, none) = encoder.encode_terms(["Fox fox bird", "fox", ""])
    assert sorted(both.values()) == [69, 110]
    assert set(one) < set(both)
    assert none == {}
    np.testing.assert_array_equal(vectors, encoder.encode(["Fox fox bird", "fox", ""]))


def test_words_of_a_state_are_those_of_its_text_without_another_pass(tiny_llama):
    encoder = open_encoder(spec(tiny_llama))
    texts = ["a red fox", "the old bird in a tree"]
    expected = encoder.terms(texts, 5, "query")
    states = encoder.encode(texts, "query", normalize=False)
    before = encoder.stats.tokens
    found = encoder.terms(texts, 5, "query", states)
    assert encoder.stats.tokens == before
    for ours, theirs in zip(found, expected, strict=True):
        assert [word for word, _ in ours] == [word for word, _ in theirs]
        np.testing.assert_allclose([p for _, p in ours], [p for _, p in theirs], rtol=1e-4)
    with_terms, _ = encoder.encode_terms(texts, "query", normalize=False)
    np.testing.assert_allclose(with_terms, states, atol=1e-5)
