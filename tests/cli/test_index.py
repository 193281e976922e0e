"""What a run of ``semsearch index`` embeds, keeps, drops and reports."""

import json
import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from indexer.embedding import open_encoder
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.storage import open_store
from tests.cli.conftest import Result
from tests.corpus.files import make_pdf
from tests.models import make_lora


def files(result: Result) -> dict[str, int]:
    return {name: n for name, n in result.json["files"].items() if n}


def paths(run) -> set[str]:
    """Names of the files whose passages can be found."""
    everything = "a sailing boat bread dough telescope galaxy knight king rook the new text again"
    hits = run("query", "--json", "--no-collapse", "-k", 100, "--mode", "dense", everything).json
    return {os.path.basename(hit["path"]) for hit in hits}


def later(path, text):
    """Write a file with a modification time that cannot be the one before."""
    path.write_text(text)
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 1_000_000_000))


def test_json_shape_and_a_run_without_change(index, corpus):
    first = index(corpus)
    assert first.code == 0
    assert set(first.json) >= {"files", "passages", "seconds"}
    assert set(first.json["files"]) >= {"new", "changed", "moved", "deleted", "unchanged", "failed"}
    assert files(first) == {"new": 4}
    assert (first.json["passages"]["embedded"], first.json["passages"]["total"]) == (4, 4)
    again = index(corpus)
    assert files(again) == {"unchanged": 4}
    assert (again.json["passages"]["embedded"], again.json["passages"]["total"]) == (0, 4)


def test_only_what_changed_is_embedded(index, run, corpus):
    index(corpus)
    later(corpus / "boats.txt", "A rowing boat, this time.")
    (corpus / "new.txt").write_text("Something new altogether.")
    (corpus / "stars.txt").unlink()
    result = index(corpus)
    assert files(result) == {"new": 1, "changed": 1, "deleted": 1, "unchanged": 2}
    assert (result.json["passages"]["embedded"], result.json["passages"]["total"]) == (2, 4)
    assert paths(run) == {"boats.txt", "bread.md", "new.txt", "chess.txt"}
    texts = [hit["text"] for hit in run("query", "--json", "-k", 9, "boat").json]
    assert "A rowing boat, this time." in texts
    assert "A sailing boat crosses the bay." not in texts


def test_a_new_time_on_the_same_bytes_is_no_change(index, corpus):
    index(corpus)
    os.utime(corpus / "boats.txt", ns=(1, 1))
    assert files(index(corpus)) == {"unchanged": 4}


def test_moved_and_copied_files_are_not_embedded_again(index, run, corpus):
    index(corpus)
    (corpus / "sub").mkdir()
    (corpus / "boats.txt").rename(corpus / "sub" / "ships.txt")
    shutil.copy(corpus / "chess.txt", corpus / "copy.txt")
    result = index(corpus)
    assert files(result) == {"new": 1, "moved": 1, "unchanged": 3}
    assert (result.json["passages"]["embedded"], result.json["passages"]["total"]) == (0, 5)
    assert paths(run) == {"ships.txt", "bread.md", "stars.txt", "chess.txt", "copy.txt"}


def test_only_named_roots_are_compared_and_none_means_all(index, run, corpus, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "one.txt").write_text("The first new text.")
    (other / "two.txt").write_text("The second new text.")
    index(corpus, other)
    (corpus / "boats.txt").unlink()
    (other / "one.txt").unlink()
    assert files(index(other)) == {"deleted": 1, "unchanged": 1}
    assert "boats.txt" in paths(run)
    result = run("index", "--json")
    assert files(result) == {"deleted": 1, "unchanged": 4}
    assert paths(run) == {"bread.md", "stars.txt", "chess.txt", "two.txt"}


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_vanished_or_empty_root_is_reported_not_pruned(how, index, run, corpus):
    index(corpus)
    shutil.rmtree(corpus)
    if how == "empty":
        corpus.mkdir()
    result = index(corpus)
    assert result.code == 4
    assert str(corpus) in result.err
    assert result.json["vanished_roots"] == [str(corpus)]
    assert result.json["passages"]["total"] == 4
    assert run("remove", corpus).code == 0
    assert run("status", "--json").json[0]["passages"]["total"] == 0


