"""A collection of another encoder in the place of the live one: nothing lost, whenever the process dies."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.encoder import EncoderSpec, HashEncoder
from indexer.errors import CollectionNotFound, LockedError, StoreError
from indexer.storage.local import store as store_module
from indexer.storage.local import swap as swap_module
from indexer.storage.manifest import Manifest
from indexer.storage.local.store import Store
from indexer.storage.local.swap import swap
from semsearch import reindex
from tests.storage.helpers import ENCODER, build, document, embed, file, stage, texts

OTHER = HashEncoder(EncoderSpec(model="hash:48"))
CONTENT = ["the boat", "a bay", "the bread"]


class Killed(BaseException):
    pass


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """Two files, one of records that share an identifier, and one that failed; its roots have vanished."""
    folder = tmp_path / "c"
    with build(folder, [("/gone/a.txt", CONTENT[:2])]) as store:
        store.set_root("/gone", {"text_fields": ["body"]})
        rows = [document("/gone/r.jsonl", [text], record="7", kind="jsonl", fields={"n": "1"}) for text in ("r1", "r2")]
        store.stage(file("/gone/r.jsonl"), rows)
        stage(store, "stdin", CONTENT[2:])
        store.record(file("/gone/b.pdf", status="failed", reason="no text", digest=None))
        embed(store)
        store.finish()
    return folder


def rebuilt(live: Path, **options) -> tuple[Path, int]:
    with Store.open(live, writable=True) as store:
        return reindex.beside(store, OTHER, **options), store.generation


def shown(folder: Path) -> list:
    with Store.open(folder) as store:
        rows = [(r.path, r.kind, r.record, r.title, r.fields, r.passage, r.mtime_ns) for r in store.passages()]
        return [sorted(rows, key=repr), list(store.files()), store.roots(), store.counts().documents]


def whole(folder: Path) -> bool:
    """Whether a reader finds every passage with its vector of the encoder that the manifest names."""
    with Store.open(folder) as store:
        encoder = HashEncoder(EncoderSpec(model=store.manifest.spec.model))
        rows = list(store.passages())
        np.testing.assert_allclose(
            store.vectors([r.id for r in rows]), encoder.encode([r.passage.text for r in rows]), atol=1e-3
        )
        found = store.search(encoder.encode(["the boat"]), 1)
        assert store.get(found.ids[0])[0].passage.text == "the boat"
        return len(rows) == 5


def test_everything_comes_along_without_a_file_being_read(live):
    before = shown(live)
    new, generation = rebuilt(live)
    assert new.name == "c-new"
    assert shown(live) == before
    old = swap(live, new, generation)
    assert old.name == "c-before"
    assert shown(live) == shown(old) == before
    assert Manifest.load(live).fingerprint == OTHER.spec.fingerprint
    assert whole(live)
    assert whole(old)
    assert not new.exists()
    with Store.open(live, writable=True) as store:
        assert store.verify(OTHER) == []
        stage(store, "stdin", ["more"])


def test_the_folder_of_the_old_one_is_never_overwritten(live):
    (live.parent / "c-before").mkdir()
    (live.parent / "c-new").mkdir()  # somebody's own
    new, generation = rebuilt(live)
    assert new.name == "c-new-2"
    assert swap(live, new, generation).name == "c-before-2"


def test_embedding_goes_on_where_it_was_stopped(live, monkeypatch):
    monkeypatch.setattr(reindex, "COMMIT_SECONDS", 0)
    monkeypatch.setattr(reindex, "WINDOW", {"cpu": 2})

    with pytest.raises(Killed):
        rebuilt(live, observer=type("Once", (reindex.Observer,), {"embedded": _after(1)})())
    asked = []
    encode = OTHER.encode_batches
    monkeypatch.setattr(OTHER, "encode_batches", lambda texts, role: (asked.extend(texts), encode(texts, role))[1])
    new, generation = rebuilt(live)
    assert len(asked) == 3  # of five texts, two were done
    swap(live, new, generation)
    assert whole(live)


def _after(times: int):
    calls = []

    def embedded(self, passages, tokens):
        calls.append(passages)
        if len(calls) > times:
            raise Killed

    return embedded


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("step", range(5))
def test_a_kill_at_each_step_leaves_a_whole_collection(live, monkeypatch, step, exchange):
    """Before and after each change of a name; without the system's exchange, all but one moment, when the old one
    lies beside."""
    new, generation = rebuilt(live)
    steps = []

    def counted(function):
        def call(*arguments):
            if len(steps) == step:
                raise Killed
            steps.append(function.__name__)
            return function(*arguments)

        return call

    real = os.rename
    monkeypatch.setattr(swap_module, "_exchange", counted(swap_module._exchange if exchange else _refused))
    monkeypatch.setattr(swap_module.os, "rename", counted(os.rename))
    monkeypatch.setattr(swap_module, "sync_folder", counted(swap_module.sync_folder))
    killed = False
    try:
        swap(live, new, generation)
    except Killed:
        killed = True
    assert killed == (step < 4)
    monkeypatch.setattr(swap_module.os, "rename", real)
    if not exchange and step == 2:
        with pytest.raises(CollectionNotFound):
            Store.open(live)
        os.rename(live.parent / "c-before", live)
    assert whole(live)
    others = [path for path in live.parent.iterdir() if path != live]
    assert len(others) == 1
    assert whole(others[0])
    monkeypatch.undo()
    if Manifest.load(live).fingerprint != OTHER.spec.fingerprint:  # and the next run finishes it
        new, generation = rebuilt(live)
        swap(live, new, generation)
        assert whole(live)


def _refused(*paths) -> bool:
    return False


def test_this_machine_exchanges_in_one_step(tmp_path):
    """The tests above must not pass because only the other way was taken."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "mark").write_text(name)
    assert swap_module._exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "mark").read_text() == "b"


