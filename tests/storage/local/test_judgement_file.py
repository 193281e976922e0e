"""judgements.jsonl: durable lines, torn ends, replacement of the folder under whoever judges."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from indexer.errors import CollectionNotFound, CorruptError, StoreError
from indexer.judgements import line
from indexer.storage import open_store
from indexer.storage.local.on_disk import judgement_file, replacing
from indexer.storage.local.on_disk.judgement_file import JudgementFile
from tests.storage.contract.test_judgements import judged
from tests.storage.contract.values import ENCODER
from tests.storage.local.helpers import build
from tests.storage.local.test_replacing_files import OTHER, rebuilt


@pytest.fixture
def live(tmp_path):
    return build(tmp_path / "c", [("/data/a", ["the boat", "a bay", "the bread"])])


def test_a_torn_line_is_dropped_and_nothing_else(live):
    live.judge([judged(1, "kept")])
    path = live.path / "judgements.jsonl"
    whole = path.read_bytes()
    torn = line(judged(1, "torn " + "x" * 100_000)).encode()  # longer than what is read at a time
    for length in (1, 20, len(torn) - 1):
        path.write_bytes(whole + torn[:length])
        assert live.judgements() == [judged(1, "kept")]
        live.judge([judged(0, "next")])
        assert path.read_bytes() == whole + line(judged(0, "next")).encode()
    path.write_bytes(torn[:50])  # the very first one
    live.judge([judged(0, "next")])
    assert live.judgements() == [judged(0, "next")]


def test_a_damaged_line_is_named(live):
    live.judge([judged(1), judged(1, "other")])
    path = live.path / "judgements.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"path"', b'"pith"', 1))
    with pytest.raises(CorruptError, match=r"judgements\.jsonl line 1 is damaged: a field is missing"):
        live.judgements()


def test_fields_of_a_later_version_are_passed_over(live):
    live.judge([judged(1)])
    path = live.path / "judgements.jsonl"
    path.write_bytes(path.read_bytes().replace(b"{", b'{"mood": "glad", ', 1))
    assert live.judgements() == [judged(1)]


def test_a_full_disk_leaves_no_half_line(live, monkeypatch):
    live.judge([judged(1)])
    before = (live.path / "judgements.jsonl").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(judgement_file.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        live.judge([judged(1, "lost")])
    monkeypatch.undo()
    assert (live.path / "judgements.jsonl").read_bytes() == before


def test_it_is_flushed_before_the_answer(live, monkeypatch):
    flushed, real = [], os.fsync

    def fsync(descriptor):
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}") if sys.platform == "linux" else "")
        real(descriptor)

    monkeypatch.setattr(judgement_file.os, "fsync", fsync)
    live.judge([judged(1)])
    assert flushed
    assert sys.platform != "linux" or flushed == [str(live.path / "judgements.jsonl"), str(live.path)]


def test_killed_right_after_the_answer(live):
    """A process that judges as fast as it can is killed; every judgement that it was told of is there."""
    code = (
        "import sys; from indexer.storage import open_store; from indexer.types import Judgement\n"
        "store = open_store(sys.argv[1])\n"
        "for n in range(100000):\n"
        "    store.judge([Judgement(f'query {n}', '/data/a', 1)]); print(n, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(live.path)], stdout=subprocess.PIPE, text=True)
    told = [int(next(child.stdout)) for _ in range(25)]
    child.send_signal(signal.SIGKILL)
    told += [int(each) for each in child.stdout.read().split()]
    child.wait()
    assert [each.query for each in live.judgements()][: len(told)] == [f"query {n}" for n in told]


def test_judging_while_folders_are_swapped(live):
    """Nothing that was acknowledged is left behind in a folder that was replaced."""
    stop, said, errors = threading.Event(), [], []

    def judge(who):
        store = open_store(live.path)
        while not stop.is_set():
            query = f"{who} {len(said)}"
            try:
                store.judge([judged(1, query)])
            except BaseException as error:
                errors.append(error)
                return
            said.append(query)

    threads = [threading.Thread(target=judge, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for encoder in (OTHER, ENCODER) * 3:
        live.replace(rebuilt(live, encoder), live.version())
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    assert len(said) > 20
    assert sorted(each.query for each in live.judgements()) == sorted(said)
    assert sorted(each.query for each in open_store(live.path).judgements()) == sorted(said)


def test_one_that_waited_for_the_old_folder_begins_again(live, monkeypatch):
    """It holds the old folder's lock by then, which keeps nobody out of the new one."""
    waits = threading.Event()

    class Lock(judgement_file.FileLock):
        def _acquire(self):
            super()._acquire()
            if not self.is_locked:
                waits.set()

    monkeypatch.setattr(judgement_file, "FileLock", Lock)
    store, new = open_store(live.path), rebuilt(live)
    old = JudgementFile(live.path)
    thread = threading.Thread(target=store.judge, args=([judged(1)],))
    with old.locked():
        thread.start()
        assert waits.wait(60)
        replacing.exchange(live.path, new.path)
        with JudgementFile(live.path).locked():
            old._lock.release()
            thread.join(0.5)
            assert thread.is_alive()
            assert open_store(live.path).judgements() == []
    thread.join()
    assert open_store(live.path).judgements() == [judged(1)]


def test_a_deleted_collection_is_not_brought_back(live):
    other = open_store(live.path)
    live.delete()
    with pytest.raises(CollectionNotFound):
        other.judge([judged(1)])
    assert not live.path.exists()
