"""The promises of Writer: when changes show, what is embedded, what is undone."""

from dataclasses import replace

import numpy as np
import pytest

from indexer.errors import LockedError, StoreError
from indexer.types import Embedded, Parsed, Staged, Waiting
from tests.storage.contract.factories import maintenance
from tests.storage.contract.values import (
    ENCODER,
    MTIME,
    add,
    dense,
    document,
    embed,
    embedded,
    file,
    ids,
    lexical,
    now,
    parsed,
    remove,
    shown,
)


def records(*texts: str, path: str = "/data/a"):
    return [document(path, [text], record=str(n)) for n, text in enumerate(texts)]


class TestShowing:
    def test_nothing_shows_before_commit(self, store):
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["one text"]))
            writer.set_root("/data", {"x": 1})
            embed(store, writer)
            with store.snapshot() as before:
                assert (shown(before), list(before.files()), before.roots()) == ([], [], {})
                assert lexical(before, "text") == dense(before, "text") == []
            writer.commit()
            with store.snapshot() as after:
                assert shown(after) == lexical(after, "text") == dense(after, "text") == ["one text"]
                assert after.roots() == {"/data": {"x": 1}}

    def test_a_new_document_is_found_by_words_at_once_and_by_vectors_as_they_come(self, sparse_store):
        store = sparse_store
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["red fox", "old bird"], ["third text"]))
            writer.commit()
            with store.snapshot() as words_only:
                assert shown(words_only) == ["red fox", "old bird", "third text"]
                assert lexical(words_only, "bird") == ["old bird"]
                assert dense(words_only, "bird") == []
                assert not words_only.embedded(ids(words_only)).any()
                assert words_only.counts().pending == words_only.counts().passages == 3
            assert embed(store, writer, 2) == ["red fox", "old bird"]
            writer.commit()
            with store.snapshot() as some:
                assert sorted(dense(some, "bird")) == ["old bird", "red fox"]
                assert some.embedded(ids(some)).tolist() == [True, True, False]
                assert some.counts().pending == 1
                terms = ENCODER.encode_terms(["third bird"])[1]
                assert some.sparse(terms, 5).ids[0, 0] == ids(some)[1]
            embed(store, writer)
            writer.commit()
        with store.snapshot() as every:
            assert dense(every, "third text", 1) == ["third text"]
            assert every.embedded(ids(every)).all()
            assert every.counts().pending == 0

    def test_a_changed_file_changes_in_one_step(self, store):
        add(store, "/data/a", ["old one", "old two", "stays"])
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["new one"], ["new two"]))
            assert embed(store, writer, 1) == ["new one"]
            writer.commit()
            with store.snapshot() as before:
                assert shown(before) == ["old one", "old two", "stays"]
                assert lexical(before, "new") == []
                assert sorted(dense(before, "new one")) == ["old one", "old two", "stays"]
                assert before.counts().pending == 1
            embed(store, writer)
            writer.commit()
        with store.snapshot() as after:
            assert shown(after) == ["new one", "new two"]
            assert sorted(dense(after, "old")) == sorted(lexical(after, "new")) == ["new one", "new two"]
            assert lexical(after, "old") == lexical(after, "stays") == []

    def test_records_that_are_only_added_show_at_once(self, store):
        add(store, "/data/a", *records("one", "two"))
        with store.writer() as writer:
            assert writer.stage(parsed("/data/a", *records("one", "two", "three"))) == Staged(3, 2)
            writer.commit()
            with store.snapshot() as snapshot:
                assert sorted(shown(snapshot)) == ["one", "three", "two"]
                assert lexical(snapshot, "three") == ["three"]
                assert sorted(dense(snapshot, "three")) == ["one", "two"]

    def test_a_file_that_changes_again_before_its_vectors_came(self, store):
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["first words"]))
            writer.commit()
            writer.stage(parsed("/data/a", ["second words"]))
            writer.commit()
            assert now(store) == ["first words"]
            assert writer.waiting() == Waiting(1, 2)  # the first contents need no vectors any more
            assert embed(store, writer) == ["second words"]
            writer.commit()
        assert now(store) == ["second words"]

    def test_contents_that_were_replaced_before_they_showed(self, store):
        add(store, "/data/a", ["old"])
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["between"]))
            writer.commit()
            writer.stage(parsed("/data/a", ["new"]))
            embed(store, writer)
            writer.commit()
        assert now(store) == ["new"]

    def test_a_changed_file_that_is_changed_back(self, store):
        add(store, "/data/a", ["old"])
        with store.snapshot() as snapshot:
            before = ids(snapshot).tolist()
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["new"]))
            writer.commit()
            assert writer.stage(parsed("/data/a", ["old"])) == Staged(1, 1)
            assert writer.waiting() == Waiting(0, 0)
            writer.commit()
        with store.snapshot() as snapshot:
            assert (shown(snapshot), ids(snapshot).tolist()) == (["old"], before)
            assert snapshot.counts().pending == 0

    def test_a_file_that_becomes_empty(self, store):
        add(store, "/data/a", ["text"])
        with store.writer() as writer:
            writer.stage(parsed("/data/a"))
            writer.commit()
        with store.snapshot() as snapshot:
            assert shown(snapshot) == lexical(snapshot, "text") == dense(snapshot, "text") == []
            assert [f.path for f in snapshot.files()] == ["/data/a"]

    def test_removed_files_leave_with_the_commit(self, store):
        add(store, "/data/a", ["one"])
        add(store, "/data/b", ["two"])
        with store.writer() as writer:
            writer.stage(parsed("/data/c", ["three"]))
            assert writer.remove(["/data/a", "/data/none", "/data/c"]) == 2
            assert writer.waiting() == Waiting(0, 0)
            assert now(store) == ["one", "two"]
            writer.commit()
        with store.snapshot() as snapshot:
            assert shown(snapshot) == dense(snapshot, "one") == ["two"]
            assert [f.path for f in snapshot.files()] == ["/data/b"]

    def test_finish_commits(self, store):
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["one"]))
            embed(store, writer)
            writer.finish()
            with store.snapshot() as snapshot:
                assert shown(snapshot) == dense(snapshot, "one") == ["one"]


