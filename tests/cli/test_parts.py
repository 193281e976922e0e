"""``semsearch index --shard`` and ``semsearch merge``: from several shells to one collection."""

import json
import sys

import pytest


@pytest.fixture
def shard(run, corpus):
    """``semsearch index --shard`` with the hash encoder."""

    def call(part, *arguments):
        return run("index", "--model", "hash:64", "--json", "--shard", part, *arguments, corpus)

    return call


def hits(run, collection):
    found = run("query", "--json", "-c", collection, "sailing boat dough knight").json
    return [(hit["path"], hit["line_start"], hit["score"]) for hit in found]


def test_parts_are_made_and_merged(run, shard, index, corpus, tmp_path):
    """In a folder of their own; what a search shows is what it shows after one run."""
    index("-c", "one", corpus)
    parts = [shard(f"{n}/3", "-c", "many", "--shards", tmp_path / "s") for n in (3, 1, 2)]
    assert [part.code for part in parts] == [0, 0, 0]
    assert sum(part.json["files"]["read"] for part in parts) == 4
    assert parts[0].json["part"] == "3/3"
    merged = run("merge", "--json", "-c", "many", tmp_path / "s")
    assert merged.code == 0
    assert merged.json["files"]["new"] == 4
    assert merged.json["passages"]["total"] == merged.json["passages"]["embedded"] == 4
    assert hits(run, "many") == hits(run, "one")
    assert index("-c", "many", corpus).json["files"]["unchanged"] == 4
    again = run("merge", "-c", "many", tmp_path / "s")
    assert again.out.startswith("files: 4 unchanged; passages: 0 taken in, 4 in the index")


def test_shards_lie_in_the_home_unless_a_folder_is_named(run, shard):
    assert shard("1/1").code == 0
    assert run("status", "--json").json == []  # they are no collection yet
    assert run("merge").code == 0
    assert run("collection", "list", "--json").json == ["default"]


def test_a_merge_builds_the_index_that_is_asked_for(run, shard, tmp_path):
    shard("1/1", "--shards", tmp_path / "s")
    assert run("merge", "--index-plan", "HNSW8,SQ8", "--index-recall", 0.9, tmp_path / "s").code == 0
    found = run("status", "--json").json[0]["index"]
    assert (found["plan"], found["asked"], found["rows"]) == ("HNSW8,SQ8", 0.9, 4)
    for bad in ("magic", "RR576,IVF4,RaBitQfs4"):
        assert run("merge", "-c", "new", "--index-plan", bad, tmp_path / "s").code == 2
    assert run("collection", "list", "--json").json == ["default"]


def test_unfinished_parts_are_named(run, shard):
    shard("2/3")
    merged = run("merge", "--json")
    assert merged.code == 4
    assert merged.json["unfinished_parts"] == ["1/3", "3/3"]
    assert "parts 1/3, 3/3 are not finished: make them (semsearch index --shard I/N) and merge again" in merged.err


def test_a_part_goes_on_where_it_was(run, shard):
    assert shard("1/1").json["passages"]["embedded"] == 4
    again = shard("1/1").json
    assert (again["passages"]["embedded"], again["files"]["read"], again["files"]["kept"]) == (0, 0, 4)
    run("merge")
    assert shard("1/1").json["files"]["unchanged"] == 4


def test_a_person_reads_what_a_part_did(run, corpus, tmp_path):
    (corpus / "torn.pdf").write_bytes(b"%PDF-1.7 and no more")
    said = run("index", "--model", "hash:64", "--shard", "1/1", "--shards", tmp_path / "s", corpus)
    assert said.code == 4
    assert said.out.startswith("part 1/1: files: 5 read, 1 failed; passages: 4 embedded; 1 shards in ")
    assert "1 files could not be read, or not wholly; after the merge see: semsearch status" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "0/2"], "'0/2' is no part|0/2 is no part; a part is I/N"),
        (["--shard", "two"], "'two' is no part; a part is I/N with I from 1 to N, such as 2/8"),
        (["--shards", "s"], "--shards is the folder of shards; make some with --shard I/N or --ray"),
        (["--shard", "1/2", "--dry-run"], "--shard and --ray go neither with --dry-run nor with standard input"),
        (["--shard", "1/2", "-"], "--shard and --ray go neither with --dry-run nor with standard input"),
        (["--shard", "1/2", "--ray", "auto"], "--shard makes one part in this process, --ray all of them on a cluster"),
        (["--shard", "1/2", "--index-plan", "HNSW8,SQ8"], "give --index-plan and --index-recall to semsearch merge"),
        (["--shard", "1/2", "--index-recall", "0.9"], "give --index-plan and --index-recall to semsearch merge"),
        (["--ray", "somewhere"], "'somewhere' is no address of a Ray cluster"),
    ],
)
def test_what_does_not_go_together(run, corpus, arguments, message):
    paths = [] if "-" in arguments else [corpus]
    refused = run("index", "--model", "hash:64", "--json", *arguments, *paths)
    assert refused.code == 2
    said = json.loads(refused.err.splitlines()[-1])["error"]["message"]
    assert any(each in said for each in message.split("|"))
    assert run("collection", "list", "--json").json == []


def test_a_merge_of_nothing_leaves_no_collection(run, shard, tmp_path):
    refused = run("merge", tmp_path / "none")
    assert refused.code == 2
    assert "holds no shards; make them with: semsearch index --shard I/N --shards" in refused.err
    shard("1/1", "--shards", tmp_path / "s")
    next((tmp_path / "s").glob("*.safetensors")).write_bytes(b"torn")
    refused = run("merge", tmp_path / "s")
    assert refused.code == 2
    assert "is damaged: it has 4 bytes" in refused.err
    assert run("collection", "list", "--json").json == []


def test_another_encoder(run, shard, corpus, tmp_path):
    """Refused by the folder, and by a collection that there is."""
    shard("1/2", "--shards", tmp_path / "s")
    refused = run("index", "--model", "hash:32", "--shard", "2/2", "--shards", tmp_path / "s", corpus)
    assert refused.code == 3
    assert "asked for 'hash:32'" in refused.err
    run("index", "--model", "hash:32", "-c", "other", corpus)
    refused = run("merge", "-c", "other", tmp_path / "s")
    assert refused.code == 3
    assert "and collection 'other' with" in refused.err
    assert "merge into another collection (--collection)" in refused.err


def test_a_plan_that_does_not_fit_the_vectors_is_refused_before_ray_embeds_them(run, corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = run("index", "--model", "hash:64", corpus, "--index-plan", "RR576,IVF4,RaBitQfs4", "--ray")
    assert refused.code == 2
    assert "turns 576 dimensions; the vectors have 64" in refused.err


def test_ray_that_is_not_installed(run, corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = run("index", "--model", "hash:64", corpus, "--ray")
    assert refused.code == 2
    assert "pip install 'semsearch[ray]'" in refused.err
    assert run("collection", "list", "--json").json == []
