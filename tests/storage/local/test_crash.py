"""Kills, full disks, readers during writes, and two writers: what scripts/crash_test.py does at length, in short."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from indexer.errors import LockedError, StoreError
from indexer.storage import open_store
from tests.storage.contract.values import add, dense, embed, now, parsed
from tests.storage.local.helpers import build, check

ROOT = Path(__file__).resolve().parents[3]
posix = pytest.mark.skipif(os.name == "nt", reason="forks, and limits of file sizes")


def crash_test(*arguments: str) -> str:
    """The script in a process of its own: it forks, which this one with its threads should not."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/crash_test.py"), *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@posix
def test_kills_at_random_moments():
    assert "nothing lost" in crash_test("--kills", "100", "--seed", str(time.time_ns() % 10**6))


@posix
@pytest.mark.parametrize("how", ["write", "power", "full"])
def test_a_disturbance_at_writes(how):
    """Every thirteenth of them, others each time."""
    assert "nothing lost" in crash_test("--at-every", how, "--steps", "1", "--stride", "13")


@posix
def test_files_that_may_not_grow():
    assert "nothing lost" in crash_test("--limit", "--kills", "3")


def fill(store) -> None:
    for number in range(100):
        add(store, f"/data/{number}", [f"text {number} {part} " + "word " * 300 for part in range(40)])
        with store.writer() as writer:
            writer.finish()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting a small disk takes an administrator")
def test_a_disk_that_fills(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount; test_files_that_may_not_grow covers the same code")
    try:
        with pytest.raises(StoreError, match=r"full|space"):
            fill(build(disk / "c", [("/data/a", ["kept"])]))
        assert "kept" in now(open_store(disk / "c"))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_readers_during_a_reindex(tmp_path):
    """Threads that take snapshots of one store, and of a fresh one each time, while every file changes again and
    again, with compactions. Each sees one whole state, the newest never goes back."""
    files, rounds = 5, 12
    store = build(tmp_path / "c", [(f"/data/{n}", ["version 0", f"file {n}"]) for n in range(files)])
    stop, errors, newest = threading.Event(), [], []

    def hammer(fresh: bool) -> None:
        try:
            reader, last = open_store(tmp_path / "c"), -1
            while not stop.is_set():
                if fresh:
                    reader = open_store(tmp_path / "c")
                with reader.snapshot() as snapshot:
                    shown = [p.passage.text for each in snapshot.documents() for p in each.passages]
                    assert len(shown) == snapshot.counts().embedded == 2 * files, f"{len(shown)} passages"
                    (version,) = {text for text in shown if text.startswith("version")}
                    number = int(version.split()[1])
                    assert number >= last, "went back"
                    last = number
                    assert dense(snapshot, version, 1) == [version]
            newest.append(last)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=hammer, args=(fresh,)) for fresh in (True, False, False)]
    for thread in threads:
        thread.start()
    for number in range(1, rounds + 1):
        with store.writer() as writer:
            for n in range(files):
                writer.stage(parsed(f"/data/{n}", [f"version {number}", f"file {n}"]))
            embed(store, writer)
            writer.commit()
            if number % 2 == 0:
                writer.finish()
        if number % 5 == 0:
            store.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert max(newest) > 0


def test_a_lock_dies_with_its_process(tmp_path):
    build(tmp_path / "c", [("/data/a", ["one"])])
    program = (
        "import sys, time; from indexer.storage import open_store; "
        "writer = open_store(sys.argv[1]).writer(); print('open', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "c")], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(LockedError, match=f"process {other.pid} on"):
            open_store(tmp_path / "c").writer()
        assert now(open_store(tmp_path / "c")) == ["one"]  # readers do not mind
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    open_store(tmp_path / "c").writer().close()


@pytest.mark.parametrize("step", ["seal", "compact"])
def test_a_commit_that_fails_after_the_shards_were_written(tmp_path, monkeypatch, step):
    """What the catalog still names is still there, and the rubbish is cleared away by the next writer."""
    files = [(f"/data/{n}", [f"text {n}"]) for n in range(9)]
    store = build(tmp_path / "c", files, finish=step == "compact")
    with store.writer() as writer:
        writer.remove(["/data/0"])
        writer.commit()
        real = writer._register

        def full(*arguments) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(writer.database, "flush", lambda: (_ for _ in ()).throw(StoreError("no space")))
                real(*arguments)

        monkeypatch.setattr(writer, "_register", full)
        with pytest.raises(StoreError, match="no space"):
            getattr(writer, step)()
    with open_store(tmp_path / "c").writer() as writer:
        assert len(writer.swept) == 1
    assert len(now(store)) == 8
    check(store)