def test_a_bad_file_does_not_stop_the_run_and_is_listed_until_it_is_mended(index, run, corpus):
    (corpus / "bad.pdf").write_bytes(make_pdf(["text"])[:120])
    for _ in range(2):
        result = index(corpus)
        assert result.code == 4
        assert result.json["files"]["failed"] == 1
        assert result.json["passages"]["total"] == 4
        [failed] = run("status", "--json").json[0]["failed"]
        assert failed["path"] == str(corpus / "bad.pdf")
        assert failed["reason"]
    (corpus / "bad.pdf").write_bytes(make_pdf(["mended"]))
    assert index(corpus).code == 0
    assert run("status", "--json").json[0]["failed"] == []


def test_a_file_that_can_no_longer_be_read_keeps_what_it_had(index, run, corpus):
    (corpus / "boat.pdf").write_bytes(make_pdf(["A sailing boat on a page."]))
    index(corpus)
    (corpus / "boat.pdf").write_bytes(make_pdf(["text"])[:120])
    result = index(corpus)
    assert result.code == 4
    assert result.json["passages"]["total"] == 5
    assert "boat.pdf" in paths(run)


def test_a_file_that_is_now_ignored_leaves_the_index(index, run, corpus):
    index(corpus)
    (corpus / ".semsearchignore").write_text("boats.txt\n")
    assert index(corpus).code == 0
    assert paths(run) == {"bread.md", "stars.txt", "chess.txt"}


