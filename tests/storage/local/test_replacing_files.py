"""A collection of another encoder in the place of the live one: nothing lost, whenever the process dies."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.errors import CollectionNotFound, LockedError, StoreError
from indexer.storage import open_store
from indexer.storage.local import store as store_module
from indexer.storage.local.on_disk import replacing
from indexer.storage.local.store import LocalStore
from tests.storage.contract.values import ENCODER, add, dense, embed, ids, manifest, now, parsed
from tests.storage.local.helpers import build

OTHER = HashEncoder(EncoderSpec(model="hash:48"))
CONTENT = ["the boat", "a bay", "the bread"]


class Killed(BaseException):
    pass


@pytest.fixture
def live(tmp_path: Path) -> LocalStore:
    return build(tmp_path / "c", [("/data/a", CONTENT)])


def rebuilt(live: LocalStore, encoder: HashEncoder = OTHER) -> LocalStore:
    """Return the same collection in another encoder's vectors, beside the live one."""
    new = live.beside(manifest(encoder))
    with new.writer() as writer, live.snapshot() as snapshot:
        for document in snapshot.documents():
            from indexer.types import Parsed, ParsedDocument
            from tests.storage.contract.values import file

            parts = tuple(p.passage for p in document.passages)
            writer.stage(Parsed(file(document.document.path), (ParsedDocument(document.document, parts),)))
        embed(new, writer, encoder=encoder)
        writer.finish()
    return new


def whole(folder: Path) -> bool:
    """Tell whether a reader finds every passage with its vector of the encoder that the manifest names."""
    with open_store(folder).snapshot() as snapshot:
        encoder = HashEncoder(EncoderSpec(model=snapshot.manifest.spec.model))
        rows = snapshot.get(ids(snapshot))
        vectors = snapshot.vectors([r.id for r in rows])
        np.testing.assert_allclose(vectors, encoder.encode([r.passage.text for r in rows]), atol=1e-3)
        assert dense(snapshot, "the boat", 1, encoder) == ["the boat"]
        return len(rows) == 3


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("step", range(5))
def test_a_kill_at_each_step_leaves_a_whole_collection(live, monkeypatch, step, exchange):
    """Before and after each change of a name; without the system's exchange, all but one moment, when the old one
    lies beside."""
    new, steps = rebuilt(live), []
    folder = live.path

    def counted(function):
        def call(*arguments):
            if len(steps) == step:
                raise Killed
            steps.append(function.__name__)
            return function(*arguments)

        return call

    real = os.rename
    monkeypatch.setattr(replacing, "_swap_names", counted(replacing._swap_names if exchange else _refused))
    monkeypatch.setattr(replacing.os, "rename", counted(os.rename))
    monkeypatch.setattr(replacing, "sync_folder", counted(replacing.sync_folder))
    killed = False
    try:
        live.replace(new, live.version())
    except Killed:
        killed = True
    assert killed == (step < 4)
    monkeypatch.setattr(replacing.os, "rename", real)
    if not exchange and step == 2:
        with pytest.raises(CollectionNotFound):
            open_store(folder)
        (folder.parent / "c-before").rename(folder)
    assert whole(folder)
    others = [path for path in folder.parent.iterdir() if path != folder]
    assert len(others) == 1
    assert whole(others[0])
    monkeypatch.undo()
    if open_store(folder).manifest.fingerprint != OTHER.spec.fingerprint:  # and the next run finishes it
        again = open_store(folder)
        again.replace(rebuilt(again), again.version())
        assert whole(folder)


def _refused(*paths) -> bool:
    return False


def test_this_machine_exchanges_in_one_step(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if os.name == "posix":
        assert replacing._swap_names(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "a/b").exists()


def test_one_that_is_written_or_has_changed_is_not_replaced(live):
    new, version = rebuilt(live), live.version()
    with live.writer(), pytest.raises(LockedError):
        live.replace(new, version)
    with new.writer(), pytest.raises(LockedError):
        live.replace(new, version)
    add(live, "/data/b", ["later"])
    with pytest.raises(StoreError, match="has changed since"):
        live.replace(new, version)
    assert "later" in now(live)


def test_a_replacement_in_the_midst_of_opening(live, monkeypatch):
    """A reader that has read the old manifest must not go on with the new catalog."""
    new, real = rebuilt(live), store_module.LocalStore._connect
    reader = open_store(live.path)
    done = []

    def late(self):
        if self is reader and not done:
            done.append(True)
            live.replace(new, live.version())
        return real(self)

    monkeypatch.setattr(store_module.LocalStore, "_connect", late)
    with reader.snapshot() as snapshot:
        assert done
        assert snapshot.manifest.fingerprint == OTHER.spec.fingerprint
        assert dense(snapshot, "the boat", 1, OTHER) == ["the boat"]


def test_the_log_of_the_new_one_outlives_readers_of_the_old(live):
    """The last reader of the replaced collection closes while commits of the new one are in its write-ahead log."""
    new = rebuilt(live)
    held = live.snapshot()
    live.replace(new, live.version())
    writer = live.writer()
    writer.remove(["/data/a"])
    writer.commit()
    log = live.path / "catalog.sqlite-wal"
    assert log.stat().st_size
    assert dense(held, "the boat", 1) == ["the boat"]
    held.close()
    assert log.stat().st_size
    assert now(open_store(live.path)) == []
    writer.close()
    assert now(open_store(live.path)) == []


def test_readers_that_come_and_go_during_replacements(live):
    """Each opens a whole collection, at every moment, and one that is held stays as it was."""
    stop, errors, opened = threading.Event(), [], []
    held = live.snapshot()

    def read() -> None:
        while not stop.is_set():
            try:
                opened.append(whole(live.path))
            except BaseException as error:
                errors.append(error)
            time.sleep(0.003)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for encoder in (OTHER, ENCODER) * 4:
        live.replace(rebuilt(live, encoder), live.version())
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    assert opened
    assert all(opened)
    assert dense(held, "a bay", 1) == ["a bay"]


def test_collections_that_follow_each_other_at_once_are_told_apart(live):
    """Same encoder and generation, within a moment: neither the version nor a kept index is that of the one before."""
    held = live.snapshot()
    assert dense(held, "the boat", 1) == ["the boat"]
    new = live.beside(manifest())
    with new.writer() as writer:
        writer.stage(parsed("/data/z", ["some water", "the shore", "a sail"]))
        embed(new, writer)
        writer.finish()
    live.replace(new, live.version())
    with live.snapshot() as snapshot:
        assert snapshot.generation == held.generation
        assert snapshot.version != held.version
        found = snapshot.dense(ENCODER.encode(["the shore"]), 1)
        assert found.scores[0, 0] == pytest.approx(1, abs=2e-3)
    held.close()
