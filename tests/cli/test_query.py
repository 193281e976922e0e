"""What ``semsearch query`` answers, in which form, and with which exit code."""

import json
import os
import shutil
import subprocess
import sys
from typing import get_args

import docx
import pytest

from semsearch.search.asking.request import Mode
from tests.search.test_rerank import classifier

BAD = ["?!…", "word " * 10_000, "船が湾を渡る", '"boat" AND NOT (bay* OR NEAR(a b)) col:x', "bo\0at'; DROP TABLE x; --"]
BAD += ["[/red] [bold]", "_ __", "\udce9\x1b[31m\1\2", "é\u0301" * 300]


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


@pytest.mark.parametrize("mode", get_args(Mode))
def test_every_mode_finds_the_passage_with_the_words(mode, index, run, corpus):
    index("--sparse", corpus)
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


@pytest.mark.parametrize("query", BAD)
def test_any_text_is_a_query(query, index, run, corpus):
    index("--sparse", corpus)
    for mode in get_args(Mode):
        for more in ([], ["--explain", "--per-document", 1]):
            result = run("query", "--json", "--mode", mode, *more, query)
            assert result.code in (0, 1), result.err
            assert isinstance(result.json, list)
    result = run("query", "--explain", "-", input=query.encode("utf-8", "surrogatepass"))
    assert result.code in (0, 1), result.err
    assert "\x1b" not in result.out


def test_any_text_is_a_query_to_a_language_model(run, corpus, tiny_llama):
    assert run("index", "--model", tiny_llama, "--precision", "fp32", corpus).code == 0
    options = ["--jsonl", "--explain", "--min-confidence", 0, "--no-collapse"]
    asked = [query for query in BAD if query.strip()]
    result = run("query", "-", *options, input="\n".join(asked).encode("utf-8", "surrogatepass"))
    assert result.code == 0, result.err
    answers = [json.loads(line)["hits"] for line in result.out.splitlines()]
    assert [len(hits) for hits in answers] == [4] * len(asked)
    assert all(hit["explanation"]["passage_means"] for hits in answers for hit in hits)
    assert run("query", "--json", *options[1:], "bo\udce9at").json[0]["explanation"]["query_means"]
    [hit] = run("similar", "--json", "-k", 1, "--explain", corpus / "boats.txt").json
    assert hit["explanation"]["query_means"]


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
    assert run("query", "--precision", "int8", "boat").code == 0
    assert run("query", "--precision", "nf4", "boat").code == 3


@pytest.mark.parametrize("command", [[], ["query"], ["similar"], ["get"]])
def test_help_is_light(command):
    code = f"import sys; from semsearch.cli import run; run({[*command, '--help']}); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(out.split())
    assert "click" in loaded
    for heavy in ("torch", "transformers", "faiss", "sqlalchemy", "numpy", "rich", "ray"):
        assert heavy not in loaded


def test_lexical_queries_do_not_load_a_model(index, corpus):
    index(corpus)
    code = "import sys; from semsearch.cli import run; run(['query', '--mode', 'lexical', 'boat']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "torch" not in out.split()
    assert "boats.txt" in out


def test_matched_words_are_given_as_offsets_and_marked(index, run, corpus):
    index(corpus)
    [hit] = run("query", "--json", "-k", 1, "crossing a bay").json
    assert [hit["text"][start:end] for start, end in hit["matches"]] == ["crosses", "bay"]
    assert hit["duplicates"] == []
    assert hit["explanation"] is None


@pytest.fixture
def copies(corpus):
    """The corpus with a file twice."""
    shutil.copy(corpus / "boats.txt", corpus / "copy.txt")
    return corpus


def test_duplicates_are_named_or_shown(copies, index, run):
    index(copies)
    [hit] = run("query", "--json", "-k", 1, "sailing boat").json
    assert hit["path"] == str(copies / "boats.txt")
    assert [(twin["path"], twin["line_start"]) for twin in hit["duplicates"]] == [(str(copies / "copy.txt"), 1)]
    assert f"also: {copies / 'copy.txt'}:1\n" in run("query", "-k", 1, "sailing boat").out  # in one piece
    hits = run("query", "--json", "-k", 2, "--no-collapse", "sailing boat").json
    assert [hit["path"] for hit in hits] == [str(copies / "boats.txt"), str(copies / "copy.txt")]
    assert hits[0]["duplicates"] == []