class TestRecords:
    def test_a_status_leaves_the_passages_as_they_are(self, store):
        add(store, "/data/a", ["one"])
        failed = file("/data/a", status="failed", reason="torn", digest=None, mtime_ns=5)
        skipped = file("/data/b", status="skipped", reason="binary")
        with store.writer() as writer:
            writer.record(failed)
            writer.record(skipped)
            writer.commit()
        with store.snapshot() as snapshot:
            assert shown(snapshot) == ["one"]
            assert list(snapshot.files()) == [failed, skipped]
            assert list(snapshot.files("failed")) == [failed]
            assert list(snapshot.files("indexed")) == []
            assert (snapshot.counts().files, snapshot.counts().failed, snapshot.counts().skipped) == (0, 1, 1)
            assert next(iter(snapshot.documents())).mtime_ns == MTIME

    def test_a_touched_file_keeps_its_passages_and_gets_the_new_time(self, store):
        add(store, "/data/a", ["one"])
        with store.writer() as writer:
            writer.record(file("/data/a", mtime_ns=77))
            writer.commit()
        with store.snapshot() as snapshot:
            only = next(iter(snapshot.documents()))
            assert (only.mtime_ns, only.passages[0].mtime_ns) == (77, 77)
            assert snapshot.get(ids(snapshot))[0].mtime_ns == 77

    def test_everything_of_a_record_comes_back(self, store):
        record = file(
            "/data/a",
            root="/data/r",
            size=7,
            digest="ab",
            status="failed",
            reason="line 3",
            warnings=("page 2", "w"),
            ctime_ns=5,
            inode=2**64 - 1,
        )
        with store.writer() as writer:
            writer.stage(Parsed(record, (document("/data/a", ["one"]),)))
            writer.commit()
        with store.snapshot() as snapshot:
            assert list(snapshot.files()) == [record]
            assert shown(snapshot) == ["one"]

    def test_roots(self, store):
        with store.writer() as writer:
            writer.set_root("/data/b", {"text": ["x"], "n": 1})
            writer.set_root("/data/a", {})
            writer.commit()
            writer.set_root("/data/b", {"n": 2})
            writer.drop_root("/data/a")
            writer.drop_root("/data/none")
            with store.snapshot() as snapshot:
                assert list(snapshot.roots().items()) == [("/data/a", {}), ("/data/b", {"text": ["x"], "n": 1})]
            writer.commit()
        with store.snapshot() as snapshot:
            assert snapshot.roots() == {"/data/b": {"n": 2}}

    def test_odd_characters(self, store):
        path, text = "/data/\udcff\n.txt", "NUL \0 and \ud800 surrogate"
        add(store, path, document(path, [text], title="\udc80", fields={"\ud800": "\udfff"}))
        with store.snapshot() as snapshot:
            assert [f.path for f in snapshot.files()] == ["/data/\\xff\n.txt"]
            assert shown(snapshot) == lexical(snapshot, "surrogate") == [text.replace("\ud800", "\ufffd")]
            assert list(snapshot.documents(path)) == list(snapshot.documents())
        with store.writer() as writer:
            assert writer.remove([path]) == 1


