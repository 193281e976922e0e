"""The command line with language models: tiny random ones, and the real default model."""

import gzip
import importlib.util
import json
import os
import shutil

import numpy as np
import pytest

from indexer import embedding
from indexer.embedding.spec import EncoderSpec
from tests.conftest import ROOT


@pytest.fixture
def model(tiny_llama, tmp_path):
    """A copy of the tiny model that a test may change."""
    return shutil.copytree(tiny_llama, tmp_path / "model")


def change_weights(folder):
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "q_proj" in name)
    save_file({**tensors, name: tensors[name] + 0.01}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("family", ["tiny_llama", "tiny_opt"])
def test_a_folder_is_a_model(family, request, run, corpus):
    folder = request.getfixturevalue(family)
    assert run("index", "--model", folder, "--precision", "fp32", corpus).code == 0
    [hit] = run("query", "--json", "-k", 1, "--mode", "dense", "The knight forks king and rook.").json
    assert hit["path"].endswith("chess.txt")
    assert hit["score"] == pytest.approx(1.0, abs=1e-3)  # stored as fp16
    spec = run("status", "--json").json[0]["encoder"]
    assert (spec["model"], spec["precision"]) == (str(folder), "fp32")


def test_changed_weights_are_refused_by_query_and_index(model, run, corpus):
    assert run("index", "--model", model, "--precision", "fp32", corpus).code == 0
    change_weights(model)
    for command in (["query", "boat"], ["index", str(corpus)]):
        result = run(*command, "--json")
        assert result.code == 3
        assert "weights: index" in json.loads(result.err)["error"]["message"]
    assert run("query", "--mode", "lexical", "--json", "boat").code == 0  # words need no model


def test_a_moved_model_is_the_same_model(model, run, corpus):
    assert run("index", "--model", model, "--precision", "fp32", corpus).code == 0
    moved = model.rename(model.with_name("moved"))
    assert run("query", "--model", moved, "--json", "boat").code == 0


def test_each_part_of_the_fingerprint_is_checked(model, run, corpus):
    assert run("index", "--model", model, "--precision", "fp32", corpus).code == 0
    for options in (
        ["--template", "{text}"],
        ["--pooling", "mean"],
        ["--layers", "1"],
        ["--max-tokens", "64"],
        ["--dimensions", "4"],
    ):
        assert run("query", "--json", *options, "boat").code == 3
    result = run("query", "--json", "--precision", "bf16", "boat")
    assert result.code == 0
    assert "bf16" in result.err


def test_embed_gives_the_encoders_vectors(model, run):
    text = 'He said "hi"?'
    spec = EncoderSpec(model=str(model), precision="fp32")
    encoder = embedding.open_encoder(embedding.resolve(spec))
    [line] = run("embed", "--model", model, "--precision", "fp32", input=text + "\n").out.splitlines()
    np.testing.assert_allclose(json.loads(line)["embedding"], encoder.encode([text])[0], atol=1e-6)
    [raw] = run("embed", "--model", model, "--precision", "fp32", "--raw", input=text + "\n").out.splitlines()
    bare = EncoderSpec(model=str(model), precision="fp32", template="{text}", normalize_text=False)
    expected = embedding.open_encoder(embedding.resolve(bare)).encode([text])[0]
    np.testing.assert_allclose(json.loads(raw)["embedding"], expected, atol=1e-6)


def test_a_collection_of_shorter_vectors(model, run, corpus):
    """They are what is kept and searched; no run after the first has to say so."""
    assert run("index", "--model", model, "--precision", "fp32", "--dimensions", 7, corpus).code == 0
    first = run("query", "--mode", "dense", "--json", "boat").json
    assert run("index", corpus).code == 0
    assert run("query", "--mode", "dense", "--dimensions", 7, "--json", "boat").json == first
    [line] = run("embed", "--model", model, "--precision", "fp32", "--dimensions", 7, input="boat\n").out.splitlines()
    assert len(json.loads(line)["embedding"]) == 7
    result = run("embed", "--model", model, "--dimensions", 7000, input="boat\n")
    assert result.code == 2
    assert "dimensions is 7000" in result.err


def test_a_model_that_is_not_there(run, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in (tmp_path / "nowhere", "nobody/has-this-model"):
        result = run("index", "--model", name, "--json", corpus)
        assert result.code == 2
        assert json.loads(result.err)["error"]["kind"] == "ModelError"
    assert run("status", "--json").json == []


@pytest.mark.model
def test_the_default_model_finds_meaning_where_no_word_is_shared(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    texts = {
        "a.txt": "The physician examined the patient and prescribed antibiotics.",
        "b.txt": "Stock prices fell sharply after the central bank raised rates.",
        "c.txt": "The striker scored twice in the final minutes of the match.",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert run("index", tmp_path).code == 0
    for query, name in {"a doctor treats someone who is ill": "a.txt", "soccer game won late": "c.txt"}.items():
        [hit] = run("query", "--json", "-k", 1, "--mode", "dense", query).json
        assert os.path.basename(hit["path"]) == name


@pytest.mark.model
def test_reindexing_cranfield_embeds_exactly_what_changed(shared_data, tmp_path):
    spec = importlib.util.spec_from_file_location("reindex", ROOT / "scripts" / "bench" / "bench_reindex.py")
    reindex = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reindex)
    with gzip.open(shared_data / "retrieval" / "cranfield" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:33]
    result = reindex.check(tmp_path, rows, [])
    assert result["exact"], json.dumps(result, indent=1)
    assert [step["files"]["changed"] for step in result["steps"]] == [0, 0, 10, 0, 0]
    assert [step["files"]["deleted"] for step in result["steps"]] == [0, 0, 0, 10, 0]
    assert result["steps"][4]["files"]["moved"] == 2
