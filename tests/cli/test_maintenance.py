"""semsearch doctor, compact, export and import, end to end."""

from pathlib import Path

import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.storage import open_store
from semsearch.search.asking.weights import Weights


@pytest.fixture
def collection(index, corpus, monkeypatch, tmp_path) -> Path:
    """The folder of a collection of the corpus."""
    monkeypatch.setenv("SEMSEARCH_HOME", str(tmp_path / "home"))
    assert index(corpus).code == 0
    return tmp_path / "home/default"


def test_doctor_on_a_healthy_collection(run, collection):
    result = run("doctor", "--json")
    assert (result.code, result.json) == (0, {"collection": "default", "healthy": True, "problems": []})
    assert run("doctor").out == "default is healthy\n"


def test_doctor_mends_and_says_so(run, collection):
    for path in collection.glob("*.faiss"):
        path.write_bytes(b"x")
    looked = run("doctor", "--json", "--check-only")
    assert [p["mended"] for p in looked.json["problems"]] == [False]
    result = run("doctor", "--json")
    assert (result.code, result.json["healthy"]) == (1, False)
    (problem,) = result.json["problems"]
    assert (problem["part"], problem["mended"]) == ("index", True)
    assert run("doctor").code == 0


def test_doctor_says_what_it_cannot_mend(run, collection):
    (collection / "catalog.sqlite").write_bytes(b"nonsense")
    result = run("doctor")
    assert result.code == 1
    assert "not mended: restore" in result.out


def test_doctor_finds_another_models_vectors(run, collection, index, corpus, monkeypatch):
    encode = HashEncoder.encode
    with monkeypatch.context() as other:
        other.setattr(HashEncoder, "encode", lambda self, *arguments, **keywords: -encode(self, *arguments, **keywords))
        assert index("-c", "other", corpus).code == 0
    monkeypatch.setenv("SEMSEARCH_COLLECTION", "other")
    result = run("doctor")
    assert result.code == 1
    assert "another vector when embedded again" in result.out
    assert run("doctor", "--no-model").code == 0


def test_doctor_without_a_collection(run, tmp_path):
    assert run("doctor", "--home", tmp_path / "none").code == 2


def test_compact(run, collection, corpus):
    (corpus / "boats.txt").unlink()
    assert run("index").code == 0
    result = run("compact", "--json")
    assert (result.code, result.json["dropped"]) == (0, 1)
    assert run("compact", "--json").json["dropped"] == 0
    assert run("doctor").code == 0


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
def test_export_and_import(run, collection, corpus, tmp_path, form):
    Weights(dense=0.7, lexical=0.3).save(open_store(collection))
    result = run("export", tmp_path / "out", "--format", form, "--json")
    assert (result.code, result.json["passages"]) == (0, 4)
    assert run("export", tmp_path / "out").code == 2
    assert run("import", tmp_path / "out").code == 2
    result = run("import", tmp_path / "out", "--collection", "copy", "--json")
    assert (result.code, result.json) == (0, {"collection": "copy", "passages": 4})
    here, there = run("query", "telescope", "--json").json, run("query", "telescope", "-c", "copy", "--json").json
    assert [(hit["path"], hit["score"]) for hit in here] == [(hit["path"], hit["score"]) for hit in there]
    assert Weights.of(open_store(collection.parent / "copy")) == Weights(dense=0.7, lexical=0.3)
    refreshed = run("index", "-c", "copy", "--json").json
    assert (refreshed["files"]["unchanged"], refreshed["passages"]["embedded"]) == (4, 0)
    assert run("doctor", "-c", "copy").code == 0


def test_import_of_something_else(run, tmp_path):
    result = run("import", tmp_path, "--collection", "new")
    assert result.code == 2
    assert "semsearch export" in result.err
