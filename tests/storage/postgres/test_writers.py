"""Several writers of one collection: who embeds what, and what becomes of the work of those who die."""

import os
import signal
import subprocess
import sys
import time

import pytest

from indexer.errors import LockedError
from indexer.types import Waiting
from tests.postgres_servers import sql
from tests.storage.contract.values import add, dense, embed, embedded, ids, lexical, now, parsed, shown


class TestClaims:
    def test_a_text_is_given_to_one_writer_only(self, store, again):
        with store.writer() as first, again.writer() as second:
            first.stage(parsed("/data/a", ["one", "two", "three"]))
            first.commit()
            assert [work.text for work in first.claim(2)] == ["one", "two"]
            assert [work.text for work in second.claim(9)] == ["three"]
            assert first.claim(9) == second.claim(9) == []
            first.rollback()
            assert [work.text for work in second.claim(9)] == ["one", "two"]
        with store.writer() as third:
            assert [work.text for work in third.claim(9)] == ["one", "two", "three"]

    def test_a_lease_ends(self, store, again):
        with store.writer() as first, again.writer() as second:
            first.stage(parsed("/data/a", ["one"]))
            first.commit()
            late = first.claim(1, lease=0.2)
            assert second.claim(1) == []
            time.sleep(0.3)
            other = second.claim(1)
            assert [work.text for work in other] == ["one"]
            second.put(embedded(other, False))
            second.commit()
            first.put(embedded(late, False))  # late, and passed over
            first.commit()
        with store.snapshot() as snapshot:
            assert dense(snapshot, "one") == ["one"]
        assert store.examine(mend=False) == []

    def test_two_give_the_same_text_its_vector(self, store, again):
        with store.writer() as first, again.writer() as second:
            first.stage(parsed("/data/a", ["same"]))
            second.stage(parsed("/data/b", ["same"]))
            assert embed(store, first) == ["same"]
            assert second.claim(9) == []  # taken, though the other's passage cannot be seen yet
            first.commit()
            assert second.claim(9) == []  # it has a vector now, and the second passage gets it
            assert second.waiting() == Waiting(0, 0)
            second.commit()
        with store.snapshot() as snapshot:
            assert snapshot.embedded(ids(snapshot)).all()
        assert store.examine(mend=False) == []

    def test_a_document_that_two_embed_is_shown_when_the_last_vector_is_there(self, store, again):
        add(store, "/data/a", ["old"])
        with store.writer() as first, again.writer() as second:
            first.stage(parsed("/data/a", ["new one", "new two"]))
            first.commit()
            assert embed(store, first, 1) == ["new one"]
            assert embed(again, second, 1) == ["new two"]
            first.commit()
            assert now(store) == ["old"]
            second.commit()
        with store.snapshot() as snapshot:
            assert shown(snapshot) == ["new one", "new two"]
            assert lexical(snapshot, "old") == []
        assert store.examine(mend=False) == []

    def test_a_process_that_is_killed_gives_its_work_back(self, store):
        with store.writer() as writer:
            writer.stage(parsed("/data/a", ["one", "two"]))
            writer.commit()
            code = (
                "import sys, time; from indexer.storage.postgres.store import PostgresStore\n"
                "writer = PostgresStore(sys.argv[1], sys.argv[2]).writer()\n"
                "print(len(writer.claim(9)), flush=True); time.sleep(60)"
            )
            command = [sys.executable, "-c", code, store.server.address.url, store.name]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout.readline() == "2\n"
                assert writer.claim(9) == []
                os.kill(process.pid, signal.SIGKILL)
            found = []
            for _ in range(100):  # until the server has seen that the connection is gone
                if found := writer.claim(9):
                    break
                time.sleep(0.05)
            assert [work.text for work in found] == ["one", "two"]


class TestSharedWork:
    def test_generations_follow_each_other(self, store, again):
        with store.writer() as first, again.writer() as second:
            first.stage(parsed("/data/a", ["one"]))
            second.stage(parsed("/data/b", ["two"]))
            version = store.version()
            assert second.commit() == 1
            assert again.version() != version
            assert first.commit() == 2
            assert now(store) == ["one", "two"]
            first.remove(["/data/b"])
            second.stage(parsed("/data/c", ["three"]))
            assert second.commit() == 3
            assert now(store) == ["one", "two", "three"]  # the removal is not committed
            assert first.commit() == 4
            assert now(store) == ["one", "three"]
        with store.snapshot() as snapshot:
            assert lexical(snapshot, "two") == []
        assert store.examine(mend=False) == []

    def test_both_take_in_the_same_file(self, store, again):
        with store.writer() as first, again.writer() as second:
            first.set_root("/data", {"by": 1})
            first.stage(parsed("/data/a", ["one"]))
            first.commit()
            second.set_root("/data", {"by": 2})
            assert second.stage(parsed("/data/a", ["one"])).passages == 1
            second.commit()
            embed(again, second)
            second.commit()
        assert now(store) == ["one"]
        with store.snapshot() as snapshot:
            assert snapshot.roots() == {"/data": {"by": 2}}

    def test_two_who_wait_for_each_other(self, store, again):
        """The server breaks the knot: one goes on, the other is told to run again."""
        import threading

        sql(store.server.address.url, "SELECT 1")
        with store.writer() as first, again.writer() as second:
            first.stage(parsed("/data/a", ["one"]))
            second.stage(parsed("/data/b", ["two"]))
            errors = []

            def other():
                try:
                    second.stage(parsed("/data/a", ["three"]))
                    second.commit()
                except LockedError as error:
                    errors.append(error)
                    second.rollback()

            thread = threading.Thread(target=other)
            thread.start()
            try:
                first.stage(parsed("/data/b", ["four"]))
                first.commit()
            except LockedError as error:
                errors.append(error)
                first.rollback()
            thread.join()
            assert len(errors) == 1
            assert "run it again" in str(errors[0])
        assert store.examine(mend=False) == []

    def test_compaction_while_another_writes(self, store, again):
        add(store, "/data/a", ["gone"])
        with again.writer() as writer:
            writer.remove(["/data/a"])
            writer.commit()
            writer.stage(parsed("/data/b", ["two"]))
            store.compact()
            assert writer.stage(parsed("/data/c", ["gone"])).reused == 0
            embed(again, writer)
            writer.commit()
        assert now(store) == ["two", "gone"]
        assert store.examine(mend=False) == []


@pytest.mark.parametrize("n", [3, 2_500])
def test_ids_come_from_one_sequence(store, again, n):
    with store.writer() as first, again.writer() as second:
        first.stage(parsed("/data/a", [f"a{i}" for i in range(n)]))
        second.stage(parsed("/data/b", [f"b{i}" for i in range(n)]))
        first.commit()
        second.commit()
    with store.snapshot() as snapshot:
        assert len(set(ids(snapshot).tolist())) == 2 * n
