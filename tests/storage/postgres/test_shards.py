"""The vectors of one collection on three servers, by PARTITION BY HASH over postgres_fdw: the same hits as on one."""

import numpy as np
import pytest

from indexer.errors import StoreError
from indexer.storage.postgres.search import nearest
from indexer.storage.postgres.store import PostgresStore
from indexer.types import Filter
from tests.postgres_servers import PLAIN, sql, start
from tests.storage.contract.values import ENCODER, embed, lexical, manifest, parsed, shown, texts

QUERIES = ["text 7 of b", "3 of a", "none", "text of c 11"]


@pytest.fixture(scope="module")
def servers():
    """URLs of a server for the catalog and of three for vectors."""
    started = [start(PLAIN) for _ in range(4)]
    yield [each.get_uri() for each in started]
    for each in started:
        each.cleanup()


def host(url: str) -> str:
    return url.partition("host=")[2]


def fill(store) -> None:
    with store.writer() as writer:
        for name in "abc":
            writer.stage(parsed(f"/data/{name}.txt", [f"text {n} of {name}" for n in range(20)]))
        embed(store, writer)
        writer.commit()
        writer.stage(parsed("/data/d.md", ["text 3 of a", "a new text"]))  # one whose vector another passage has
        embed(store, writer)
        writer.remove(["/data/b.txt"])
        writer.stage(parsed("/data/e.md", ["text 5 of b"]))
        writer.finish()


@pytest.mark.parametrize("indexed", [False, True])
def test_the_same_hits_as_on_one(servers, make, monkeypatch, indexed):
    monkeypatch.setattr(nearest, "INDEX_FROM", 10 if indexed else 10**6)
    monkeypatch.setattr(nearest, "FEW", 2)
    catalog, *others = servers
    name = f"docs-{indexed}"
    spread = PostgresStore.create(f"{catalog}&shards={','.join(map(host, others))}", name, manifest())
    alone = make()
    for store in (spread, alone):
        fill(store)
    assert min(map(rows_of, others)) > 0  # each has a part
    assert "on 3 servers" in spread.engines()["vectors"]
    assert ("HNSW" in spread.engines()["vectors"]) == indexed
    with spread.snapshot() as ours, alone.snapshot() as theirs:
        assert shown(ours) == shown(theirs)
        vectors = ENCODER.encode(QUERIES)
        for k in (1, 5, 100):
            for condition in (None, Filter(kinds=("md",)), Filter(paths=("c.*",))):
                found, right = ours.dense(vectors, k, condition), theirs.dense(vectors, k, condition)
                np.testing.assert_array_equal(found.scores, right.scores)
                if not indexed:  # a graph may leave out one of equal scores
                    assert [texts(ours, row) for row in found.ids] == [texts(theirs, row) for row in right.ids]
        assert lexical(ours, "new text") == lexical(theirs, "new text")
        np.testing.assert_array_equal(ours.sample(9, 1), theirs.sample(9, 1))
    assert spread.examine(mend=False, open_encoder=lambda _: ENCODER) == []
    spread.compact()
    with spread.snapshot() as ours:
        assert sum(map(rows_of, others)) == ours.counts().embedded  # those of what was removed are gone there too
    assert spread.examine(mend=False) == []
    again = PostgresStore(catalog, name)  # whoever opens it need not know of the others
    with again.writer() as writer:
        writer.stage(parsed("/data/f", ["later"]))
        writer.rollback()
        writer.stage(parsed("/data/f", ["latest"]))
        embed(again, writer)
        writer.commit()
    assert again.examine(mend=False, open_encoder=lambda _: ENCODER) == []
    again.delete()
    assert sum(map(rows_of, others)) == 0
    assert sql(catalog, "SELECT count(*) FROM pg_foreign_server WHERE srvname LIKE 'semsearch%'") == [(0,)]


def rows_of(url: str) -> int:
    """Return how many vectors a server holds."""
    tables = sql(url, "SELECT schemaname FROM pg_tables WHERE tablename = 'vectors' AND schemaname LIKE 'semsearch%'")
    return sum(sql(url, f"SELECT count(*) FROM {schema}.vectors")[0][0] for (schema,) in tables)


def test_one_of_them_cannot_be_reached(servers, tmp_path):
    catalog, first, *_ = servers
    with pytest.raises(StoreError, match="cannot reach"):
        PostgresStore.create(f"{catalog}&shards={host(first)},{tmp_path}", "docs", manifest())
    assert sql(catalog, "SELECT count(*) FROM semsearch.collections WHERE name = 'docs'") == [(0,)]
    assert sql(first, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'semsearch%'") == [(0,)]
