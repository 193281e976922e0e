"""Texts that a writer has taken to embed, so that no other does: written down at once, outside of its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer.storage.postgres.server.registry import CollectionLock

ALIVE = 0x5E3A7C02
"""Class of the advisory locks that tell that a writer is alive."""


class Claims:
    """The texts that one writer has taken. Those of writers that have died, or whose lease is over, are free."""

    def __init__(self, lock: CollectionLock, schema: str) -> None:
        """Begin as a writer with a number of its own.

        Args:
            lock: The writer's; its connection is used, which commits each statement at once.
            schema: Of the collection.
        """
        self._run = lock.run
        self._table = f"{schema}.claims"
        self.writer: int = self._run("SELECT CAST(nextval('semsearch.writers') AS integer)").scalar_one()
        self._run("SELECT pg_advisory_lock(CAST(:kind AS integer), :writer)", kind=ALIVE, writer=self.writer)

    def others(self) -> set[int]:
        """Return the digests of texts that are taken by others; claims of the dead are dropped."""
        self._run(
            f"DELETE FROM {self._table} WHERE until < clock_timestamp() OR writer NOT IN (SELECT CAST(objid AS "
            "integer) FROM pg_locks WHERE locktype = 'advisory' AND classid = CAST(:kind AS oid) AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database()))",
            kind=ALIVE,
        )
        rows = self._run(f"SELECT digest FROM {self._table} WHERE writer <> :writer", writer=self.writer)
        return set(rows.scalars())

    def take(self, digests: Iterable[int], lease: float | None) -> set[int]:
        """Take texts, for so many seconds or until they are given back. Return those that nobody else had."""
        rows = self._run(
            f"INSERT INTO {self._table} AS held (digest, writer, until) "
            "SELECT d, :writer, coalesce(clock_timestamp() + make_interval(secs => CAST(:lease AS double precision)), "
            "'infinity') FROM unnest(CAST(:digests AS bigint[])) AS d "
            "ON CONFLICT (digest) DO UPDATE SET until = excluded.until WHERE held.writer = excluded.writer "
            "RETURNING digest",
            writer=self.writer,
            lease=lease,
            digests=sorted(digests),  # in one order: two who want the same texts wait for each other, and end
        )
        return set(rows.scalars())

    def give_back(self, digests: Iterable[int] | None = None) -> None:
        """Give texts back; None: all."""
        mine = f"DELETE FROM {self._table} WHERE writer = :writer"
        if digests is None:
            self._run(mine, writer=self.writer)
        else:
            some = f"{mine} AND digest = ANY(CAST(:digests AS bigint[]))"
            self._run(some, writer=self.writer, digests=sorted(digests))
