"""A collection from creation to compaction, as the pipeline uses it."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from indexer.errors import CollectionNotFound, LockedError, ReadError, StoreError
from indexer.storage.local import sql_catalog
from indexer.storage.local import store as store_module
from indexer.storage.local.store import Staged, Store
from indexer.types import Counts, Filter
from tests.storage.helpers import (
    ENCODER,
    MTIME,
    add,
    build,
    check,
    document,
    embed,
    file,
    lexical,
    manifest,
    nearest,
    stage,
    texts,
)


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "c", manifest()) as store:
        yield store


class TestWriting:
    def test_nothing_is_visible_before_commit(self, store, tmp_path):
        stage(store, "/data/a", ["one text"])
        embed(store)
        with Store.open(tmp_path / "c") as reader:
            assert texts(reader) == []
            assert list(reader.files()) == []
            store.commit()
            assert reader.refresh()
            assert texts(reader) == ["one text"]

    def test_a_new_document_shows_once_all_its_passages_have_vectors(self, store):
        store.stage(file("/data/a"), [document("/data/a", ["1 a", "1 b"]), document("/data/a", ["2"], record="2")])
        rows = store.unembedded(10)
        assert [text for _, text in rows] == ["1 a", "1 b", "2"]
        store.add_vectors([rows[0][0], rows[2][0]], ENCODER.encode(["1 a", "2"]))
        store.commit()
        assert texts(store) == ["2"]
        embed(store)
        store.commit()
        assert texts(store) == ["1 a", "1 b", "2"]

    def test_a_changed_file_changes_in_one_step(self, store):
        add(store, "/data/a", ["old one", "old two", "stays"])
        store.stage(
            file("/data/a"),
            [document("/data/a", ["new one"], record="1"), document("/data/a", ["new two"], record="2")],
        )
        first = store.unembedded(1)
        store.add_vectors([first[0][0]], ENCODER.encode([first[0][1]]))
        store.commit()
        assert texts(store) == ["old one", "old two", "stays"]
        embed(store)
        store.commit()
        assert texts(store) == ["new one", "new two"]
        assert lexical(store, "old") == []

    def test_a_file_that_becomes_empty_leaves(self, store):
        add(store, "/data/a", ["text"])
        store.stage(file("/data/a"), [])
        store.commit()
        assert texts(store) == []
        assert [f.path for f in store.files()] == ["/data/a"]

    def test_moved_and_copied_texts_are_not_embedded_again(self, store):
        add(store, "/data/a", ["first", "second"])
        assert store.stage(file("/data/b"), [document("/data/b", ["first", "second", "third"])]) == Staged(3, 2)
        store.remove(["/data/a"])
        assert store.unembedded_count() == (1, 1)
        assert embed(store) == 1
        store.commit()
        assert texts(store) == ["first", "second", "third"]
        check(store)

    def test_a_text_is_reused_from_a_removed_file(self, store):
        add(store, "/data/a", ["first"])
        store.remove(["/data/a"])
        store.commit()
        assert store.stage(file("/data/b"), [document("/data/b", ["first"])]) == Staged(1, 1)

    def test_unchanged_records_of_a_changed_file_keep_their_ids(self, store):
        records = [document("/data/a", [f"record {n}"], record=str(n)) for n in range(5)]
        store.stage(file("/data/a"), records)
        embed(store)
        store.commit()
        before = {p.record: p.id for p in store.passages()}
        records[2] = document("/data/a", ["another"], record="2")
        assert store.stage(file("/data/a", mtime_ns=5), records) == Staged(5, 4)
        embed(store)
        store.commit()
        after = {p.record: p.id for p in store.passages()}
        assert after.pop("2") > before.pop("2")
        assert after == before
        assert {p.mtime_ns for p in store.passages()} == {5}

    def test_equal_texts_are_embedded_once(self, store):
        stage(store, "/data/a", ["same", "same", "other"])
        stage(store, "/data/b", ["same"])
        assert store.unembedded_count() == (2, 2)
        assert embed(store) == 2
        store.commit()
        assert texts(store) == ["same", "same", "other", "same"]

    def test_an_interrupted_run_resumes(self, store, tmp_path):
        stage(store, "/data/a", ["one", "two"])
        store.commit()
        store.close()
        with Store.open(tmp_path / "c", writable=True) as again:
            assert again.counts() == Counts(1, 0, 0, 2, 0, 0, 0)
            assert [text for _, text in again.unembedded(9)] == ["one", "two"]
            embed(again)
            again.commit()
            check(again)

    def test_vectors_of_contents_that_never_showed_are_reused(self, store):
        add(store, "/data/a", ["old"])
        stage(store, "/data/a", ["new", "newer"])
        embed(store, 1)
        store.commit()
        assert store.stage(file("/data/a"), [document("/data/a", ["new", "newest"])]) == Staged(2, 1)
        embed(store)
        store.commit()
        assert texts(store) == ["new", "newest"]
        assert lexical(store, "newer") == []
        store.compact()
        check(store)

    def test_rollback(self, store):
        add(store, "/data/a", ["kept"])
        store.set_root("/x", {})
        store.remove(["/data/a"])
        stage(store, "/data/b", ["lost"])
        store.rollback()
        assert texts(store) == ["kept"]
        assert store.roots() == {}
        assert store.unembedded_count() == (0, 0)

    def test_a_reader_error_in_the_middle_of_a_file_leaves_the_file_as_it_was(self, store):
        add(store, "/data/a", ["kept"])

        def contents():
            for n in range(10_000):  # some of it already written
                yield document("/data/a", [f"new {n}"], record=str(n))
            raise ReadError("truncated")

        stage(store, "/data/b", ["other"])
        with pytest.raises(ReadError):
            store.stage(file("/data/a", size=99), contents())
        store.record(file("/data/a", status="failed", reason="truncated", digest=None))
        assert store.unembedded_count() == (1, 1)
        embed(store)
        store.commit()
        assert texts(store) == ["kept", "other"]
        assert [(f.path, f.reason) for f in store.files("failed")] == [("/data/a", "truncated")]
        assert store.counts() == Counts(1, 2, 2, 0, 0, 1, 0)

    def test_ids_are_never_used_twice(self, store):
        add(store, "/data/a", ["one", "two"])
        last = store.allowed(None)[-1]
        store.remove(["/data/a"])
        store.compact()
        add(store, "/data/a", ["three"])
        assert store.allowed(None)[0] > last

    def test_remove_counts_known_files(self, store):
        add(store, "/data/a", ["one"])
        assert store.remove(["/data/a", "/data/none"]) == 1

    def test_touched_files_keep_their_passages_and_get_the_new_time(self, store):
        add(store, "/data/a", ["one"])
        store.record(file("/data/a", mtime_ns=77))
        store.commit()
        assert next(store.passages()).mtime_ns == 77

    def test_wrong_vectors_are_refused(self, store):
        stage(store, "/data/a", ["one"])
        number = store.unembedded(1)[0][0]
        with pytest.raises(StoreError, match="NaN"):
            store.add_vectors([number], np.full((1, 32), np.nan, np.float32))
        with pytest.raises(StoreError, match="shape"):
            store.add_vectors([number], np.ones((1, 31), np.float32))

    def test_odd_characters(self, store):
        path, text = "/data/\udcff\n.txt", "NUL \0 and \ud800 surrogate"
        store.stage(file(path), [document(path, [text], title="\udc80", fields={"\ud800": "\udfff"})])
        rows = store.unembedded(1)
        store.add_vectors([rows[0][0]], ENCODER.encode([rows[0][1]]))
        store.commit()
        assert [f.path for f in store.files()] == ["/data/\\xff\n.txt"]
        assert len(texts(store)[0]) == len(text)
        assert lexical(store, "surrogate") == texts(store)
        assert list(store.passages(path)) == list(store.passages())
        check(store)
        assert store.remove([path]) == 1


class TestFiles:
    def test_sealing_and_reopening(self, store, tmp_path, monkeypatch):
        monkeypatch.setattr(store_module, "SEAL_AT", 20)
        for n in range(10):
            add(store, f"/data/{n}", [f"text {n} {m}" for m in range(7)])
        assert len(list((tmp_path / "c/vectors").iterdir())) == 3
        check(store)
        store.finish()
        store.close()
        with Store.open(tmp_path / "c") as reader:
            check(reader)
            assert reader.sizes()["index"] > 0

    def test_small_shards_are_merged(self, store, tmp_path):
        for n in range(12):
            add(store, f"/data/{n}", [f"text {n}"])
            store.finish()
        assert len(list((tmp_path / "c/vectors").iterdir())) < 12
        check(store)

    def test_many_tombstones_are_compacted_by_finish(self, store):
        for n in range(10):
            add(store, f"/data/{n}", [f"text {n}"])
        store.finish()
        store.remove([f"/data/{n}" for n in range(2)])
        store.finish()
        assert store.counts().tombstones == 2
        store.remove(["/data/5", "/data/6"])
        store.finish()
        assert store.counts().tombstones == 0
        assert store.vectors(store.allowed(None)).shape == (6, 32)
        check(store)

    def test_compact_gives_space_back(self, store):
        for n in range(20):
            stage(store, f"/data/{n}", [f"text {n} {m} " + "word " * 200 for m in range(20)])
        embed(store)
        store.finish()
        before = store.sizes()
        store.remove([f"/data/{n}" for n in range(19)])
        store.compact()
        after = store.sizes()
        assert all(after[name] < before[name] / 4 for name in after)
        check(store)

    def test_few_changes_leave_the_index_file_alone(self, store, tmp_path):
        for n in range(200):
            stage(store, f"/data/{n}", [f"text {n}"])
        embed(store)
        store.finish()
        note = store.manifest.index
        store.remove(["/data/3"])
        add(store, "/data/4", ["wholly other words"])
        store.finish()
        assert store.manifest.index == note
        assert nearest(store, "wholly other words", 1) == ["wholly other words"]
        assert "text 3" not in texts(store)
        check(store)
        store.save_index()
        assert store.manifest.index.generation == store.generation
        check(store)

    def test_a_missing_index_is_no_loss(self, store, tmp_path):
        add(store, "/data/a", ["one", "two"])
        store.finish()
        store.close()
        for path in (tmp_path / "c").glob("*.faiss"):
            path.unlink()
        with Store.open(tmp_path / "c") as reader:
            assert nearest(reader, "two", 1) == ["two"]

    @pytest.mark.parametrize("dtype", ["fp16", "fp32"])
    def test_vectors_come_back_as_they_were_stored(self, tmp_path, dtype):
        with Store.create(tmp_path / "d", manifest(vector_dtype=dtype)) as store:
            add(store, "/data/a", ["one two three", "two"])
            vectors = ENCODER.encode(texts(store))
            expected = vectors.astype(np.float16).astype(np.float32) if dtype == "fp16" else vectors
            for _ in range(2):
                np.testing.assert_array_equal(store.vectors(store.allowed(None)), expected)
                store.finish()

    def test_the_manifest_comes_back(self, store, tmp_path):
        store.finish()
        with Store.open(tmp_path / "c") as reader:
            assert reader.manifest == store.manifest
            assert reader.manifest.spec == ENCODER.spec


class TestReading:
    def test_any_folder_name(self, tmp_path):
        folder = tmp_path / "a?mode=ro#b%20c 'd\" é"
        with build(folder, [("/data/a", ["one"])]) as store:
            store.finish()
        with Store.open(folder) as reader:
            assert texts(reader) == nearest(reader, "one", 1) == ["one"]
        assert [p.name for p in tmp_path.iterdir()] == [folder.name]

    def test_no_collection(self, tmp_path):
        with pytest.raises(CollectionNotFound, match="semsearch index"):
            Store.open(tmp_path / "none")

    def test_create_refuses_an_existing_one(self, store, tmp_path):
        store.close()
        with pytest.raises(StoreError, match="already"):
            Store.create(tmp_path / "c", manifest())

    def test_a_reader_cannot_write(self, store, tmp_path):
        with Store.open(tmp_path / "c") as reader, pytest.raises(StoreError, match="writable"):
            reader.remove(["/data/a"])

    def test_a_reader_stays_at_its_generation(self, store, tmp_path):
        add(store, "/data/a", ["old one", "old two"])
        with Store.open(tmp_path / "c") as reader:
            add(store, "/data/a", ["new one"])
            add(store, "/data/b", ["new two"])
            assert texts(reader) == nearest(reader, "old one") == ["old one", "old two"]
            assert lexical(reader, "new") == []
            assert reader.counts().passages == 2
            assert reader.refresh()
            assert texts(reader) == ["new one", "new two"]
            assert sorted(lexical(reader, "new")) == ["new one", "new two"]
            assert not reader.refresh()

    def test_a_reader_whose_generation_was_compacted_away_moves_on(self, store, tmp_path):
        add(store, "/data/a", ["old one", "old two"])
        store.finish()
        with Store.open(tmp_path / "c") as searching, Store.open(tmp_path / "c") as counting:
            nearest(searching, "old")
            add(store, "/data/a", ["new one"])
            store.compact()
            assert nearest(searching, "one") == ["new one"]
            assert counting.counts().passages == 1
            assert lexical(counting, "one") == ["new one"]

    def test_get_keeps_the_order_and_leaves_out_the_unknown(self, store):
        add(store, "/data/a", ["one", "two", "three"])
        ids = store.allowed(None)
        found = store.get([ids[2], 999, ids[0]])
        assert [p.passage.text for p in found] == ["three", "one"]
        assert (found[0].passage.line_start, found[0].passage.start, found[0].path) == (3, 8, "/data/a")

    def test_search_pads_with_none(self, store):
        add(store, "/data/a", ["one"])
        for found in (store.search(ENCODER.encode(["one", "x"]), 3), store.search_text("one", 3)):
            assert (found.ids[:, 1:] == -1).all()
            assert np.isneginf(found.scores[:, 1:]).all()

    def test_an_empty_collection_answers(self, store):
        found = store.search(ENCODER.encode(["one"]), 3)
        assert found.ids.tolist() == [[-1, -1, -1]]
        assert store.search_text("one", 2).ids.tolist() == [[-1, -1]]
        store.finish()
        assert store.search(ENCODER.encode(["one"]), 3).ids.tolist() == [[-1, -1, -1]]

    def test_wrong_queries(self, store):
        with pytest.raises(StoreError, match="shape"):
            store.search(np.ones((1, 3), np.float32), 3)
        with pytest.raises(StoreError, match="k is 0"):
            store.search_text("one", 0)

    def test_filters(self, store):
        for path, kind, mtime, fields in (
            ("/data/docs/a.md", "markdown", 0, {}),
            ("/data/docs/deep/b.md", "markdown", 10, {}),
            ("/data/c.csv", "csv", 20, {"author": "Ada", "year": "1843"}),
            ("/data/d.csv", "csv", 30, {"author": "Alan", "year": "1936"}),
        ):
            store.stage(
                file(path, mtime_ns=MTIME + mtime * 10**9), [document(path, [f"text {path}"], kind=kind, fields=fields)]
            )
        embed(store)
        store.commit()

        def found(**conditions):
            filter = Filter(**conditions)
            ids = store.allowed(filter)
            dense, words = store.search(ENCODER.encode(["text"]), 4, filter), store.search_text("text", 4, filter)
            assert sorted(dense.ids[dense.ids >= 0]) == sorted(words.ids[words.ids >= 0]) == ids.tolist()
            return "".join(p.path.split("/")[-1][0] for p in store.get(ids))

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

    @pytest.mark.parametrize(
        "query",
        ['"', "a AND", "NEAR(", "text*", "-text", "title:text", "^", "(", "\0text", "\ud800 text", "text OR", "_"],
    )
    def test_no_query_is_syntax(self, store, query):
        add(store, "/data/a", ["some text"])
        assert lexical(store, query) == (["some text"] if "text" in query else [])

    def test_a_very_long_query(self, store):
        add(store, "/data/a", ["word0 here"])
        assert lexical(store, " ".join(f"word{n}" for n in range(10_000))) == ["word0 here"]

    def test_words_that_are_everywhere_do_not_change_the_order(self, store, monkeypatch):
        for n in range(30):
            stage(store, f"/data/{n}", [f"each text {'rare ' * (n % 3)}" + "filler " * n])
        embed(store)
        store.commit()
        whole = store.search_text("each rare text", 20)
        monkeypatch.setattr(sql_catalog, "MANY", 10)
        ours = store.search_text("each rare text", 20)
        np.testing.assert_array_equal(ours.ids, whole.ids)
        np.testing.assert_allclose(ours.scores, whole.scores, rtol=1e-3)
        assert (store.search_text("each text", 30).ids > 0).all()

    def test_many_hidden_matches_do_not_hide_others(self, store, tmp_path):
        add(store, "/data/a", ["word in a rather long passage that comes last of all"])
        for n in range(300):
            stage(store, f"/data/{n}", ["word"])
        embed(store)
        with Store.open(tmp_path / "c") as reader:
            store.commit()
            assert lexical(reader, "word", 1) == ["word in a rather long passage that comes last of all"]

    def test_phrases_and_beginnings(self, store):
        add(store, "/data/a", ["the old red fox", "red and old, the fox", "an opinion on optics", "a cold option"])
        assert lexical(store, '"old red"') == ["the old red fox"]
        assert lexical(store, '"Old  RED" optics') == ["the old red fox", "an opinion on optics"]
        assert sorted(lexical(store, "opt*")) == ["a cold option", "an opinion on optics"]
        assert lexical(store, "opt") == []
        assert lexical(store, '"old red') == lexical(store, "old red")  # a lone quote opens nothing
        assert lexical(store, '"" opt ** o* 2*3 "*"') == []  # a single letter with a star is that letter

    def test_common_words_are_not_looked_for_unless_there_are_no_others(self, store):
        add(store, "/data/a", ["what is this", "the band who sang", "an old fox"])
        assert lexical(store, "What is an old fox?") == ["an old fox"]
        assert store.text_scale("what is an old fox") == store.text_scale("old fox")
        assert lexical(store, "what is this") == ["what is this"]
        assert sorted(lexical(store, '"who" fox')) == ["an old fox", "the band who sang"]
        assert lexical(store, '"the band" is an') == ["the band who sang"]
        assert lexical(store, "thi*") == ["what is this"]

    def test_words_are_stemmed_and_accents_do_not_matter(self, store):
        add(store, "/data/a", ["Der Kaffee im Café", "running horses"], title="Zeitung")
        assert lexical(store, "cafe") == ["Der Kaffee im Café"]
        assert lexical(store, "horse runs") == ["running horses"]
        assert len(lexical(store, "zeitung")) == 2


def test_two_writers(store, tmp_path):
    with pytest.raises(LockedError, match=r"process \d+ on"):
        Store.open(tmp_path / "c", writable=True)
    store.close()
    Store.open(tmp_path / "c", writable=True).close()


def test_build_in_another_form(tmp_path):
    with build(tmp_path / "c", [(f"/data/{n}", [f"text number {n}"]) for n in range(300)]) as store:
        store._view.manifest = replace(store.manifest, index_kind="hnsw")
        store.finish()
        assert store.manifest.index.kind == "hnsw"
        assert nearest(store, "number 77", 1) == ["text number 77"]
    with Store.open(tmp_path / "c") as reader:
        assert nearest(reader, "number 77", 1) == ["text number 77"]
