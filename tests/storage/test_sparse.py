"""The sparse index: terms come and go with their passages, and a search is the inner product."""

import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import CorruptError, StoreError
from indexer.storage.local import view
from indexer.storage.manifest import Manifest
from indexer.storage.local.postings import Postings, pack, unpack
from indexer.storage.local.store import Store
from indexer.types import Filter
from tests.storage.helpers import ENCODER, add, build, by_terms, check, embed, manifest, stage, texts


def query(text: str) -> dict[int, int]:
    return ENCODER.encode_terms([text], role="query")[1][0]


def sparse(store: Store, text: str, k: int = 10, filter: Filter | None = None) -> list[str]:
    found = store.search_terms(query(text), k, filter)
    return [passage.passage.text for passage in store.get(found.ids[0])]


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "c", manifest(sparse=128)) as store:
        add(store, "/data/a.txt", ["red fox", "fox fox", "blue bird"])
        add(store, "/data/b.md", ["red bird", "a fox"])
        yield store


def test_equals_a_dense_inner_product():
    draw = np.random.default_rng(0)
    stored = [
        dict(zip(draw.choice(400, n, replace=False).tolist(), draw.integers(1, 500, n).tolist(), strict=True))
        for n in draw.integers(0, 60, 300)
    ]
    ids = np.sort(draw.choice(10**6, 300, replace=False))
    postings = Postings(ids, [pack(terms) for terms in stored])
    for terms in stored[:40]:
        found, products = postings.products(terms)
        rows = by_terms(stored, terms)
        assert sorted(found.tolist()) == sorted(ids[rows].tolist())
        order = np.lexsort((found, -products))
        assert found[order].tolist() == ids[rows].tolist()


def test_packing_comes_back():
    assert unpack(pack(terms := {3: 1, 2**32 - 1: 65535, 0: 7})) == terms
    assert list(unpack(pack(terms))) == list(terms)
    assert pack({}) == b""
    for wrong in ({1: 0}, {1: 65536}, {-1: 1}, {2**32: 1}):
        with pytest.raises(StoreError, match="65535"):
            pack(wrong)
    with pytest.raises(CorruptError, match="doctor"):
        unpack(b"12345")


def test_the_best_come_first_and_the_rest_not_at_all(store):
    assert sparse(store, "fox") == ["fox fox", "red fox", "a fox"]
    assert sparse(store, "red fox", k=1) == ["red fox"]
    found = store.search_terms(query("bird"), 4)
    assert found.ids.shape == found.scores.shape == (1, 4)
    assert found.scores[0, :2].tolist() == [69 * 69] * 2
    assert found.ids[0, 2:].tolist() == [-1, -1]
    assert np.isneginf(found.scores[0, 2:]).all()
    assert (store.search_terms({}, 3).ids == -1).all()


def test_filters_apply_before_the_best_are_taken(store):
    assert sparse(store, "fox", k=1, filter=Filter(kinds=("md",))) == ["a fox"]
    assert sparse(store, "fox", filter=Filter(paths=("?",))) == []


def test_a_passage_goes_with_its_terms(store):
    stage(store, "/data/a.txt", ["green fox", "blue bird"])
    assert "green fox" not in sparse(store, "fox")  # not committed
    embed(store)
    store.commit()
    assert sparse(store, "fox") == ["a fox", "green fox"]
    store.remove(["/data/b.md"])
    store.rollback()
    assert sparse(store, "red") == ["red bird"]
    store.remove(["/data/b.md"])
    store.commit()
    assert sparse(store, "red") == []
    store.compact()
    check(store)
    ids, _ = store.catalog.terms()
    assert ids.tolist() == store.allowed(None).tolist()  # nothing is left of what is gone


def test_equal_texts_share_their_terms(store):
    add(store, "/data/c.txt", ["red fox", "twice", "twice"])  # one known, two that wait together
    check(store)
    assert sparse(store, "red fox", k=2) == ["red fox", "red fox"]
    assert sparse(store, "twice") == ["twice", "twice"]


def test_a_reader_sees_its_generation(store, monkeypatch):
    monkeypatch.setattr(view, "LAYERED", 1.0)
    with Store.open(store.path) as reader:
        assert len(sparse(reader, "fox")) == 3
        stage(store, "/data/b.md", ["a fox", "old fox"])
        embed(store)
        store.commit()
        assert sparse(reader, "old") == []
        assert reader.refresh()
        assert sparse(reader, "old fox", k=1) == ["old fox"]
        assert sorted(sparse(reader, "fox")) == sorted(sparse(store, "fox"))
        check(reader)  # inverted lists of the first generation, and changes
        store.compact()
        check(reader)
        assert len(sparse(reader, "fox")) == 4
        add(store, "/data/z.txt", ["last fox"])
        assert reader.refresh()
        check(reader)  # what the first generation showed was forgotten: its lists are of no use


def test_what_was_not_embedded_is_resumed(store):
    stage(store, "/data/c.txt", ["one more", "another one"])
    store.catalog.flush()  # as far as a killed run came
    path = store.path
    store.close()
    with Store.open(path, writable=True) as again:
        assert sparse(again, "one") == []
        assert embed(again) == 2
        again.commit()
        assert len(sparse(again, "one")) == 2
        check(again)


def test_terms_are_given_where_they_are_kept_and_only_there(store, tmp_path):
    stage(store, "/data/c.txt", ["new"])
    [(number, _)] = store.unembedded(1)
    with pytest.raises(StoreError, match="exactly where"):
        store.add_vectors([number], ENCODER.encode(["new"]))
    with build(tmp_path / "plain") as plain:
        stage(plain, "/data/c.txt", ["new"])
        [(number, _)] = plain.unembedded(1)
        with pytest.raises(StoreError, match="exactly where"):
            plain.add_vectors([number], ENCODER.encode(["new"]), [{1: 1}])
        with pytest.raises(StoreError, match="--sparse"):
            plain.search_terms({1: 1}, 3)
        with pytest.raises(StoreError, match="--sparse"):
            plain.terms([1])
    for wrong in (0, True, "128"):
        with pytest.raises(StoreError, match="sparse is"):
            manifest(sparse=wrong)


@pytest.mark.parametrize(
    "damage", ["DELETE FROM sparse WHERE id = 2", "UPDATE sparse SET terms = x'0102' WHERE id = 2"]
)
def test_lost_terms_are_found_and_made_again(store, damage):
    path = store.path
    store.close()
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.execute(damage)
    with Store.open(path, writable=True) as again:
        [problem] = again.verify()
        assert problem.part == "terms"
        assert problem.found.startswith("1 passages")
        again.repair()
        assert texts(again) == ["red bird", "a fox"]
        assert embed(again) == 1
        again.commit()
        check(again)
        assert sparse(again, "fox", k=1) == ["fox fox"]


def test_an_older_collection_goes_on_without(tmp_path):
    with zipfile.ZipFile(Path(__file__).with_name("collection-0001.zip")) as archive:
        archive.extractall(tmp_path)
    with Store.open(tmp_path) as store:
        assert store.manifest.sparse is None
        with pytest.raises(StoreError, match="--sparse"):
            store.search_terms({1: 1}, 3)
    assert Manifest.load(tmp_path).format == 1
