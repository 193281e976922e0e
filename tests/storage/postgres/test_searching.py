"""The search of a database against that of others: the same scores by words, the nearest by each kind of index."""

import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.storage.local.store import LocalStore
from indexer.storage.memory import MemoryStore
from indexer.storage.postgres.search import nearest, words
from indexer.storage.postgres.store import PostgresStore
from indexer.types import Embedded, Filter
from tests.postgres_servers import PLAIN, TEXTSEARCH, sql, url_of
from tests.storage.contract.values import add, dense, document, embed, lexical, manifest, parsed, texts

VOCABULARY = "walrus piano lantern copper meadow harbour violin saddle glacier pepper anchor thimble".split()
QUERIES = [
    "walrus",
    "walrus walrus piano",
    "the copper meadow of a harbour",
    '"copper meadow"',
    "har* glac*",
    "e-mail camelCase C++ node.js",
    "camel",
    "zzz unknown",
    "漢字 walrus",
    'title "walrus piano" saddle',
]


def passages(n: int) -> list[str]:
    """Return texts in which some words are frequent and some rare, of lengths that differ."""
    random = np.random.default_rng(7)
    weights = 1 / np.arange(1, len(VOCABULARY) + 1)
    found = []
    for number in range(n):
        size = int(random.integers(3, 40))
        found.append(f"n{number} " + " ".join(random.choice(VOCABULARY, size, p=weights / weights.sum())))
    return [*found, "an e-mail with camelCase and C++ in node.js", "email camel case C", "漢字 かな 漢字"]


def contents():
    for number, text in enumerate(passages(150)):
        yield document(f"/data/{number:03d}", [text, f"{text} again {number % 5}"], title=VOCABULARY[number % 12])


@pytest.fixture(params=[PLAIN, TEXTSEARCH], ids=lambda kind: kind.name)
def filled(request, tmp_path):
    """Return the same collection in a database and in a folder."""
    ours = PostgresStore.create(url_of(request.param), str(tmp_path), manifest())
    theirs = LocalStore.create(tmp_path / "folder", manifest())
    for store in (ours, theirs):
        with store.writer() as writer:
            for each in contents():
                writer.stage(parsed(each.document.path, each))
            embed(store, writer)
            writer.finish()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_scores_by_words_are_those_of_a_folder(filled):
    ours, theirs = filled
    with ours.snapshot() as mine, theirs.snapshot() as right:
        for k in (1, 7, 1_000):
            for condition in (None, Filter(paths=("*5",))):
                found, expected = mine.lexical(QUERIES, k, condition), right.lexical(QUERIES, k, condition)
                np.testing.assert_allclose(found.full, expected.full, rtol=1e-6)
                np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
                if k > 7:  # else the last of equal scores may be another
                    for row in range(len(QUERIES)):
                        assert set(texts(mine, found.ids[row])) == set(texts(right, expected.ids[row]))
        assert lexical(mine, '"copper meadow"', 3) == lexical(right, '"copper meadow"', 3)


def test_which_engine_finds_words(filled, monkeypatch):
    ours, _ = filled
    textsearch = "pg_textsearch" in ours.engines()["words"]
    assert textsearch == (ours.server.versions().textsearch is not None)
    asked = []
    candidates = words.WordSearch._candidates
    monkeypatch.setattr(
        words.WordSearch, "_candidates", lambda self, *rest: asked.append(candidates(self, *rest)) or asked[-1]
    )
    with ours.snapshot() as snapshot:
        lexical(snapshot, "walrus piano", 3)
        lexical(snapshot, '"walrus piano"', 3)
    assert (asked[0] is not None) == textsearch  # plain words
    assert asked[1] is None  # it knows no phrases


def test_passages_that_are_gone_do_not_stand_in_textsearch_s_way(tmp_path):
    store = PostgresStore.create(url_of(TEXTSEARCH), str(tmp_path), manifest())
    add(store, "/data/a", ["word in a rather long passage that comes last of all"])
    add(store, "/data/b", ["word word"] * 400)
    with store.writer() as writer:
        writer.remove(["/data/b"])
        writer.commit()
    with store.snapshot() as snapshot:
        assert lexical(snapshot, "word", 1) == ["word in a rather long passage that comes last of all"]
    store.close()


def test_terms_of_any_text():
    found = words.terms_of("It's a \\ title", "o'neil C:\\path e-mail " + "long" * 9_000)
    assert found.length == len(found.plain.split()) - len(words.terms_of("It's a \\ title", "").plain.split()) // 2
    assert all(term.isascii() and term.isalnum() for term in found.plain.split())
    assert sql(url_of(PLAIN), f"SELECT length($${found.vector}$$::tsvector)")[0][0] > 5


def test_a_passage_longer_than_a_tsvector_can_hold(make):
    store = make()
    add(store, "/data/a", ["first " + " ".join(f"unusual{n}" for n in range(20_000)) + " last"])
    with store.snapshot() as snapshot:
        assert len(lexical(snapshot, "first")) == 1
        assert lexical(snapshot, "last") == []
    assert store.examine(mend=False) == []


