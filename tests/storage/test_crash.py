"""Kills, full disks, readers during writes, and two writers: what scripts/crash_test.py does at length, in short."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import LockedError, StoreError
from indexer.storage.local.store import Store
from tests.storage.helpers import ENCODER, add, build, check, document, embed, file, manifest, nearest, stage, texts

ROOT = Path(__file__).resolve().parents[2]
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
    assert "nothing lost" in crash_test("--kills", "200", "--seed", str(time.time_ns() % 10**6))


@posix
@pytest.mark.parametrize("how", ["write", "power", "full"])
def test_a_disturbance_at_writes(how):
    """Every thirteenth of them, others each time."""
    assert "nothing lost" in crash_test("--at-every", how, "--steps", "1", "--stride", "13")


@posix
def test_files_that_may_not_grow():
    assert "nothing lost" in crash_test("--limit", "--kills", "3")


def fill(store: Store) -> None:
    for number in range(100):
        add(store, f"/data/{number}", [f"text {number} {part} " + "word " * 300 for part in range(40)])
        store.finish()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting a small disk takes an administrator")
def test_a_disk_that_fills(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount; test_files_that_may_not_grow covers the same code")
    try:
        with build(disk / "c", [("/data/a", ["kept"])]) as store:
            store.commit()
            with pytest.raises(StoreError, match=r"full|space"):
                fill(store)
        with Store.open(disk / "c") as reader:
            assert "kept" in texts(reader)
            assert reader.verify(ENCODER) == []
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_readers_during_a_reindex(tmp_path):
    """Threads that search one reader, and a fresh one each time, while every file changes again and again, with
    compactions. Each sees one whole state, the newest never goes back."""
    files, rounds = 5, 12
    store = build(tmp_path / "c", [(f"/data/{n}", ["version 0", f"file {n}"]) for n in range(files)])
    store.finish()
    stop, errors, newest = threading.Event(), [], []

    def versions(reader: Store) -> set[str]:
        live = reader.allowed(None)
        shown = list(reader.passages())
        assert len(shown) == 2 * files, f"{len(shown)} passages"
        assert len(live) == 2 * files
        return {p.passage.text for p in shown if p.passage.text.startswith("version")}

    def hammer(fresh: bool) -> None:
        try:
            reader, last = Store.open(tmp_path / "c"), -1
            while not stop.is_set():
                if fresh:
                    reader.close()
                    reader = Store.open(tmp_path / "c")
                else:
                    reader.refresh()
                (version,) = versions(reader)
                assert int(version.split()[1]) >= last, "went back"
                last = int(version.split()[1])
                hits = nearest(reader, f"version {last}", 1)
                assert len(hits) <= 1
            newest.append(last)
            reader.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=hammer, args=(fresh,)) for fresh in (True, False, False)]
    for thread in threads:
        thread.start()
    for number in range(1, rounds + 1):
        for n in range(files):
            stage(store, f"/data/{n}", [f"version {number}", f"file {n}"])
        embed(store)
        store.commit()
        if number % 5 == 0:
            store.compact()
        elif number % 2 == 0:
            store.finish()
    stop.set()
    for thread in threads:
        thread.join()
    store.close()
    assert not errors, errors
    assert max(newest) > 0


def test_a_lock_dies_with_its_process(tmp_path):
    build(tmp_path / "c", [("/data/a", ["one"])]).close()
    program = (
        "import sys, time; from indexer.storage.local.store import Store; "
        "store = Store.open(sys.argv[1], writable=True); print('open', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "c")], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(LockedError, match=f"process {other.pid} on"):
            Store.open(tmp_path / "c", writable=True)
        Store.open(tmp_path / "c").close()  # readers do not mind
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    Store.open(tmp_path / "c", writable=True).close()


@pytest.mark.parametrize("step", ["_seal", "_rewrite"])
def test_a_commit_that_fails_after_the_shards_were_written(tmp_path, monkeypatch, step):
    """What the catalog still names is still there, and the rubbish is cleared away by the next writer."""
    with build(tmp_path / "c", [(f"/data/{n}", [f"text {n}"]) for n in range(9)]) as store:
        if step == "_rewrite":
            store.finish()
        store.remove(["/data/0"])
        store.commit()

        def full() -> None:
            raise StoreError("no space")

        monkeypatch.setattr(store.catalog, "flush", full)
        with pytest.raises(StoreError, match="no space"):
            getattr(store, step)(*[True] * (step == "_rewrite"))
    with Store.open(tmp_path / "c", writable=True) as store:
        assert len(store.swept) == 1
        assert len(texts(store)) == 8
        check(store)


def test_a_long_read_is_not_disturbed_by_a_compaction(tmp_path):
    with Store.create(tmp_path / "c", manifest()) as store:
        store.stage(file("/data/a"), [document("/data/a", [f"text {n}"], record=str(n)) for n in range(2500)])
        embed(store, 5000)
        store.finish()
        with Store.open(tmp_path / "c") as reader:
            shown = reader.passages()
            first = next(shown)
            store.remove(["/data/a"])
            store.compact()
            rest = list(shown)
            assert [first.passage.text, *(p.passage.text for p in rest)] == [f"text {n}" for n in range(2500)]
            assert reader.refresh()
            assert np.array_equal(reader.allowed(None), [])
        check(store)
