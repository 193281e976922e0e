"""Every kind of damage is found, and mended where that is possible."""

import numpy as np
import pytest

from indexer.errors import LockedError
from indexer.storage.postgres.search import nearest
from tests.postgres_servers import sql
from tests.storage.contract.values import ENCODER, OTHER, TERMS, add, dense, embed, lexical, parsed, remove
from tests.storage.postgres.test_refusals import schema_of


@pytest.fixture
def damaged(make, monkeypatch):
    """Return a collection, and a function that runs statements in its schema."""
    monkeypatch.setattr(nearest, "INDEX_FROM", 5)
    store = make(sparse=TERMS)
    with store.writer() as writer:
        writer.stage(parsed("/data/a", [f"text number {n}" for n in range(9)]))
        embed(store, writer)
        writer.finish()
    add(store, "/data/b", ["gone"])
    remove(store, "/data/b")

    def run(*statements: str) -> None:
        sql(store.server.address.url, f"SET search_path = {schema_of(store)}, public", *statements)

    assert store.examine(mend=False, open_encoder=lambda _: ENCODER) == []
    return store, run


@pytest.mark.parametrize(
    ("statement", "part", "found"),
    [
        ("DELETE FROM words WHERE id = (SELECT min(id) FROM words)", "words", "1 passages are shown and not found"),
        ("UPDATE frequencies SET passages = 3 WHERE term = 'number'", "words", "1 terms are counted wrongly"),
        ("DELETE FROM frequencies WHERE term = 'text'", "words", "1 terms are counted wrongly"),
        ("UPDATE totals SET length = length + 1", "words", "totals"),
        ("UPDATE words SET terms = 'other:1B' WHERE id = (SELECT min(id) FROM words)", "words", "other terms"),
        ("DELETE FROM vectors WHERE id = (SELECT min(id) FROM vectors)", "vectors", "1 passages have no vector"),
        ("INSERT INTO vectors SELECT 10000, vector FROM vectors LIMIT 1", "vectors", "1 vectors belong to no passage"),
        (
            "DELETE FROM sparse WHERE id = (SELECT min(id) FROM sparse)",
            "terms",
            "1 passages have a vector and no terms",
        ),
        ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'vectors_hnsw'::regclass", "index", "not valid"),
    ],
)
def test_what_is_found_is_mended(damaged, statement, part, found):
    store, run = damaged
    run(statement)
    problems = store.examine(mend=False)
    assert part in {each.part for each in problems}
    assert any(found in each.found for each in problems)
    assert not any(each.mended for each in problems)
    assert store.examine(mend=False) == problems  # nothing was changed
    mended = store.examine(mend=True)
    assert [each.found for each in mended] == [each.found for each in problems]
    assert all(each.mended and each.remedy for each in mended)
    with store.writer() as writer:
        embed(store, writer)
        writer.finish()
    assert store.examine(mend=False, open_encoder=lambda _: ENCODER) == []
    with store.snapshot() as snapshot:
        assert dense(snapshot, "text number 0", 1) == ["text number 0"]
        assert len(lexical(snapshot, "text")) == 9


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM files WHERE path = '/data/a'", "no known file"),
        ("UPDATE documents SET born = 99 WHERE died IS NULL", "yet to come"),
        ("UPDATE passages SET embedded = 0 WHERE id = (SELECT min(id) FROM vectors)", "marked as waiting"),
    ],
)
def test_what_cannot_be_mended(damaged, statement, found):
    store, run = damaged
    run(statement)
    problems = store.examine(mend=True)
    assert any(found in each.found and each.part == "catalog" for each in problems)
    assert not any(each.mended for each in problems)


def test_vectors_of_another_encoder(damaged):
    store, run = damaged
    numbers = ",".join(map(str, ENCODER.encode(["quite another"])[0].tolist()))
    run(f"UPDATE vectors SET vector = '[{numbers}]'")
    [problem] = store.examine(mend=True, open_encoder=lambda _: ENCODER)
    assert (problem.part, problem.mended) == ("vectors", False)
    assert "another vector when embedded again" in problem.found
    assert OTHER.dim != ENCODER.dim


def test_an_index_that_finds_too_little(damaged, monkeypatch):
    store, _ = damaged
    monkeypatch.setattr(nearest.VectorSearch, "_approximate", lambda self, query, k, only: nearest.none(1, k))
    [problem] = store.examine(mend=False)
    assert problem.part == "index"
    assert "0% of the ten nearest" in problem.found


def test_nobody_writes_while_it_is_mended(damaged, again_of):
    store, run = damaged
    run("UPDATE totals SET length = length + 1")
    with again_of(store).writer(), pytest.raises(LockedError):
        store.examine(mend=True)
    with again_of(store).writer():
        assert len(store.examine(mend=False)) == 1  # looking is allowed


@pytest.fixture
def again_of():
    from indexer.storage.postgres.store import PostgresStore

    return lambda store: PostgresStore(store.server.address, store.name)


def test_a_sample_is_drawn_on_the_server(damaged):
    store, _ = damaged
    with store.snapshot() as snapshot:
        ids = snapshot.some(4)
        assert len(ids) == len(np.unique(ids)) == 4
        assert snapshot.embedded(ids).all()