class TestEmbedding:
    def test_moved_and_copied_texts_are_not_embedded_again(self, store):
        add(store, "/data/a", ["first", "second"])
        with store.writer() as writer:
            assert writer.stage(parsed("/data/b", ["first", "second", "third"])) == Staged(3, 2)
            writer.remove(["/data/a"])
            assert writer.waiting() == Waiting(1, 1)
            assert embed(store, writer) == ["third"]
            writer.commit()
        with store.snapshot() as snapshot:
            assert shown(snapshot) == ["first", "second", "third"]
            np.testing.assert_allclose(snapshot.vectors(ids(snapshot)), ENCODER.encode(shown(snapshot)), atol=1e-3)

    def test_a_text_is_reused_from_a_removed_file(self, sparse_store):
        add(sparse_store, "/data/a", ["first"])
        remove(sparse_store, "/data/a")
        with sparse_store.writer() as writer:
            assert writer.stage(parsed("/data/b", ["first"])) == Staged(1, 1)
            writer.commit()
        with sparse_store.snapshot() as snapshot:
            assert snapshot.terms(ids(snapshot)) == ENCODER.encode_terms(["first"])[1]

    def test_compaction_forgets_removed_texts(self, store):
        add(store, "/data/a", ["first"])
        add(store, "/data/c", ["other"])
        remove(store, "/data/a")
        maintenance(store).compact()
        with store.writer() as writer:
            assert writer.stage(parsed("/data/b", ["first", "other"])) == Staged(2, 1)

    def test_vectors_of_contents_that_never_showed_are_reused(self, store):
        add(store, "/data/a", ["old"])
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["new", "newer"]))
            embed(store, writer, 1)
            writer.commit()
            assert writer.stage(parsed("/data/a", ["new", "newest"])) == Staged(2, 1)
            embed(store, writer)
            writer.commit()
        with store.snapshot() as snapshot:
            assert shown(snapshot) == ["new", "newest"]
            assert lexical(snapshot, "newer") == []

    def test_unchanged_records_of_a_changed_file_keep_their_ids(self, store):
        add(store, "/data/a", *records("r0", "r1", "r2"))
        with store.snapshot() as snapshot:
            before = {each.document.record: each.passages[0].id for each in snapshot.documents()}
        assert add(store, "/data/a", *records("r0", "other", "r2"), mtime_ns=5) == Staged(3, 2)
        with store.snapshot() as snapshot:
            after = {each.document.record: each.passages[0].id for each in snapshot.documents()}
            assert {each.mtime_ns for each in snapshot.documents()} == {5}
        assert after.pop("1") > before.pop("1")
        assert after == before

    def test_white_space_at_a_file_s_end_changes_no_passage(self, store):
        each = document("/data/a", ["one", "two"])
        add(store, "/data/a", each)
        with store.snapshot() as snapshot:
            before = ids(snapshot).tolist()
        longer = replace(each, document=replace(each.document, text=each.document.text + "\n\n"))
        with store.writer() as writer:
            assert writer.stage(parsed("/data/a", longer)) == Staged(2, 2)
            writer.commit()
        with store.snapshot() as snapshot:
            assert ids(snapshot).tolist() == before
            assert next(snapshot.documents()).document.text == "one\ntwo\n\n"

    def test_equal_texts_are_claimed_once_and_all_get_the_vector(self, store):
        with store.writer() as writer:
            assert writer.stage(parsed("/data/a", ["same", "same", "other one"])) == Staged(3, 0)
            writer.stage(parsed("/data/b", ["same"]))
            assert writer.waiting() == Waiting(2, 3)
            works = writer.claim(9)
            assert [(work.text, work.tokens) for work in works] == [("same", 1), ("other one", 2)]
            writer.stage(parsed("/data/c", ["same"]))  # while it is in flight
            assert writer.claim(9) == []
            writer.put(embedded(works[:1], False))
            writer.commit()
            assert writer.waiting() == Waiting(1, 2)
        with store.snapshot() as snapshot:
            assert dense(snapshot, "same") == ["same"] * 4

    def test_oldest_first_and_nobody_gets_claimed_work_again(self, store):
        with store.writer() as writer:
            writer.stage(parsed("/data/z", ["1", "2"]))
            writer.stage(parsed("/data/a", ["3", "4"]))
            first = writer.claim(3)
            assert [work.text for work in first] == ["1", "2", "3"]
            assert writer.waiting() == Waiting(4, 4)
            writer.commit()
            assert [work.text for work in writer.claim(3)] == ["4"]
            assert writer.claim(3) == []
            writer.rollback()
            assert [work.text for work in writer.claim(9)] == ["1", "2", "3", "4"]
        with store.writer() as writer:
            assert [work.text for work in writer.claim(9)] == ["1", "2", "3", "4"]

    def test_vectors_in_any_order_and_in_parts(self, store):
        with store.writer() as writer:
            writer.stage(parsed("/data/a", [f"text {n}" for n in range(7)]))
            writer.commit()
            works = writer.claim(9)
            writer.put(embedded(works[:2:-1], False))
            writer.commit()
            writer.put(embedded(works[2::-1], False))
            writer.put(embedded([], False))
            writer.commit()
        with store.snapshot() as snapshot:
            np.testing.assert_allclose(snapshot.vectors(ids(snapshot)), ENCODER.encode(shown(snapshot)), atol=1e-3)

    def test_vectors_that_are_no_longer_wanted_are_passed_over(self, store):
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["gone", "moved"]))
            writer.stage(parsed("/data/c", ["removed"]))
            writer.commit()
            works = writer.claim(9)
            writer.stage(parsed("/data/a", ["moved", "new"]))
            writer.remove(["/data/c"])
            writer.put(embedded(works, False))
            assert writer.waiting() == Waiting(1, 1)  # "moved" has its vector, under whatever id
            assert embed(store, writer) == ["new"]
            writer.commit()
            assert writer.stage(parsed("/data/b", ["gone", "removed"])) == Staged(2, 0)
        with store.snapshot() as snapshot:
            assert sorted(dense(snapshot, "new")) == ["moved", "new"]

    def test_given_back_work_is_passed_over(self, store):
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["one text"]))
            late = embedded(writer.claim(1), False)
            writer.rollback()
            writer.stage(parsed("/data/a", ["quite another"]))
            writer.put(late)
            assert writer.waiting() == Waiting(1, 2)

    def test_wrong_vectors_are_refused(self, store, sparse_store):
        for each in (store, sparse_store):
            sparse = each is sparse_store
            with each.writer() as writer:
                writer.stage(parsed("/data/a", ["one"]))
                right = embedded(writer.claim(1), sparse)
                with pytest.raises(StoreError, match="NaN"):
                    writer.put(Embedded(right.ids, right.vectors * np.nan, right.terms))
                with pytest.raises(StoreError, match="shape"):
                    writer.put(Embedded(right.ids, right.vectors[:, 1:], right.terms))
                with pytest.raises(StoreError, match="shape"):
                    writer.put(Embedded(right.ids[:0], right.vectors, right.terms))
                with pytest.raises(StoreError, match="sparse"):
                    writer.put(Embedded(right.ids, right.vectors, None if sparse else ({1: 1},)))
                writer.put(right)
                assert writer.waiting() == Waiting(0, 0)

    @pytest.mark.parametrize("dtype", ["fp16", "fp32"])
    def test_vectors_come_back_as_they_were_stored(self, make, dtype):
        store = make(vector_dtype=dtype)
        add(store, "/data/a", ["one two three", "two"])
        vectors = ENCODER.encode(["one two three", "two"])
        expected = vectors.astype(np.float16).astype(np.float32) if dtype == "fp16" else vectors
        for _ in range(2):
            with store.snapshot() as snapshot:
                np.testing.assert_array_equal(snapshot.vectors(ids(snapshot)), expected)
            with store.writer() as writer:
                writer.finish()


