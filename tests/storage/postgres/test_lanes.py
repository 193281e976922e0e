"""Threads of one snapshot ask over connections of their own, which see what the first one saw."""

import threading
from contextlib import ExitStack

import pytest

from indexer.errors import StoreError
from indexer.storage.postgres.search import lanes
from tests.storage.contract.values import add


def counted(lane) -> int:
    return lane.catalog.connection.exec_driver_sql("SELECT count(*) FROM passages").scalar_one()


def test_all_see_the_same_commit(store):
    add(store, "/data/a", ["one", "two"])
    with store.snapshot() as snapshot:
        add(store, "/data/b", ["three"])
        with ExitStack() as stack:
            taken = [stack.enter_context(snapshot._taken()) for _ in range(lanes.MOST)]
            assert len({id(lane) for lane in taken}) == lanes.MOST
            assert [counted(lane) for lane in taken] == [2] * lanes.MOST
        assert snapshot.counts().passages == 2


def test_where_no_more_connections_are_to_be_had(store, monkeypatch):
    add(store, "/data/a", ["one"])
    with store.snapshot() as snapshot:
        failed = []

        def refused(_: str):
            failed.append(1)
            raise StoreError("too many connections")

        monkeypatch.setattr(snapshot._lanes, "_another", refused)
        with snapshot._taken() as first:
            found = []
            waiting = threading.Thread(target=lambda: found.append(snapshot.counts().passages))
            waiting.start()
            waiting.join(0.3)
            assert not found  # it waits for the one that there is
            assert counted(first) == 1
        waiting.join(10)
        assert (found, len(failed)) == ([1], 1)


def test_closed_while_it_is_used(store):
    snapshot = store.snapshot()
    with snapshot._taken() as lane:
        snapshot.close()
        assert counted(lane) == 0  # what began goes on to its end
    with pytest.raises(StoreError, match="closed"):
        snapshot.counts()
