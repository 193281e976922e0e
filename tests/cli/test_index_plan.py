"""semsearch index --index-plan and --index-recall, and what status and doctor say of the index."""

import json

import pytest


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("SEMSEARCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def many(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(60):
        (folder / f"{n}.txt").write_text(f"Note {n} speaks of thing {n % 7} and of place {n % 11}.")
    return folder


def the(run) -> dict:
    (found,) = json.loads(run("status", "--json").out)
    return found["index"]


def test_status_shows_the_plan_and_what_was_measured(run, index, home, many):
    assert index(many).code == 0
    found = the(run)
    assert (found["plan"], found["rows"], found["sampled"], found["recall"], found["asked"]) == (
        "SQfp16", 60, 60, 1.0, 0.95)  # fmt: skip
    line = next(line for line in run("status").out.splitlines() if line.startswith("  index "))
    assert "SQfp16 of 60 passages, recall@10 1.000 on 60 sampled passages (asked for 0.95): " in line


def test_a_plan_by_name(run, index, home, many):
    assert index("--index-plan", "HNSW8,SQ8", "--index-recall", "0.9", many).code == 0
    found = the(run)
    assert (found["plan"], found["asked"], found["why"]) == ("HNSW8,SQ8", 0.9, "asked for by name")
    assert found["recall"] >= 0.9
    assert found["search"].keys() == {"efSearch", "refine"}
    assert index(many).code == 0
    assert the(run) == found  # it is remembered
    assert run("query", "--mode", "dense", "note 7 of thing").code == 0
    assert index("--index-plan", "auto", many).code == 0
    assert the(run)["plan"] == "SQfp16"


def test_it_is_told_before_it_is_built_and_after(run, index, home, many):
    said = run("-v", "index", "--model", "hash:64", "--index-plan", "HNSW8,SQ8", many).err
    before, after = said.index("index: building HNSW8,SQ8 of 60 passages, about"), said.index("recall@10")
    assert before < after


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--index-plan", "magic"], "index plan 'magic' is not known; it is auto or a factory of FAISS: Flat, SQfp16"),
        (["--index-plan", "RR576,IVF4,RaBitQfs4"], "turns 576 dimensions; the vectors have 64: RR64"),
        (["--index-recall", "2"], "0<x<=1"),
    ],
)
def test_a_bad_plan_makes_nothing(run, index, home, many, options, said):
    result = index(*options, many)
    assert result.code == 2
    assert said in result.err
    assert not (home / "default" / "manifest.json").exists()


def test_a_bad_plan_changes_nothing(run, index, home, many):
    index(many)
    before = (home / "default/manifest.json").read_text()
    assert index("--index-plan", "RR8,IVF4,RaBitQfs4", many).code == 2
    assert (home / "default/manifest.json").read_text() == before


def test_doctor_tells_what_it_measured(run, index, home, many):
    index(many)
    assert "recall@10 1.000 on 60 sampled passages" in run("doctor").err
