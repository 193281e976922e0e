"""One view for many threads, replaced when the store changes."""

import threading

import pytest

from indexer.errors import StoreError
from semsearch.search.asking.weights import Weights
from semsearch.search.views import Views
from tests.search import helpers


@pytest.fixture
def store(monkeypatch):
    """A store that keeps a list of its open snapshots."""
    made = helpers.memory([("/a.txt", ["a boat"])])
    opened, take = [], made.snapshot

    class Counted:
        def __init__(self):
            self._real = take()
            opened.append(self)

        def __getattr__(self, name):
            return getattr(self._real, name)

        def close(self):
            opened.remove(self)

    monkeypatch.setattr(made, "snapshot", Counted)
    made.opened = opened
    return made


def change(store, path):
    helpers.add(store, path, [helpers.document(path, ["another boat"])])


def test_one_snapshot_serves_all_until_the_store_changes(store):
    views = Views(store)
    with views.latest() as first, views.latest() as second:
        assert first is second
        assert first.counts.passages == 1
        change(store, "/b.txt")
        with views.latest() as third:
            assert third is not first
            assert third.counts.passages == 2
            assert first.counts.passages == 1
            assert len(store.opened) == 2
    assert len(store.opened) == 1


def test_an_old_one_is_closed_when_its_last_user_is_done(store):
    views = Views(store)
    with views.latest() as old:
        change(store, "/b.txt")
        with views.latest():
            pass
        assert len(store.opened) == 2
        assert len(list(old.snapshot.documents())) == 1
    assert len(store.opened) == 1
    views.forget()
    assert store.opened == []


def test_weights_that_are_kept_count_from_the_next_search_on(store):
    docs = helpers.collection(store)
    assert docs.search("boat", explain=True)[0].explanation.parts["dense"] > 0
    docs.keep_weights(Weights(dense=0, lexical=1))
    assert set(docs.search("boat", explain=True)[0].explanation.parts) == {"lexical"}
    docs.keep_weights(None)
    assert set(docs.search("boat", explain=True)[0].explanation.parts) == {"dense", "lexical"}


def test_many_threads_search_while_one_writes(store):
    docs, wrong, stop = helpers.collection(store), [], threading.Event()

    def ask():
        while not stop.is_set():
            answer = docs.search("boat", k=100, collapse=False)
            paths = {hit.path for hit in answer}
            if paths not in ({"/a.txt"}, {"/a.txt", "/b.txt", "/c.txt"}):
                wrong.append(paths)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        with store.writer() as writer:
            for path in ("/b.txt", "/c.txt"):
                from indexer.types import Parsed

                writer.stage(Parsed(helpers.file(path), (helpers.document(path, ["another boat"]),)))
            helpers.embed(store, writer)
            writer.finish()
        with store.writer() as writer:
            writer.remove(["/b.txt", "/c.txt"])
            writer.finish()
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    docs.close()
    assert store.opened == []


def test_the_model_is_opened_once_for_all_threads():
    docs, opened = helpers.collection(helpers.memory([("/a.txt", ["a boat"])])), []
    barrier = threading.Barrier(8)

    def open_encoder(spec):
        opened.append(spec)
        return helpers.ENCODER

    docs._encoder_of = open_encoder

    def ask():
        barrier.wait()
        docs.search("boat")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1


def test_a_closed_collection_says_so(store):
    docs = helpers.collection(store)
    docs.close()
    with pytest.raises(StoreError, match="was closed"):
        docs.search("boat")