class TestIndexes:
    """Every kind of index against exact search, over vectors that lie in clusters as real ones do."""

    @pytest.mark.parametrize(
        ("dim", "dtype"), [(64, "fp16"), (64, "fp32"), (2_100, "fp16"), (4_096, "fp16"), (4_100, "fp32")]
    )
    def test_recall(self, make, monkeypatch, dim, dtype):
        rows = 600 if dim < 1_000 else 200
        monkeypatch.setattr(nearest, "INDEX_FROM", 100)
        encoder = HashEncoder(EncoderSpec(model=f"hash:{dim}"))
        store = make(encoder, vector_dtype=dtype)
        random = np.random.default_rng(1)
        centres = random.normal(size=(20, dim))
        vectors = (centres[np.arange(rows) % 20] + 0.7 * random.normal(size=(rows, dim))).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with store.writer() as writer:
            writer.stage(parsed("/data/a", [f"text {n}" for n in range(rows // 2)]))
            writer.stage(parsed("/data/b.md", [f"text {n}" for n in range(rows // 2, rows)]))
            works = writer.claim(rows)
            writer.put(Embedded(np.array([work.id for work in works], np.int64), vectors))
            writer.finish()
        kind = "halfvec" if dim <= 4_000 else "bit"
        assert kind in store.engines()["vectors"]
        stored = vectors.astype(np.float16 if dtype == "fp16" else np.float32).astype(np.float32)
        queries = (vectors[:20] + 0.3 * random.normal(size=(20, dim)) / np.sqrt(dim)).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        with store.snapshot() as snapshot:
            assert snapshot.recall(16) >= 0.95
            first = works[0].id
            found = snapshot.dense(queries, 10)
            exact = np.sort(queries @ stored.T, axis=1)[:, ::-1][:, :10]
            assert (found.scores >= exact[:, 9:] - 1e-6).mean() >= 0.95
            rows_found = found.ids - first
            products = (queries[:, None].astype(np.float64) * stored[rows_found]).sum(axis=2)
            np.testing.assert_allclose(found.scores, products, atol=1e-6)  # exact, however they were found
            monkeypatch.setattr(nearest, "FEW", 5)
            only = snapshot.dense(queries, 10, Filter(kinds=("md",)))
            assert (only.ids >= first + rows // 2).all()
            exact = np.sort(queries @ stored[rows // 2 :].T, axis=1)[:, ::-1][:, :10]
            assert (only.scores >= exact[:, 9:] - 1e-6).mean() >= 0.9

    def test_every_search_says_how_the_index_is_to_be_read(self, make, monkeypatch):
        monkeypatch.setattr(nearest, "INDEX_FROM", 5)
        store = make()
        with store.writer() as writer:
            writer.stage(parsed("/data/a", [f"text {n}" for n in range(30)]))
            embed(store, writer)
            writer.finish()
        with store.snapshot() as snapshot:
            assert "text 3" in dense(snapshot, "text 3", 30)
            with snapshot.reading() as catalog:
                asked = "SELECT current_setting('hnsw.iterative_scan'), current_setting('hnsw.ef_search')::int"
                mode, effort = catalog.connection.exec_driver_sql(asked).one()
        assert (mode, effort) == ("strict_order", nearest.EF_SEARCH)
        with store.snapshot() as snapshot, snapshot.reading() as catalog:
            assert catalog.connection.exec_driver_sql("SHOW hnsw.iterative_scan").scalar() == "off"  # SET LOCAL only

    def test_an_index_takes_in_what_comes_later(self, make, monkeypatch):
        monkeypatch.setattr(nearest, "INDEX_FROM", 5)
        store = make()
        with store.writer() as writer:
            writer.stage(parsed("/data/a", [f"text {n}" for n in range(30)]))
            embed(store, writer)
            writer.finish()
        add(store, "/data/b", ["a late one"])
        with store.snapshot() as snapshot:
            assert dense(snapshot, "a late one", 1) == ["a late one"]


def test_globs_and_fields_like_the_reference(make):
    """PostgreSQL's regular expressions and jsonb against filters.matches."""
    store, reference = make(), MemoryStore(manifest())
    paths = ["/data/a.b/c[1].txt", "/data/a-b/c.txt", "/data/A/ü.txt", "/data/x y/z+.md", "/data/n\nl.txt", "/d/^$.txt"]
    for each in (store, reference):
        for path in paths:
            fields = {"nul": "a\0b", "esc": "\\u0000", "quote": "\"'", "path": path}
            add(each, path, document(path, ["text"], fields=fields))
    globs = [
        "*.txt",
        "a.b/*",
        "c[[]1].txt",
        "[!a]*",
        "/data/**/c*",
        "ü.*",
        "*+.md",
        "?.txt",
        "*\n*",
        "^$*",
        "[a-c]*/**",
    ]
    globs += ["[^A]/*", "**/[x-z ]*", "x y/"]
    filters = [Filter(paths=(glob,)) for glob in globs]
    filters += [
        Filter(fields=((name, value),)) for name in ("nul", "esc", "quote") for value in ("a\0b", "\\u0000", "\"'")
    ]
    with store.snapshot() as ours, reference.snapshot() as theirs:
        for condition in filters:
            found = [
                sorted(p.path for p in s.get(s.lexical(["text"], 9, condition).ids[0].tolist())) for s in (ours, theirs)
            ]
            assert found[0] == found[1], condition
        assert ours.facets() == theirs.facets()
