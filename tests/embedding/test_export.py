"""Exports, loaded by sentence-transformers alone, against our encoder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from indexer.embedding import open_encoder
from indexer.embedding.sentence_transformers_export import export
from indexer.embedding.spec import EncoderSpec
from indexer.errors import ConfigError, ModelError
from tests.models import make_lora

Tiny = Callable[[str], Path]

TEXTS = [
    "A man is riding a horse",
    'Who said "no"?',
    "",
    "Stop.",
    "  spaces, \t tabs\nand lines ",
    "{{ braces }} {% if %} <b>&amp;</b> \\n",
    "naïve 日本 😀",
    "A MAN IS RIDING A HORSE IN İSTANBUL",
    "CAPITALS of THE SHARE",
    "A man is riding a horse",
]
BARE = {"template": "{text}", "normalise": False}


def both(spec: EncoderSpec, target: Path) -> tuple[SentenceTransformer, object]:
    export(spec, target)
    return SentenceTransformer(str(target), device="cpu"), open_encoder(spec, device="cpu")


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("llama", {}),
        ("opt", {}),
        ("opt-350m", {}),
        ("gpt2", {"normalise": False}),
        ("qwen3", {"template": '{text}\n"😀\\ {}" means', "demonstrations": [["A {{x}}", "B"]]}),
        ("gemma3", {"pooling": "mean"}),
        ("llama", {"layers": 2}),
        ("llama", {"dimensions": 7}),
        ("llama", {"layers": [0, 2]}),
        ("llama", {"capitals": "lower"}),
        ("opt", {"capitals": "lower", **BARE}),
        ("llama", {"pooling": "mean", **BARE}),
        ("bert", {"pooling": "cls", **BARE}),
        ("bert", {"pooling": "mean"}),
        ("roberta", {"pooling": "mean", **BARE}),
        ("t5", {"pooling": "mean", **BARE}),
    ],
)
def test_same_vectors(tiny: Tiny, tmp_path: Path, family: str, fields: dict) -> None:
    spec = EncoderSpec.from_dict({"model": str(tiny(family)), "precision": "fp32", **fields})
    theirs, ours = both(spec, tmp_path / "out")
    texts = [t for t in TEXTS if t or "template" not in fields]  # a bare empty text has no tokens
    np.testing.assert_allclose(theirs.encode(texts), ours.encode(texts), atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "opt", "bert"])
def test_truncation_keeps_the_suffix(tiny: Tiny, tmp_path: Path, family: str) -> None:
    spec = EncoderSpec(model=str(tiny(family)), precision="fp32", max_tokens=12, pooling="mean")
    theirs, _ = both(spec, tmp_path / "out")
    tokenizer = theirs.tokenizer
    whole = tokenizer.convert_ids_to_tokens(theirs.preprocess(["A man"])["input_ids"][0].tolist())
    cut = tokenizer.convert_ids_to_tokens(theirs.preprocess(["horse " * 50])["input_ids"][0].tolist())
    end = 6  # ." means in one word :"
    assert cut[-end:] == whole[-end:]
    assert len(cut) <= len(whole) + 12


def test_a_query_template(tiny: Tiny, tmp_path: Path) -> None:
    spec = EncoderSpec(model=str(tiny("llama")), precision="fp32", query_template="Query: {text} in one word:")
    theirs, ours = both(spec, tmp_path / "out")
    np.testing.assert_allclose(theirs.encode_query(TEXTS), ours.encode(TEXTS, "query"), atol=1e-5)
    np.testing.assert_allclose(theirs.encode_document(TEXTS), ours.encode(TEXTS, "passage"), atol=1e-5)


def test_an_adapter_is_merged(tiny: Tiny, tmp_path: Path) -> None:
    adapter = make_lora(tiny("llama"), tmp_path / "lora", ["q_proj", "down_proj"])
    spec = EncoderSpec(model=str(tiny("llama")), adapter=str(adapter), precision="fp32")
    theirs, ours = both(spec, tmp_path / "out")
    np.testing.assert_allclose(theirs.encode(TEXTS), ours.encode(TEXTS), atol=1e-5)


def test_bf16_weights_stay_bf16(tiny: Tiny, tmp_path: Path) -> None:
    export(EncoderSpec(model=str(tiny("llama")), precision="bf16"), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < 0.6 * (
        tiny("llama") / "model.safetensors"
    ).stat().st_size


def test_what_cannot_be_exported(tiny: Tiny, tmp_path: Path) -> None:
    for fields, message in (
        ({"model": str(tiny("bert")), "pooling": "first-last"}, "first-last has no counterpart"),
        ({"model": str(tiny("bert")), "precision": "nf4"}, "nf4 weights cannot be exported"),
        ({"model": str(tiny("bert")), "adapter": "x", "merge_adapter": False}, "keeps its adapter apart"),
    ):
        with pytest.raises(ModelError, match=message):
            export(EncoderSpec.from_dict(fields), tmp_path / "out")
    (tmp_path / "here").mkdir()
    with pytest.raises(ConfigError, match="here exists"):
        export(EncoderSpec(model=str(tiny("bert"))), tmp_path / "here")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["here"]