def test_hits_of_one_document(corpus, index, run):
    (corpus / "boats.txt").write_text("\n\n".join(f"A sailing boat number {n}, far from port." for n in range(60)))
    index("--passage-tokens", 16, corpus)
    paths = [hit["path"] for hit in run("query", "--json", "-k", 5, "--per-document", 2, "sailing boat").json]
    assert len(paths) == 5
    assert paths.count(str(corpus / "boats.txt")) == 2


def test_explanations_in_json_and_in_the_terminal(corpus, index, run):
    index("--sparse", corpus)
    [hit] = run("query", "--json", "-k", 1, "--explain", "boats crossing").json
    why = hit["explanation"]
    assert set(why["scores"]) >= {"dense", "lexical"}
    assert why["fused"] == hit["score"]
    assert sum(why["parts"].values()) == pytest.approx(why["fused"], abs=1e-5)
    assert why["terms"] == ["boats", "crossing"]
    assert [word for word, _ in why["passage_means"]]
    [hit] = run("query", "--json", "-k", 1, "--explain", "--fusion", "rrf", "A sailing boat crosses the bay").json
    assert (hit["score"], hit["explanation"]["parts"]) == (pytest.approx(2 / 61), {})
    [hit] = run("query", "--json", "-k", 1, "--explain", "--mode", "sparse", "sailing boat").json
    assert hit["explanation"]["scores"].keys() == {"sparse", "dense"}
    assert hit["explanation"]["scores"]["sparse"] == hit["score"]
    assert 0 < hit["explanation"]["scores"]["dense"] < 1
    assert hit["explanation"]["fused"] is None
    text = run("query", "-k", 1, "--explain", "boats crossing").out
    assert "words found: boats, crossing" in text
    assert "of random pairs" in text


def test_nothing_relevant(corpus, index, run):
    index(corpus)
    result = run("query", "--json", "--min-confidence", 1, "zeppelin")
    assert (result.code, result.json) == (1, [])
    assert "nothing relevant" in result.err
    result = run("query", "--min-confidence", 1, "-", input="zeppelin\n")
    assert (result.code, "nothing relevant" in result.err) == (1, True)
    result = run("query", "--json", "--min-confidence", 0.5, "--mode", "lexical", "boat")
    assert result.code == 2
    assert "mode hybrid or dense" in json.loads(result.err)["error"]["message"]


def test_reranking_by_a_local_model(corpus, index, run, tmp_path):
    cross_encoder = classifier(tmp_path, 1)
    index(corpus)
    hits = run("query", "--json", "--explain", "--rerank", cross_encoder, "sailing boat").json
    scores = [hit["score"] for hit in hits]
    assert len(set(scores)) == 4
    assert scores == sorted(scores, reverse=True)
    assert [hit["explanation"]["rerank"] for hit in hits] == scores
    assert run("query", "--rerank", corpus, "boat").code == 2


def test_a_warm_process_answers_as_a_cold_one_with_every_option(copies, index, run):
    index(copies)
    options = ["-k", 2, "--explain", "--per-document", 1, "--min-confidence", 0.1, "--filter", "type=txt"]
    queries = ["sailing boat", "\0", "a distant galaxy", "king and rook"]
    answers = [json.loads(x) for x in run("query", "-", "--jsonl", *options, input="\n".join(queries)).out.splitlines()]
    assert [answer["query"] for answer in answers] == [query for query in queries if query != "\0"]
    for answer in answers:
        assert answer["hits"] == run("query", "--json", *options, answer["query"]).json


def test_a_hit_without_lines_has_its_headings_as_its_place(index, run, tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "guide.html").write_text(
        "<h1>Harbour</h1><p>Boats lie here.</p><h2>Winter</h2><p>The crane lifts containers of walrus.</p>"
    )
    document = docx.Document()
    document.add_heading("Bread", 1)
    document.add_heading("Dough", 2)
    document.add_paragraph("Knead it with sorrel and wait.")
    document.save(str(folder / "bread.docx"))
    index(folder)
    for query, name, heading in (
        ("walrus", "guide.html", "Harbour › Winter"),
        ("sorrel", "bread.docx", "Bread › Dough"),
    ):
        [hit] = run("query", "--json", "-k", 1, "--mode", "lexical", query).json
        assert hit["heading"] == heading
        assert f"{name} › {heading}" in run("query", "-k", 1, "--mode", "lexical", query).out.splitlines()[0]
