"""semsearch reindex: another encoder, every text as before, the old collection kept."""

import json
import shutil

from indexer.storage import open_store
from semsearch.collection import Collection
from semsearch.search.asking.weights import Weights


def texts(found):
    return sorted((hit["path"], hit["text"]) for hit in found.json)


def test_reindex_keeps_every_text_without_its_files(run, index, corpus, tmp_path):
    home = ("--home", tmp_path / "home")
    assert index(corpus, *home).code == 0
    assert index("-", *home, "--name", "note", input="A note about the bay and a boat.").code == 0
    shutil.rmtree(corpus)
    before = texts(run("query", "boat bay", *home, "--json", "-k", "10"))
    assert len(before) == 5
    done = run("reindex", *home, "--model", "hash:48", "--json")
    assert done.code == 0
    assert done.json["before"] == str(tmp_path / "home" / "default-before")
    assert "semsearch collection remove default-before" in done.err
    assert texts(run("query", "boat bay", *home, "--json", "-k", "10")) == before
    assert texts(run("query", "boat bay", *home, "-c", "default-before", "--json", "-k", "10")) == before
    spec = json.loads((tmp_path / "home" / "default" / "manifest.json").read_text())["spec"]
    assert spec["model"] == "hash:48"
    (status, *_) = (each for each in run("status", *home, "--json").json if each["collection"] == "default")
    assert status["roots"] == [str(corpus)]


def test_tuned_weights_stay_with_the_encoder_they_suit(run, index, corpus, tmp_path):
    home = tmp_path / "home"
    index(corpus, "--home", home)
    Weights(1, 3).save(open_store(home / "default"))
    assert "weights tuned for the old one" in run("reindex", "--home", home, "--model", "hash:48").err
    kept = [Weights.kept(open_store(home / name)) for name in ("default", "default-before")]
    assert kept == [None, Weights(1, 3)]
    assert "weights tuned" not in run("reindex", "--home", home, "--model", "hash:64").err


def test_nothing_to_do_and_nothing_there(run, index, corpus, tmp_path):
    home = ("--home", tmp_path / "home")
    index(corpus, *home)
    again = run("reindex", *home, "--model", "hash:64")
    assert (again.code, "of this encoder already" in again.err) == (0, True)
    missing = run("reindex", *home, "-c", "other", "--model", "hash:48")
    assert (missing.code, "there is no collection 'other'" in missing.err) == (2, True)
    short = run("reindex", *home, "--model", "hash:48", "--max-tokens", "20")
    assert (short.code, "would be cut at 20" in short.err) == (2, True)
    assert [path.name for path in (tmp_path / "home").iterdir() if path.is_dir()] == ["default"]


def test_a_collection_that_is_open_is_replaced_under_its_readers(run, index, corpus, tmp_path):
    home = ("--home", tmp_path / "home")
    index(corpus, *home)
    with Collection(home=tmp_path / "home") as docs:
        before = docs.search("boat", mode="lexical")
        assert run("reindex", *home, "--model", "hash:48").code == 0
        after = docs.search("boat", mode="lexical")
        assert [hit.path for hit in after] == [hit.path for hit in before]
        assert docs.spec.model == "hash:48"
    names = sorted(path.name for path in (tmp_path / "home").iterdir() if path.is_dir())
    assert names == ["default", "default-before"]
