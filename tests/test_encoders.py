"""Which encoder a name or a set of flags means."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import semsearch
from indexer import embedding
from indexer.embedding import precision
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.prompts import presets
from indexer.embedding.spec import DEFAULT_MODEL, EncoderSpec
from indexer.errors import ConfigError, MismatchError, ModelError, UsageError
from semsearch import encoders
from semsearch.encoders import NOTHING, EncoderOverrides
from semsearch.settings import Settings


def test_a_name_may_name_any_kind_of_encoder(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('model = "hash:32"\ntemplate = "about: {text}"\n')
    adapter = tmp_path / "run"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "encoder.json").write_text(json.dumps({"model": DEFAULT_MODEL, "template": "{text} is", "layers": 3}))

    assert encoders.named("none") == EncoderSpec()
    assert encoders.named("minilm") == presets.presets()["minilm"]
    assert encoders.named(str(file)) == EncoderSpec(model="hash:32", template="about: {text}")
    assert encoders.named("hash:64") == EncoderSpec(model="hash:64")
    assert encoders.named(str(adapter)) == EncoderSpec(adapter=str(adapter), template="{text} is", layers=3)
    shipped = encoders.named("default")
    assert (shipped.model, shipped.adapter) == (DEFAULT_MODEL, "default")
    assert shipped.template != EncoderSpec().template


def test_a_file_that_describes_no_encoder_is_named(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ConfigError, match=r"broken\.json"):
        encoders.named(str(broken))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"modle": "x"},
            r"no encoder option 'modle'; did you mean 'model'\? options are model, .*batch_tokens",
        ),
        (
            {"pooling": "maen"},
            r"pooling is 'maen'; did you mean 'mean'\? it is one of last, mean, cls",
        ),
        ({"precision": "int4"}, r"precision is 'int4'; .*it is one of fp32, bf16, fp16, int8, nf4"),
        ({"layers": 0}, "layers is 0; it is a whole number from 1 up"),
        ({"max_tokens": "many"}, "max_tokens is 'many'; it is a whole number from 1 up"),
        ({"model": 3}, "model is 3; it is text"),
    ],
)
def test_overrides_that_cannot_be_meant(values, message):
    with pytest.raises(UsageError, match=message):
        EncoderOverrides.from_dict(values)


def test_only_what_decides_the_vectors_is_given():
    assert NOTHING.given == {}
    assert EncoderOverrides(device="cpu", batch_tokens=8, layers=2).given == {"layers": 2}


def test_overrides_stand_above_settings_and_an_adapters_description_below_both():
    settings = Settings(adapter="fast", max_tokens=64)
    chosen = encoders.choose(settings, EncoderOverrides(template="{text}", max_tokens=32))
    assert (chosen.adapter, chosen.template, chosen.max_tokens) == ("fast", "{text}", 32)
    assert encoders.choose(settings, EncoderOverrides(adapter="none")).adapter is None


def test_many_texts_are_embedded_in_int8_by_the_default_encoder_where_there_is_vnni(monkeypatch):
    monkeypatch.setattr("torch.cpu._is_vnni_supported", lambda: True)
    default = encoders.choose(Settings(), NOTHING)
    for spec in (default, encoders.named("default"), replace(default, dimensions=128), embedding.resolve(default)):
        assert encoders.in_bulk(spec, "cpu") == replace(spec, precision="int8")
    others = (encoders.named("fast"), EncoderSpec(), replace(default, layers=20), replace(default, precision="fp32"))
    for spec in others:
        assert encoders.in_bulk(spec, "cpu") is spec
    monkeypatch.setattr("torch.cpu._is_vnni_supported", lambda: False)
    assert encoders.in_bulk(default, "cpu") is default


def test_a_precision_that_a_device_lacks_gives_way_to_one_it_has():
    mps, cpu = torch.device("mps"), torch.device("cpu")
    for name in ("fp32", "bf16", "int8"):
        assert precision.nearest(EncoderSpec(precision=name), mps).precision == "fp32"
    assert precision.nearest(EncoderSpec(precision="fp16"), cpu).precision == precision.default(cpu)
    nf4, own = EncoderSpec(precision="nf4"), EncoderSpec()
    assert precision.nearest(nf4, mps) is nf4  # its vectors are too far from those of others
    assert precision.nearest(own, mps) is own


@pytest.mark.parametrize("adapter", [None, "default"])
def test_a_hash_encoder_for_the_index_of_a_model_is_a_mismatch(tiny_llama, adapter):
    spec = EncoderSpec(model=str(tiny_llama)) if adapter is None else encoders.named("default")
    made_by = embedding.resolve(spec)
    with pytest.raises(MismatchError, match=r"(?s)weights: index '.*', asked for 'hash-1:8'.*mend it"):
        encoders.confirm(made_by, EncoderOverrides(model="hash:8"), "mend it")
    with pytest.raises(ModelError, match="hash:8 has no model that the adapter 'default' could change"):
        encoders.confirm(made_by, EncoderOverrides(model="hash:8", adapter="default"), "mend it")


def test_one_text_or_many_as_numbers_for_people(tiny_llama: Path):
    encoder = semsearch.Encoder.load(str(tiny_llama), precision="fp32", device="cpu")
    texts = ["a man", "two dogs run", "a man"]
    many = encoder.encode_passages(texts)
    assert (many.shape, many.dtype) == ((3, encoder.dim), np.float32)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_passages("two dogs run"), many[1], atol=1e-5)
    assert encoder.encode_query("a man").shape == (encoder.dim,)
    assert encoder.encode([]).shape == (0, encoder.dim)
    assert encoder.count_tokens(texts).tolist() == [encoder.count_tokens(text) for text in texts]
    assert encoder.fingerprint == encoder.spec.fingerprint == embedding.resolve(encoder.spec).fingerprint
    assert (encoder.spec.precision, encoder.device) == ("fp32", "cpu")


def test_queries_and_passages_have_prompts_of_their_own(tiny_llama: Path):
    spec = EncoderSpec(model=str(tiny_llama), query_template="Query: {text} is", precision="fp32")
    encoder, backend = semsearch.Encoder.load(spec), embedding.open_encoder(spec)
    np.testing.assert_allclose(encoder.encode_query(["a"]), backend.encode(["a"], "query"), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_passages(["a"]), backend.encode(["a"], "passage"), atol=1e-6)
    assert np.abs(encoder.encode_query("a") - encoder.encode_passages("a")).max() > 0.01


def test_an_encoder_says_what_it_cannot_mean():
    encoder = semsearch.Encoder.load("hash:8")
    with pytest.raises(UsageError, match="role is 'querry'; it is one of passage, query"):
        encoder.encode("a", "querry")
    with pytest.raises(UsageError, match="text 1 is of type int; a text is str"):
        encoder.encode_passages(["a", 3])
    with pytest.raises(UsageError, match="precision is 'bf17'; did you mean 'bf16'"):
        semsearch.Encoder.load(precision="bf17")


def test_the_encoder_of_people_is_that_of_the_index(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.txt").write_text("A man is riding a horse.")
    monkeypatch.setenv("SEMSEARCH_MODEL", str(tiny_llama))
    monkeypatch.setenv("SEMSEARCH_PRECISION", "fp32")
    with semsearch.Collection(create=True) as docs:
        docs.index([tmp_path / "a.txt"])
        assert semsearch.Encoder.load().spec == docs.spec


def test_without_settings_it_is_the_one_with_the_default_adapter(monkeypatch: pytest.MonkeyPatch):
    opened = []
    monkeypatch.setattr(embedding, "open_encoder", lambda spec, **_: opened.append(spec) or HashEncoder())
    semsearch.Encoder.load()
    assert opened == [embedding.resolve(encoders.choose(Settings(), NOTHING))]
    assert opened[0].adapter == "default"
