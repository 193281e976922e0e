"""The sparse index in memory and in the catalog."""

import sqlite3

import numpy as np
import pytest

from indexer.errors import CorruptError, StoreError
from indexer.storage import open_store
from indexer.storage.local import pinned
from indexer.storage.local.words.postings import Postings
from indexer.storage.sql.packed_terms import pack, unpack
from tests.storage.contract.values import ENCODER, TERMS, add, embed, remove, texts
from tests.storage.local.helpers import build, check


def by_terms(stored: list[dict[int, int]], query: dict[int, int]) -> list[int]:
    """Return the rows that share a term with the query, best first: a dense product over the whole vocabulary."""
    vocabulary = sorted({term for terms in (*stored, query) for term in terms})
    dense = np.array([[terms.get(term, 0) for term in vocabulary] for terms in (*stored, query)], np.int64)
    products = dense[:-1] @ dense[-1]
    return [row for row in np.argsort(-products, kind="stable").tolist() if products[row] > 0]


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


def test_lists_of_an_earlier_commit_serve_later_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(pinned, "LAYERED", 1.0)
    files = [("/data/a", ["red fox", "fox fox", "blue bird"]), ("/data/b", ["red bird", "a fox"])]
    store = build(tmp_path / "c", files, sparse=TERMS)
    query = ENCODER.encode_terms(["fox"], role="query")[1]

    def found(snapshot) -> list[str]:
        return sorted(texts(snapshot, snapshot.sparse(query, 9).ids[0]))

    first = store.snapshot()
    before = ["a fox", "fox fox", "red fox"]
    assert found(first) == before
    add(store, "/data/b", ["a fox", "old fox"])
    with store.snapshot() as second:
        assert found(second) == sorted([*before, "old fox"])
        assert found(first) == before
    remove(store, "/data/a")
    store.compact()
    with store.snapshot() as third:  # what the first lists know was forgotten: they are of no use
        assert found(third) == ["a fox", "old fox"]
    assert found(first) == before
    check(store)


@pytest.mark.parametrize(
    "damage", ["DELETE FROM sparse WHERE id = 2", "UPDATE sparse SET terms = x'0102' WHERE id = 2"]
)
def test_lost_terms_are_found_and_made_again(tmp_path, damage):
    path = build(tmp_path / "c", [("/data/a", ["red fox", "fox fox", "blue bird"])], sparse=TERMS).path
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.execute(damage)
    store = open_store(path)
    [problem] = store.examine(mend=False)
    assert problem.part == "terms"
    assert problem.found.startswith("1 passages")
    store.examine(mend=True)
    with store.writer() as writer:
        assert embed(store, writer) == ["fox fox"]
        writer.commit()
    check(store)