def break_off(store):
    with store.writer() as writer:
        writer.stage(parsed("/data/a", ["one"]))
        writer.commit()
        writer.stage(parsed("/data/b", ["two"]))
        raise ZeroDivisionError


class TestUndoing:
    def test_rollback_undoes_everything(self, store):
        add(store, "/data/a", ["one"])
        add(store, "/data/b", ["two"])
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["new"]))
            writer.stage(parsed("/data/c", ["three"]))
            writer.remove(["/data/b"])
            writer.set_root("/r", {})
            writer.record(file("/data/d", status="failed"))
            embed(store, writer)
            writer.rollback()
            assert writer.waiting() == Waiting(0, 0)
            writer.commit()
            with store.snapshot() as snapshot:
                assert shown(snapshot) == ["one", "two"]
                assert [f.path for f in snapshot.files()] == ["/data/a", "/data/b"]
                assert snapshot.roots() == {}
            assert writer.stage(parsed("/data/c", ["three"])) == Staged(1, 0)

    def test_closing_drops_what_was_not_committed(self, store):
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["one"]))
        assert now(store) == []
        with pytest.raises(ZeroDivisionError):
            break_off(store)
        assert now(store) == ["one"]

    def test_ids_are_never_used_twice(self, store):
        add(store, "/data/a", ["one", "two"])
        with store.snapshot() as snapshot:
            last = ids(snapshot)[-1]
        remove(store, "/data/a")
        maintenance(store).compact()
        add(store, "/data/a", ["three"])
        with store.snapshot() as snapshot:
            assert ids(snapshot)[0] > last

    def test_writers_at_a_time(self, factory, store):
        with store.writer() as first:
            if factory.writers == 1:
                with pytest.raises(LockedError):
                    store.writer()
            first.stage(parsed("/data/a", ["one"]))
            first.commit()
        first.close()  # again: nothing happens
        with store.writer() as second:
            second.stage(parsed("/data/b", ["two"]))
            second.commit()
        assert now(store) == ["one", "two"]