def test_skipped_binaries_do_not_change_the_exit_code(index, run, corpus):
    (corpus / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    assert index(corpus).code == 0
    [skipped] = run("status", "--json").json[0]["skipped"]
    assert skipped["path"].endswith("picture.png")


def test_dry_run_reads_and_changes_nothing(index, run, corpus, tmp_path):
    result = index("--dry-run", corpus)
    assert result.json["dry_run"]["passages"] == 4
    assert run("status", "--json").json == []
    index(corpus)
    later(corpus / "boats.txt", "A rowing boat, this time.")
    result = index("--dry-run", corpus)
    assert result.json["dry_run"]["passages"] == 1
    assert result.json["passages"] == {"embedded": 0, "reused": 0, "total": 4}
    assert files(index(corpus)) == {"changed": 1, "unchanged": 3}


def test_an_interrupted_run_keeps_its_work_and_the_next_goes_on(index, run, tmp_path, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(f"Passage number {number} of many.")
    whole = HashEncoder.encode_batches

    def cut_short(self, texts, role="passage", normalize=True):
        for batch, (positions, vectors) in enumerate(whole(self, texts, role, normalize)):
            for row in range(0, len(positions), 8):
                if batch == 0 and row == 24:
                    raise KeyboardInterrupt
                yield positions[row : row + 8], vectors[row : row + 8]

    monkeypatch.setattr(HashEncoder, "encode_batches", cut_short)
    monkeypatch.setattr("indexer.pipeline.COMMIT_SECONDS", 0.0)
    assert index(folder).code == 130
    status = run("status", "--json").json[0]
    assert (status["passages"]["embedded"], status["passages"]["total"]) == (24, 40)
    answer = run("query", "--json", "passage number")
    assert answer.code == 0
    assert "16 passages are not embedded yet" in answer.err
    monkeypatch.setattr(HashEncoder, "encode_batches", whole)
    result = index(folder)
    assert (result.json["passages"]["embedded"], result.json["passages"]["total"]) == (16, 40)


def test_records_of_a_table(index, run, tmp_path):
    table = tmp_path / "people.csv"
    table.write_text('id,name,bio,city\n7,Ada,"Wrote the first\nprogram",London\n9,Grace,Found a bug,New York\n')
    assert index("--text-field", "bio", "--title-field", "name", table).json["passages"]["total"] == 2
    [hit] = run("query", "--json", "--mode", "lexical", "bug").json
    assert (hit["document"], hit["title"], hit["line_start"]) == ("9", "Grace", 4)
    [hit] = run("query", "--json", "--filter", "city=London", "bug").json
    assert hit["document"] == "7"
    again = run("index", "--json")  # the fields chosen once are remembered
    assert files(again) == {"unchanged": 1}
    other = index("--text-field", "city", table)
    assert files(other) == {"changed": 1}
    assert run("query", "--json", "--mode", "lexical", "bug").code == 1


def test_one_bad_record_leaves_the_others(index, run, tmp_path):
    (tmp_path / "r.jsonl").write_text('{"id": 1, "text": "good"}\nnot json\n{"id": 3, "text": "also good"}\n')
    for _ in range(2):
        result = index(tmp_path / "r.jsonl")
        assert result.code == 4
        assert result.json["files"]["failed"] == 1
        assert result.json["passages"]["total"] == 2
    assert "line 2" in run("status", "--json").json[0]["failed"][0]["reason"]


def test_standard_input(index, run):
    assert index("-", "--name", "memo", input="The meeting is on Monday.").json["passages"]["embedded"] == 1
    assert index("-", "--name", "memo", input="The meeting is on Friday.").json["files"]["changed"] == 1
    [hit] = run("query", "--json", "meeting").json
    assert hit["text"] == "The meeting is on Friday."
    assert run("index", "--json").code == 0  # a refresh has nothing to look at, and drops nothing
    assert run("status", "--json").json[0]["passages"]["total"] == 1


def test_bad_records_of_standard_input_are_listed(index, run):
    result = index("-", "--name", "rows.jsonl", input='{"text": "good"}\nnot json\n')
    assert result.code == 4
    assert result.json["passages"]["total"] == 1
    [failed] = run("status", "--json").json[0]["failed"]
    assert failed["path"] == "rows.jsonl"
    assert "line 2" in failed["reason"]


def test_wrong_use(index, run, tmp_path, corpus):
    assert index(tmp_path / "nowhere").code == 2
    assert run("status", "--json").json == []
    assert run("index", "--model", "hash:64").code == 2
    assert index("/").code == 2
    assert index("-", corpus).code == 2
    assert index("--passage-tokens", 64, "--max-tokens", 32, corpus).code == 2


def test_another_encoder_is_refused(index, run, corpus):
    index(corpus)
    result = run("index", "--model", "hash:32", corpus)
    assert result.code == 3
    assert "hash:64" in result.err
    assert "hash:32" in result.err
    assert "semsearch reindex (" in result.err
    assert index(corpus, "--collection", "other", "--max-tokens", 256).code == 0


def test_remove(index, run, corpus):
    index(corpus)
    assert run("remove", "--json", corpus / "boats.txt").json == {"files": 1}
    assert "boats.txt" not in paths(run)
    assert run("remove", corpus / "boats.txt").code == 2


def test_a_sparse_index_is_chosen_when_a_collection_is_made(index, run, corpus):
    assert index(corpus).code == 0
    assert "terms" not in run("status", "--json").json[0]["bytes"]
    refused = index("--sparse")
    assert refused.code == 2
    assert "was made without a sparse index" in refused.err
    assert "index --collection NEW_NAME" in refused.err
    assert index("-c", "both", "--sparse", corpus).code == 0
    assert run("status", "both", "--json").json[0]["bytes"]["terms"] > 0
    assert "terms" in run("status", "both").out
    (corpus / "more.txt").write_text("A second telescope.")
    assert index("-c", "both").json["passages"] == {"embedded": 1, "reused": 0, "total": 5}
    assert index("-c", "both", "--sparse").json["passages"]["embedded"] == 0
    with open_store(run("status", "both", "--json").json[0]["path"]).snapshot() as shown:
        found = shown.sparse(HashEncoder().encode_terms(["telescope"])[1], 9)
        assert len(found.ids[found.ids >= 0]) == 2
    assert run("doctor", "-c", "both").code == 0


def test_an_encoder_without_terms_makes_no_sparse_collection(run, corpus, tiny_llama):
    refused = run("index", "--sparse", "--model", tiny_llama, "--pooling", "mean", corpus)
    assert refused.code == 2
    assert "pooling last" in refused.err
    assert run("status", "--json").json == []


def test_a_language_models_terms_find_its_passages(run, corpus, tiny_llama):
    flags = ("--model", tiny_llama, "--precision", "fp32")
    assert run("index", "--sparse", *flags, corpus).code == 0
    with open_store(run("status", "--json").json[0]["path"]).snapshot() as shown:
        encoder = open_encoder(shown.manifest.spec)
        _, [terms] = encoder.encode_terms(["The telescope shows a distant galaxy."])
        found = shown.sparse([terms], 1)
        assert shown.get(found.ids[0])[0].path.endswith("stars.txt")
        assert shown.terms(found.ids[0]) == [terms]
    assert run("doctor").code == 0


@pytest.fixture
def adapters(tiny_llama, tmp_path):
    """Two adapters; the first says in its encoder.json how queries are prompted."""
    first = make_lora(tiny_llama, tmp_path / "first", ["q_proj"])
    (first / "encoder.json").write_text(json.dumps({"query_template": "Query: {text} ="}))
    return first, make_lora(tiny_llama, tmp_path / "second", ["v_proj"])


def test_queries_have_the_prompt_and_adapter_that_the_collection_was_made_for(run, corpus, tiny_llama, adapters):
    first, second = adapters
    model = ("--model", tiny_llama, "--precision", "fp32")
    asked = ("--query-template", "Query: {text} =", "--query-adapter", second)
    assert run("index", *model, *asked, corpus).code == 0
    spec = run("status", "--json").json[0]["encoder"]
    assert (spec["query_template"], spec["query_adapter"]) == ("Query: {text} =", str(second))
    text = "The telescope shows a distant galaxy."
    [hit] = run("query", "--json", "-k", 1, "--mode", "dense", text).json
    passages = EncoderSpec(model=str(tiny_llama), precision="fp32")
    queries = replace(passages, template="Query: {text} =", adapter=str(second))
    with open_store(run("status", "--json").json[0]["path"]).snapshot() as shown:
        [query] = open_encoder(queries).encode([text])
        found = shown.dense(query[None], 1)
        assert (hit["passage"], hit["score"]) == (found.ids[0, 0], pytest.approx(float(found.scores[0, 0]), abs=1e-4))
        stored = [row for each in shown.documents() for row in each.passages]
        vectors = open_encoder(passages).encode([row.passage.text for row in stored])
        np.testing.assert_allclose(shown.vectors([row.id for row in stored]), vectors, atol=1e-3)
    assert run("query", "--json", *asked, "boat").code == 0  # saying it again is no harm
    for flag, other in (("--query-template", "{text} ?"), ("--query-adapter", first)):
        refused = run("query", "--json", flag, other, "boat")
        assert refused.code == 3
        assert flag.removeprefix("--").replace("-", "_") in json.loads(refused.err)["error"]["message"]
    assert run("index", "--query-adapter", "none").code == 3


def test_an_adapter_says_how_queries_are_prompted(run, corpus, tiny_llama, adapters):
    assert run("index", "--model", tiny_llama, "--adapter", adapters[0], "--precision", "fp32", corpus).code == 0
    assert run("status", "--json").json[0]["encoder"]["query_template"] == "Query: {text} ="
    assert run("query", "boat", "--json", "-k", 1).code == 0


def test_a_file_in_capitals_is_cut_and_found_like_one_that_is_not(run, tiny_llama, tmp_path):
    preset = tmp_path / "lower.json"
    preset.write_text(json.dumps({"model": str(tiny_llama), "precision": "fp32", "capitals": "lower"}))
    text = "the quick brown fox jumps over the lazy dog and rests. " * 12
    found = []
    for name, written in (("small", text), ("large", text.upper())):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "notice.txt").write_text(written)
        options = ("--collection", name)
        assert run("index", *options, "--preset", preset, "--passage-tokens", 32, folder).code == 0
        hits = run("query", *options, "the fox rests", "--mode", "dense", "--json", "--no-collapse", "-k", 50).json
        found.append(sorted((hit["text"].lower(), round(hit["score"], 4)) for hit in hits))
    assert found[0] == found[1]
    assert len(found[0]) > 1
