"""The promises of Snapshot: what it holds stays, and what each question answers."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from indexer.errors import StoreError
from indexer.types import Counts, Document, Facets, Filter, Heading, ParsedDocument, Passage
from tests.storage.contract.factories import maintenance
from tests.storage.contract.values import (
    DIM,
    ENCODER,
    MTIME,
    TERMS,
    add,
    dense,
    document,
    embed,
    file,
    ids,
    lexical,
    now,
    parsed,
    remove,
    shown,
    texts,
)


def everything(snapshot):
    """Return an answer to every question, to compare with a later one."""
    numbers = ids(snapshot)
    return (
        snapshot.generation,
        snapshot.version,
        snapshot.manifest,
        replace(snapshot.counts(), tombstones=0),
        snapshot.facets(),
        snapshot.roots(),
        list(snapshot.files()),
        list(snapshot.documents()),
        snapshot.get(numbers),
        snapshot.dense(ENCODER.encode(["one", "two three"]), 9).ids.tolist(),
        snapshot.dense(ENCODER.encode(["one"]), 9, Filter(paths=("b",))).ids.tolist(),
        snapshot.lexical(["one two three"], 9).ids.tolist(),
        snapshot.sparse(ENCODER.encode_terms(["one two"])[1], 9).ids.tolist(),
        snapshot.embedded(numbers).tolist(),
        snapshot.vectors(numbers[snapshot.embedded(numbers)]).tolist(),
        snapshot.terms(numbers[snapshot.embedded(numbers)]),
        snapshot.sample(2, 0).tolist(),
    )


class TestPinning:
    def test_a_snapshot_stays_as_it_is(self, sparse_store):
        store = sparse_store
        add(store, "/data/a", ["one", "one two"])
        add(store, "/data/b", ["three"])
        with store.writer() as writer:
            writer.stage(parsed("/data/c", ["two words"]))
            writer.set_root("/data", {"x": 1})
            writer.commit()
        looked, late = store.snapshot(), store.snapshot()
        before = everything(looked)
        add(store, "/data/a", ["one anew"])
        remove(store, "/data/b")
        with store.writer() as writer:
            writer.record(file("/data/d", status="failed", reason="torn"))
            writer.drop_root("/data")
            writer.finish()
        assert everything(looked) == before
        maintenance(store).compact()
        add(store, "/data/e", [f"one of many {n}" for n in range(40)])
        maintenance(store).compact()
        assert everything(looked) == before
        assert everything(late) == before  # also where nothing was asked before all that
        looked.close()
        assert everything(late) == before
        late.close()
        assert now(store)[:2] == ["one anew", "two words"]

    def test_the_version_tells_of_every_visible_commit(self, store):
        versions = [store.version()]
        generations = []

        def look(changed: bool):
            with store.snapshot() as snapshot:
                assert snapshot.version == store.version()
                assert snapshot.manifest == store.manifest
                generations.append(snapshot.generation)
            versions.append(store.version())
            assert (versions[-1] not in versions[:-1]) == changed

        look(changed=False)
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["one"]))
            look(changed=False)
            writer.commit()
            look(changed=True)
            embed(store, writer)
            assert writer.commit() > generations[-1]
            look(changed=True)
            writer.commit()
            look(changed=False)
            writer.stage(parsed("/data/b", ["two"]))
            writer.rollback()
            writer.commit()
            look(changed=False)
            writer.remove(["/data/a"])
            writer.commit()
            look(changed=True)
        assert generations == sorted(generations)

    def test_snapshots_outlive_their_store(self, store):
        add(store, "/data/a", ["one"])
        with store.snapshot() as snapshot:
            store.close()
            assert shown(snapshot) == dense(snapshot, "one") == lexical(snapshot, "one") == ["one"]


class TestContents:
    def test_documents_come_back_as_they_were_staged(self, store):
        text = "  # Title\n\n\tone  two\n\n\nthree  \n"
        spans = [(text.index(part), text.index(part) + len(part)) for part in ("# Title", "one  two", "three")]
        parts = tuple(
            Passage(text[a:b], a, b, n, n + 1, n, page=n, heading=f"Title › {n}") for n, (a, b) in enumerate(spans, 1)
        )
        headings = (Heading(2, 9, 1, "Title"), Heading(12, 12, 2, ""))
        whole = Document(
            "/data/b", text, "markdown", None, "A title", {}, line_start=3, page_starts=(0, 11), headings=headings
        )
        record = document("/data/a", ["some text"], record="7", kind="csv", fields={"author": "Ada", "year": "1843"})
        add(store, "/data/b", ParsedDocument(whole, parts), mtime_ns=9)
        add(store, "/data/a", record)
        with store.snapshot() as snapshot:
            found = list(snapshot.documents())
            assert [each.document for each in found] == [record.document, whole]
            assert tuple(p.passage for p in found[1].passages) == parts
            assert [(p.path, p.title, p.mtime_ns) for p in found[1].passages] == [("/data/b", "A title", 9)] * 3
            assert list(snapshot.documents("/data/b")) == found[1:]
            assert list(snapshot.documents("/data/none")) == []
            assert snapshot.get([p.id for p in found[0].passages]) == list(found[0].passages)

    def test_documents_are_in_the_order_of_paths_and_as_staged(self, store):
        add(store, "/data/b", ["b1"], ["b2"], ["b3"])
        add(store, "/data/a", ["a1", "a2"])
        assert now(store) == ["a1", "a2", "b1", "b2", "b3"]
        add(store, "/data/b", ["b1"], ["new"], ["b3"])
        assert now(store) == ["a1", "a2", "b1", "new", "b3"]

    def test_get_keeps_the_order_and_leaves_out_what_is_not_shown(self, store):
        add(store, "/data/a", ["one", "two", "three"])
        add(store, "/data/b", ["gone"])
        with store.snapshot() as snapshot:
            numbers = ids(snapshot)
        remove(store, "/data/b")
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["pending"]))
            writer.commit()
            pending = writer.claim(1)[0].id
        with store.snapshot() as snapshot:
            found = snapshot.get([numbers[2], 10**12, numbers[3], pending, numbers[0], -1])
            assert [p.passage.text for p in found] == ["three", "one"]
            assert (found[0].passage.line_start, found[0].passage.start, found[0].path) == (3, 8, "/data/a")
            assert snapshot.get(numbers[:0]) == []
            asked = np.array([numbers[2], 10**12, pending, numbers[0]], np.int64)
            assert snapshot.embedded(asked).tolist() == [True, False, False, True]

    def test_counts(self, store):
        add(store, "/data/a", ["one", "two"], ["three"])
        with store.writer() as writer:
            writer.stage(parsed("/data/b", ["four", "five"]))
            writer.stage(parsed("/data/a", ["six"]))
            writer.record(file("/data/c", status="failed"))
            writer.record(file("/data/d", status="skipped"))
            writer.record(file("/data/e", status="skipped"))
            writer.commit()
        with store.snapshot() as snapshot:
            counts = replace(snapshot.counts(), tombstones=0)
            assert counts == Counts(
                2, documents=3, passages=5, embedded=3, pending=3, tombstones=0, failed=1, skipped=2
            )

    def test_facets(self, store):
        add(store, "/data/a", document("/data/a", ["one"], kind="csv", fields={"author": "Ada", "year": "1"}))
        add(store, "/data/b", document("/data/b", ["one"], kind="csv", fields={"year": "2"}), ["two"])
        add(store, "/data/c", document("/data/c", ["gone"], kind="html", fields={"gone": ""}))
        remove(store, "/data/c")
        with store.snapshot() as snapshot:
            assert snapshot.facets() == Facets({"csv": 2, "text": 1}, {"author": 1, "year": 2})

    def test_vectors_and_terms_only_of_those_that_have_them(self, store, sparse_store):
        add(sparse_store, "/data/a", ["one", "two"])
        with sparse_store.writer() as writer:
            writer.stage(parsed("/data/b", ["three"]))
            writer.commit()
        with sparse_store.snapshot() as snapshot:
            numbers = ids(snapshot)
            back = numbers[[1, 0, 1]]
            np.testing.assert_allclose(snapshot.vectors(back), ENCODER.encode(["two", "one", "two"]), atol=1e-3)
            assert snapshot.vectors(back).dtype == np.float32
            assert snapshot.terms(back) == ENCODER.encode_terms(["two", "one", "two"])[1]
            assert snapshot.vectors([]).shape == (0, DIM)
            for question in (snapshot.vectors, snapshot.terms):
                with pytest.raises(StoreError, match=str(numbers[2])):
                    question(numbers)
                with pytest.raises(StoreError):
                    question([10**12])
        add(store, "/data/a", ["one"])
        with store.snapshot() as snapshot, pytest.raises(StoreError, match="sparse"):
            snapshot.terms(ids(snapshot))
        with store.snapshot() as snapshot, pytest.raises(StoreError, match="sparse"):
            snapshot.sparse([{1: 1}], 3)

    def test_a_sample_is_of_different_embedded_passages(self, store):
        add(store, "/data/a", [f"word{n}" for n in range(30)])
        with store.writer() as writer:
            writer.stage(parsed("/data/b", ["without a vector"]))
            writer.commit()
        with store.snapshot() as snapshot:
            every = snapshot.vectors(ids(snapshot)[:30])
            once, again, other = snapshot.sample(12, 3), snapshot.sample(12, 3), snapshot.sample(12, 4)
            np.testing.assert_array_equal(once, again)
            assert not np.array_equal(np.sort(once, 0), np.sort(other, 0))
            assert once.shape == (12, DIM)
            assert once.dtype == np.float32
            rows = {tuple(row) for row in once.tolist()}
            assert rows <= {tuple(row) for row in every.tolist()}
            assert snapshot.sample(100, 0).shape == (30, DIM)
            np.testing.assert_array_equal(np.sort(snapshot.sample(30, 1), 0), np.sort(every, 0))

    def test_annotations(self, store):
        assert store.annotation("weights") is None
        store.annotate("weights", {"dense": 0.5, "names": ["a", None]})
        store.annotate("other", {})
        assert store.annotation("weights") == {"dense": 0.5, "names": ["a", None]}
        store.annotate("weights", {"dense": 1})
        with store.writer() as writer:
            store.annotate("other", None)  # no commit needed
            writer.rollback()
        assert (store.annotation("weights"), store.annotation("other")) == ({"dense": 1}, None)
        store.annotate("other", None)


class TestDense:
    def test_like_the_definition(self, make):
        store = make(vector_dtype="fp32")
        passages = [f"{a} {b} {a}" for a in "abcdefg" for b in ("x", "y", "z", "xyz")]
        add(store, "/data/a", passages)
        queries = ENCODER.encode(["a x", "b y b", "none", "xyz"])
        with store.snapshot() as snapshot:
            numbers = ids(snapshot)
            scores = queries.astype(np.float64) @ ENCODER.encode(passages).astype(np.float64).T
            expected = np.argsort(-scores.astype(np.float32), axis=1, kind="stable")[:, :10]
            found = snapshot.dense(queries, 10)
            assert (found.ids.dtype, found.scores.dtype) == (np.int64, np.float32)
            np.testing.assert_allclose(found.scores, np.take_along_axis(scores, expected, 1), atol=1e-6)
            np.testing.assert_array_equal(found.ids, numbers[expected])
            for row in range(len(queries)):
                alone = snapshot.dense(queries[row : row + 1], 10)
                np.testing.assert_array_equal(alone.ids[0], found.ids[row])
                np.testing.assert_array_equal(alone.scores[0], found.scores[row])

    def test_equal_scores_are_in_the_order_of_ids(self, store):
        for path in ("/data/b", "/data/a", "/data/c"):
            add(store, path, ["same words", "words same", "else"])
        with store.snapshot() as snapshot:
            found = snapshot.dense(ENCODER.encode(["same words"]), 4)
            assert found.ids[0].tolist() == sorted(found.ids[0].tolist())
            assert len(set(found.scores[0].tolist())) == 1
            assert snapshot.dense(ENCODER.encode(["same words"]), 2).ids[0].tolist() == found.ids[0, :2].tolist()

    def test_no_more_results_than_passages(self, store):
        add(store, "/data/a", ["one"])
        with store.writer() as writer:
            writer.stage(parsed("/data/b", ["without a vector"]))
            writer.commit()
        with store.snapshot() as snapshot:
            found = snapshot.dense(ENCODER.encode(["one", "x"]), 10**12)
            assert found.ids.shape == found.scores.shape == (2, 2)
            assert (found.ids[:, 1] == -1).all()
            assert np.isneginf(found.scores[:, 1]).all()
            for words in (snapshot.lexical(["one"], 10**12), snapshot.lexical(["none"], 10**12)):
                assert words.ids.shape == words.scores.shape == (1, 2)
                assert ((words.ids == -1) == np.isneginf(words.scores)).all()
            only = snapshot.dense(ENCODER.encode(["one"]), 5, Filter(paths=("b",)))
            assert only.ids.tolist() == [[-1, -1]]

    def test_an_empty_collection_answers(self, store):
        with store.snapshot() as snapshot:
            assert snapshot.dense(ENCODER.encode(["one", "two"]), 3).ids.shape == (2, 0)
            assert snapshot.lexical(["one"], 3).ids.shape == (1, 0)
            assert snapshot.sample(5, 0).shape == (0, DIM)
            assert (snapshot.counts().passages, list(snapshot.documents())) == (0, [])

    def test_no_queries(self, sparse_store):
        add(sparse_store, "/data/a", ["one", "two"])
        with sparse_store.snapshot() as snapshot:
            empty = [snapshot.dense(np.zeros((0, DIM), np.float32), 2), snapshot.lexical([], 2), snapshot.sparse([], 2)]
            assert [found.ids.shape for found in empty] == [(0, 2)] * 3

    def test_wrong_queries(self, sparse_store):
        add(sparse_store, "/data/a", ["one"])
        with sparse_store.snapshot() as snapshot:
            with pytest.raises(StoreError, match="shape"):
                snapshot.dense(np.ones((1, 3), np.float32), 3)
            for ask in (
                lambda: snapshot.dense(ENCODER.encode(["one"]), 0),
                lambda: snapshot.lexical(["one"], 0),
                lambda: snapshot.sparse([{1: 1}], 0),
            ):
                with pytest.raises(StoreError, match="k is 0"):
                    ask()


class TestSparse:
    def test_like_the_definition(self, sparse_store):
        passages = [f"{a} {b} {a}" for a in ("alpha", "beta", "gamma") for b in ("x", "y", "alpha", "")]
        add(sparse_store, "/data/a", passages)
        stored = ENCODER.encode_terms(passages, max_terms=TERMS)[1]
        with sparse_store.snapshot() as snapshot:
            numbers = ids(snapshot)
            queries = [stored[0], stored[5], {12345: 7}, ENCODER.encode_terms(["x y beta"])[1][0]]
            found = snapshot.sparse(queries, 5)
            for row, query in enumerate(queries):
                products = np.array([sum(w * query.get(t, 0) for t, w in terms.items()) for terms in stored])
                expected = [n for n in np.argsort(-products, kind="stable")[:5] if products[n] > 0]
                width = len(expected)
                assert found.ids[row].tolist() == [*numbers[expected].tolist(), *[-1] * (5 - width)]
                assert found.scores[row, :width].tolist() == products[expected].tolist()
            some = snapshot.sparse([stored[0]], 5, Filter(paths=("none",)))
            assert some.ids.tolist() == [[-1] * 5]


class TestLexical:
    def test_any_word_may_match_and_titles_count_twice(self, store):
        add(store, "/data/a", document("/data/a", ["nothing at all here"], title="Zeitung"))
        add(store, "/data/b", document("/data/b", ["the zeitung of today"], title="Daily"))
        add(store, "/data/c", ["red fox", "red red bird", "grey wolf", "grey mouse"])
        with store.snapshot() as snapshot:
            assert lexical(snapshot, "ZEITUNG") == ["nothing at all here", "the zeitung of today"]
            assert lexical(snapshot, "fox grey")[0] == "red fox"
            assert sorted(lexical(snapshot, "fox grey")) == ["grey mouse", "grey wolf", "red fox"]
            assert lexical(snapshot, "red fox", 1) == ["red fox"]
            assert lexical(snapshot, "unknown") == []

    def test_full_says_how_much_of_the_query_a_passage_holds(self, store):
        filler = [f"{letter * 3} text" for letter in "abcdefghijklmnopqrst"]
        add(store, "/data/a", [*filler, "walrus piano", "walrus drum"])
        with store.snapshot() as snapshot:
            found = snapshot.lexical(["walrus piano", "walrus xylophone", "zzz", ""], 3)
            assert found.full.dtype == np.float32
            # As SQLite's FTS5 weighs a word that 2, 1 and 0 of 22 passages hold.
            two, one, none = (math.log((22 - n + 0.5) / (n + 0.5)) for n in (2, 1, 0))
            np.testing.assert_allclose(found.full, [two + one, two + none, none, 0], rtol=1e-5)
            share = found.scores[:, 0] / found.full
            assert share[0] == pytest.approx(1, abs=0.05)
            assert share[1] == pytest.approx(two / (two + none), abs=0.05)

    def test_scores_do_not_depend_on_the_other_queries(self, store):
        add(store, "/data/a", [f"walrus {'piano ' * (n % 3)} {n}" for n in range(9)])
        queries = ["walrus", "piano 3", "none", "7 8"]
        with store.snapshot() as snapshot:
            together = snapshot.lexical(queries, 4)
            for row, query in enumerate(queries):
                alone = snapshot.lexical([query], 4)
                np.testing.assert_array_equal(alone.ids[0], together.ids[row])
                np.testing.assert_array_equal(alone.scores[0], together.scores[row])
                assert alone.full[0] == together.full[row]

    @pytest.mark.parametrize(
        "query",
        ['"', "a AND", "NEAR(", "text*", "-text", "title:text", "^", "(", "\0text", "\ud800 text", "text OR", "_"],
    )
    def test_no_query_is_syntax(self, store, query):
        add(store, "/data/a", ["some text"])
        with store.snapshot() as snapshot:
            assert lexical(snapshot, query) == (["some text"] if "text" in query else [])

    def test_a_very_long_query(self, store):
        add(store, "/data/a", ["word0 here"])
        with store.snapshot() as snapshot:
            assert lexical(snapshot, " ".join(f"word{n}" for n in range(5_000))) == ["word0 here"]

    def test_phrases_and_beginnings(self, store):
        add(store, "/data/a", ["the old red fox", "red and old, the fox", "an opinion on optics", "a cold option"])
        with store.snapshot() as snapshot:
            assert lexical(snapshot, '"old red"') == ["the old red fox"]
            assert lexical(snapshot, '"Old  RED" optics') == ["the old red fox", "an opinion on optics"]
            assert sorted(lexical(snapshot, "opt*")) == ["a cold option", "an opinion on optics"]
            assert lexical(snapshot, "opt") == []
            assert lexical(snapshot, '"old red') == lexical(snapshot, "old red")

    def test_common_words_are_not_looked_for_unless_there_are_no_others(self, store):
        add(store, "/data/a", ["what is this", "the band who sang", "an old fox"])
        with store.snapshot() as snapshot:
            assert lexical(snapshot, "What is an old fox?") == ["an old fox"]
            assert snapshot.lexical(["what is an old fox"], 1).full == snapshot.lexical(["old fox"], 1).full
            assert lexical(snapshot, "what is this") == ["what is this"]
            assert lexical(snapshot, '"the band" is an') == ["the band who sang"]

    def test_hidden_passages_do_not_stand_in_the_way(self, store):
        add(store, "/data/a", ["word in a rather long passage that comes last of all"])
        held = store.snapshot()
        add(store, "/data/b", ["word"] * 300)
        assert lexical(held, "word", 1) == ["word in a rather long passage that comes last of all"]
        held.close()
        remove(store, "/data/b")
        with store.snapshot() as snapshot:
            assert lexical(snapshot, "word", 5) == ["word in a rather long passage that comes last of all"]


class TestFilters:
    def test_conditions(self, sparse_store):
        store = sparse_store
        for path, kind, seconds, fields in (
            ("/data/docs/a.md", "markdown", 0, {}),
            ("/data/docs/deep/b.md", "markdown", 10, {}),
            ("/data/c.csv", "csv", 20, {"author": "Ada", "year": "1843"}),
            ("/data/d.csv", "csv", 30, {"author": "Alan", "year": "1936"}),
        ):
            part = document(path, [f"text {path}"], kind=kind, fields=fields)
            add(store, path, part, mtime_ns=MTIME + seconds * 10**9)
        snapshot = store.snapshot()
        terms = ENCODER.encode_terms(["text"])[1]

        def found(**conditions):
            condition = Filter(**conditions)
            results = (
                snapshot.dense(ENCODER.encode(["text"]), 4, condition),
                snapshot.lexical(["text"], 4, condition),
                snapshot.sparse(terms, 4, condition),
            )
            names = ["".join(sorted(p.path.split("/")[-1][0] for p in snapshot.get(r.ids[0]))) for r in results]
            assert names[0] == names[1] == names[2]
            return names[0]

        moment = datetime.fromtimestamp(MTIME // 10**9, UTC)
        assert found() == "abcd"
        assert found(paths=("/data/docs/*.md",)) == "a"
        assert found(paths=("docs/**",)) == "ab"
        assert found(paths=("*.csv", "a.*")) == "acd"
        assert found(kinds=("markdown",)) == "ab"
        assert found(kinds=("CSV", ".md")) == "abcd"
        assert found(kinds=("m%",)) == ""
        assert found(since=moment.replace(second=moment.second + 10)) == "bcd"
        assert found(until=moment.replace(second=moment.second + 20)) == "ab"
        assert found(fields=(("author", "Ada"),)) == "c"
        assert found(fields=(("author", "Ada"), ("author", "Alan"), ("year", "1936"))) == "d"
        assert found(fields=(("title", "x' OR 1=1"),)) == ""
        snapshot.close()

    def test_the_filter_comes_before_the_top_k(self, store):
        add(store, "/data/a", ["fox"] * 50)
        add(store, "/data/b", ["bird bird fox"])
        with store.snapshot() as snapshot:
            only = Filter(paths=("b",))
            assert texts(snapshot, snapshot.dense(ENCODER.encode(["fox"]), 1, only).ids[0]) == ["bird bird fox"]
            assert texts(snapshot, snapshot.lexical(["fox"], 1, only).ids[0]) == ["bird bird fox"]
