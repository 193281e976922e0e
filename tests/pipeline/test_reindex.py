"""A collection in the vectors of another encoder, made without reading a file."""

from dataclasses import replace

import pytest

from indexer import embedder
from indexer.errors import LockedError, StoreError, UsageError
from indexer.reindex import reindex
from tests.storage.contract.factories import FACTORIES
from tests.storage.contract.values import ENCODER, OTHER, add, dense, document, embed, file, manifest, now, parsed


def described(store):
    with store.snapshot() as snapshot:
        documents = [
            (d.document.path, d.document.text, d.document.record, d.mtime_ns, [p.passage for p in d.passages])
            for d in snapshot.documents()
        ]
        return documents, list(snapshot.files()), snapshot.roots(), snapshot.counts().embedded


@pytest.fixture
def filled(store):
    add(store, "/data/b", ["one text", "two"], ["a record"], mtime_ns=7)
    add(store, "/data/a", ["one text"], warnings=("page 2",))
    with store.writer() as writer:
        writer.set_root("/data", {"x": 1})
        writer.record(file("/data/c", status="failed", reason="torn", digest=None))
        writer.stage(parsed("/data/empty"))
        writer.commit()
    return store


def test_everything_comes_along(filled):
    before = described(filled)
    name = reindex(filled, lambda: OTHER)
    assert name != filled.name
    assert described(filled) == before
    assert filled.manifest.fingerprint == OTHER.spec.fingerprint
    with filled.snapshot() as snapshot:
        assert dense(snapshot, "two", 1, OTHER) == ["two"]


def test_a_stopped_run_is_gone_on_with(filled, monkeypatch):
    monkeypatch.setattr(embedder, "COMMIT_SECONDS", 0.0)
    monkeypatch.setitem(embedder.WINDOW, "cpu", 1)

    def stop(event):
        heard.append(event)
        if len(heard) == 3:
            raise KeyboardInterrupt

    heard = []
    with pytest.raises(KeyboardInterrupt):
        reindex(filled, lambda: OTHER, stop)
    assert filled.manifest.fingerprint == ENCODER.spec.fingerprint
    planned = []
    reindex(filled, lambda: OTHER, planned.append)
    assert planned[0].texts < 3
    assert filled.manifest.fingerprint == OTHER.spec.fingerprint


def test_what_is_partial_is_refused(filled):
    with filled.writer() as writer:
        writer.stage(parsed("/data/new", ["not embedded"]))
        writer.commit()
    with pytest.raises(StoreError, match="1 passages are not embedded"):
        reindex(filled, lambda: OTHER)


def test_passages_that_would_be_cut_are_refused(filled):
    short = type(OTHER)(replace(OTHER.spec, weights=None, precision=None, max_tokens=5))
    with pytest.raises(UsageError, match="cut"):
        reindex(filled, lambda: short)


def test_changes_meanwhile_are_not_lost(filled):
    def change(event):
        if not changed:
            changed.append(event)
            add(filled, "/data/late", ["came late"])

    changed = []
    with pytest.raises(StoreError, match="changed"):
        reindex(filled, lambda: OTHER, change)
    assert "came late" in now(filled)
    reindex(filled, lambda: OTHER)
    assert "came late" in now(filled)
    assert filled.manifest.fingerprint == OTHER.spec.fingerprint


def test_not_while_another_writes(filled):
    with filled.writer(), pytest.raises(LockedError):
        reindex(filled, lambda: OTHER)


def test_the_white_space_between_passages_stays(store):
    each = document("/data/a", ["one", "two"])
    text = "one\n\n \ttwo"
    spaced = replace(
        each,
        document=replace(each.document, text=text),
        passages=(each.passages[0], replace(each.passages[1], start=7, end=10, line_start=3, line_end=3)),
    )
    with store.writer() as writer:
        writer.stage(parsed("/data/a", spaced))
        embed(store, writer)
        writer.commit()
    reindex(store, lambda: OTHER)
    with store.snapshot() as snapshot:
        assert next(snapshot.documents()).document.text == text


@pytest.mark.parametrize("factory", FACTORIES[:2], ids=str)  # a database never had others
def test_the_new_collection_has_the_newest_words(make):
    store = make(words=1)
    add(store, "/data/a", ["one"])
    reindex(store, lambda: OTHER)
    assert store.manifest.words == manifest().words
