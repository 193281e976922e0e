"""What ``semsearch query`` answers, in which form, and with which exit code."""

import json
import os
import subprocess
import sys

import pytest


def test_a_hit_has_the_documented_keys(index, run, corpus):
    index(corpus)
    hits = run("query", "--json", "-k", 2, "knead the dough").json
    assert len(hits) == 2
    assert [hit["rank"] for hit in hits] == [1, 2]
    best = hits[0]
    assert set(best) >= {"rank", "score", "path", "line_start", "line_end", "page", "text", "document", "passage"}
    assert best["path"] == str(corpus / "bread.md")
    assert (best["line_start"], best["line_end"], best["page"], best["document"]) == (1, 3, None, None)
    assert best["text"] == "# Bread\n\nKnead the dough, then let it rise."
    assert best["text"][slice(*best["highlight"])].startswith("Knead")


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_every_mode_finds_the_passage_with_the_words(mode, index, run, corpus):
    index(corpus)
    assert run("query", "--json", "--mode", mode, "distant galaxy").json[0]["path"].endswith("stars.txt")


def test_json_lines_and_terminal_show_the_same_hits(index, run, corpus):
    index(corpus)
    hits = run("query", "--json", "boat").json
    assert [json.loads(line) for line in run("query", "--jsonl", "boat").out.splitlines()] == hits
    text = run("query", "boat").out
    assert text.index("boats.txt:1") < text.index(f"{hits[1]['path']}:1")
    assert "A sailing boat crosses the bay." in text


def test_queries_from_standard_input(index, run, corpus):
    index(corpus)
    lines = run("query", "-", "--jsonl", input="boat\n\ngalaxy\n").out.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["query"] for answer in answers] == ["boat", "galaxy"]
    assert answers[1]["hits"] == run("query", "--json", "galaxy").json


def test_no_match(index, run, corpus):
    index(corpus)
    result = run("query", "--json", "--mode", "lexical", "zeppelin")
    assert (result.code, result.json) == (1, [])
    result = run("query", "--json", "--filter", "type=pdf", "boat")
    assert (result.code, result.json) == (1, [])


def test_filters_come_before_the_best_are_taken(index, run, corpus):
    index(corpus)
    [hit] = run("query", "--json", "-k", 1, "--filter", "type=md", "sailing boat bay").json
    assert hit["path"].endswith("bread.md")
    hits = run("query", "--json", "--filter", "path=*.txt", "bread dough").json
    assert {os.path.basename(hit["path"]) for hit in hits} == {"boats.txt", "stars.txt", "chess.txt"}
    os.utime(corpus / "stars.txt", (0, 0))
    index(corpus)
    [hit] = run("query", "--json", "--filter", "until=1980-01-01", "boat").json
    assert hit["path"].endswith("stars.txt")


@pytest.mark.parametrize("arguments", [["", "-k", 3], [" \t", "-k", 3], ["\0"], ["boat", "-k", 0], ["boat", "-k", -1]])
def test_wrong_use(arguments, index, run, corpus):
    index(corpus)
    result = run("query", "--json", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert json.loads(result.err)["error"]["exit_code"] == 2


def test_unknown_collection_says_what_to_run(run):
    result = run("query", "boat")
    assert result.code == 2
    assert "semsearch index FOLDER" in result.err
    assert "semsearch index --collection papers FOLDER" in run("query", "-c", "papers", "boat").err


def test_no_passages(index, run, corpus):
    index(corpus)
    run("remove", corpus)
    result = run("query", "boat")
    assert result.code == 2
    assert "no passages" in result.err


@pytest.mark.parametrize(
    "query",
    ["?!…", "word " * 10_000, "船が湾を渡る", '"boat" AND NOT (bay* OR NEAR(a b)) col:x', "bo\0at'; DROP TABLE x; --"],
)
def test_any_text_is_a_query(query, index, run, corpus):
    index(corpus)
    for mode in ("hybrid", "dense", "lexical"):
        result = run("query", "--json", "--mode", mode, query)
        assert result.code in (0, 1), result.err
        assert isinstance(result.json, list)


def test_another_encoder_is_refused(index, run, corpus):
    index(corpus)
    result = run("query", "--json", "--model", "hash:32", "boat")
    assert result.code == 3
    error = json.loads(result.err)["error"]
    assert error["kind"] == "MismatchError"
    assert "hash:64" in error["message"]
    assert "hash:32" in error["message"]
    assert run("query", "--model", "hash:64", "boat").code == 0


def test_precision(index, run, corpus):
    index(corpus)
    result = run("query", "--json", "--precision", "bf16", "boat")
    assert result.code == 0
    assert "bf16" in result.err
    assert run("query", "--precision", "int8", "boat").code == 3


def test_help_is_light():
    code = "import sys; from semsearch.cli import run; run(['--help']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(out.split())
    assert "click" in loaded
    for heavy in ("torch", "transformers", "faiss", "sqlalchemy", "numpy", "rich"):
        assert heavy not in loaded


def test_lexical_queries_do_not_load_a_model(index, corpus):
    index(corpus)
    code = "import sys; from semsearch.cli import run; run(['query', '--mode', 'lexical', 'boat']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "torch" not in out.split()
    assert "boats.txt" in out