def test_a_collection_that_is_open_or_being_written_or_changed_is_not_replaced(live):
    new, generation = rebuilt(live)
    with Store.open(live) as reader:
        reader.counts()
        with pytest.raises(LockedError, match="open in another program"):
            swap(live, new, generation, wait=0.1)
    with Store.open(live, writable=True) as writer:
        with pytest.raises(LockedError, match="being written"):
            swap(live, new, generation)
        writer.remove(["stdin"])
        writer.commit()
    with pytest.raises(StoreError, match="has changed"):
        swap(live, new, generation)
    assert len(texts_of(live)) == 4
    new, generation = rebuilt(live)
    swap(live, new, generation)
    assert len(texts_of(live)) == 4


def texts_of(folder: Path) -> list[str]:
    with Store.open(folder) as store:
        return texts(store)


def test_a_partial_collection_is_refused(live):
    with Store.open(live, writable=True) as store:
        stage(store, "/gone/c.txt", ["waiting"])
        store.commit()
    with pytest.raises(StoreError, match="partial"):
        rebuilt(live)
    assert not (live.parent / "c-new").exists()
    assert json.loads((live / "manifest.json").read_text())["spec"]["model"] == "hash:32"


def test_a_swap_in_the_midst_of_opening(live, monkeypatch):
    """A reader that has read the old manifest must not go on with the new catalog."""
    new, generation = rebuilt(live)
    real = store_module.SqlCatalog

    class Late(real):
        def __init__(self, *arguments):
            monkeypatch.setattr(store_module, "SqlCatalog", real)
            swap(live, new, generation)
            super().__init__(*arguments)

    monkeypatch.setattr(store_module, "SqlCatalog", Late)
    with Store.open(live) as reader:
        assert reader.manifest.fingerprint == OTHER.spec.fingerprint
        assert len(texts(reader)) == 5


def test_a_reader_that_outlives_its_collection_says_so(live):
    new, _ = rebuilt(live)
    with Store.open(live) as reader:
        os.rename(live, live.with_name("old"))  # what a swap refuses to do while it is open
        os.rename(new, live)
        with pytest.raises(StoreError, match="was replaced"):
            reader.refresh()


def test_readers_that_come_and_go_during_swaps(live):
    """Each opens a whole collection, at every moment."""
    stop, errors, opened = threading.Event(), [], []

    def read() -> None:
        while not stop.is_set():
            try:
                opened.append(whole(live))
            except BaseException as error:
                errors.append(error)
            time.sleep(0.003)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for encoder in (OTHER, ENCODER) * 5:
        with Store.open(live, writable=True) as store:
            new, generation = reindex.beside(store, encoder), store.generation
        swap(live, new, generation)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    assert opened
    assert all(opened)
