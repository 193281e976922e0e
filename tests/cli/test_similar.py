"""What ``semsearch similar`` answers. The search itself is tested in tests/search/test_searcher.py."""

import json
import os
import subprocess
import sys

import pytest


def test_a_file_and_a_line_of_it(index, run, corpus):
    (corpus / "ship:3").write_text("A sailing boat crosses the harbor.")
    index(corpus)
    hits = run("similar", "--json", "-k", 2, corpus / "boats.txt").json
    assert [hit["rank"] for hit in hits] == [1, 2]
    assert hits[0]["path"] == str(corpus / "ship:3")
    assert [json.loads(x) for x in run("similar", "--jsonl", "-k", 2, f"{corpus}/boats.txt:1").out.splitlines()] == hits
    assert run("similar", "--json", "-k", 1, corpus / "ship:3").json[0]["path"] == str(corpus / "boats.txt")
    assert "ship:3:1" in run("similar", corpus / "boats.txt").out
    assert run("similar", "--json", "--itself", "-k", 1, corpus / "boats.txt").json[0]["path"].endswith("boats.txt")


def test_paths_are_taken_from_the_working_folder(index, run, corpus, monkeypatch):
    index(corpus)
    monkeypatch.chdir(corpus)
    assert len(run("similar", "--json", "boats.txt").json) == 3


def test_records(index, run, corpus):
    (corpus / "rows.csv").write_text("id,text\n1,A boat sails\n2,A boat sails far\n3,Bread and butter\n")
    index(corpus)
    hits = run("similar", "--json", "--filter", "type=csv", f"{corpus}/rows.csv:3").json
    assert [hit["document"] for hit in hits] == ["1", "3"]


def test_options_of_a_query_are_options_here(index, run, corpus):
    index(corpus)
    boats = corpus / "boats.txt"
    assert len(run("similar", "--json", "-k", 9, "--filter", "type=md", boats).json) == 1
    why = run("similar", "--json", "-k", 1, "--explain", boats).json[0]["explanation"]
    assert set(why["scores"]) == {"dense"}
    assert why["query_means"]
    result = run("similar", "--json", "--min-confidence", 1, boats)
    assert (result.code, result.json, "nothing relevant" in result.err) == (1, [], True)
    assert run("similar", "-k", 0, boats).code == 2


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("boats.txt:99", "line 99"),
        ("nowhere.txt", "semsearch query"),
        ("C:\\boats.txt:2", "semsearch query"),
        (".", "is a folder"),
        ("", "the place is empty"),
        ("new.txt", "semsearch index new.txt"),
        (":1", "not in collection"),
        ("boats.txt:" + "9" * 9, "line 999999999"),
        ("boats.txt:" + "9" * 5000, "not in collection"),
        ("\udce9", "not in collection"),
    ],
)
def test_wrong_use(place, message, index, run, corpus, monkeypatch):
    index(corpus)
    (corpus / "new.txt").write_text("boat")
    monkeypatch.chdir(corpus)
    result = run("similar", "--json", place)
    assert (result.code, result.out) == (2, "")
    error = json.loads(result.err)["error"]
    assert error["kind"] == "UsageError"
    assert message in error["message"]


def test_no_model_is_loaded(index, corpus):
    index(corpus)
    code = (
        "import sys; from semsearch.cli import run; run(['similar', sys.argv[1], '--per-document', '1']); "
        "print(*sys.modules)"
    )
    boats = os.path.join(corpus, "boats.txt")
    out = subprocess.run([sys.executable, "-c", code, boats], capture_output=True, text=True, check=True).stdout
    assert "torch" not in out.split()
    assert "bread.md" in out
