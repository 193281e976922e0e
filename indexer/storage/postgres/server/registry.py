"""The collections of a database: each has a schema of its own, and one table says which name means which schema.

So a name is a pointer: renaming a collection, putting one in another's place and deleting one change a row in one
transaction, and readers that hold the old schema go on reading it. ``pg_dump --schema`` takes one collection whole.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from indexer.errors import CollectionNotFound, LockedError, StoreError
from indexer.storage.postgres.server.failures import translated

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, CursorResult

    from indexer.storage.postgres.server.connecting import Server

WRITERS = 0x5E3A7C01
"""Class of the advisory locks on collections: shared by those who write, alone for those who replace."""
LOCK_WAIT = "5s"
_KEEPALIVE = {"tcp_keepalives_idle": 60, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 6}

_STATEMENTS = (
    "CREATE SCHEMA IF NOT EXISTS semsearch",
    "CREATE TABLE IF NOT EXISTS semsearch.collections (number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    'name text COLLATE "C" UNIQUE, made timestamptz NOT NULL DEFAULT now())',  # without a name: to be dropped
    "CREATE SEQUENCE IF NOT EXISTS semsearch.writers AS integer CYCLE",
)


def schema_of(number: int) -> str:
    """Return the schema of a collection."""
    return f"semsearch_{number}"


def use(connection: Connection, number: int, extensions: str) -> None:
    """Let the connection's transaction see a collection's tables."""
    connection.execute(text(f"SET LOCAL search_path = {schema_of(number)}, {extensions}"))


def set_up(connection: Connection) -> None:
    """Make the table of collections where there is none."""
    if not _is_set_up(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('semsearch registry'))"))
        for statement in _STATEMENTS:
            connection.execute(text(statement))


def _is_set_up(connection: Connection) -> bool:
    query = "SELECT to_regclass('semsearch.collections') IS NOT NULL"
    return bool(connection.execute(text(query)).scalar_one())


def find(connection: Connection, name: str) -> int | None:
    """Return the number of the collection of a name."""
    if not _is_set_up(connection):
        return None
    query = text("SELECT number FROM semsearch.collections WHERE name = :name")
    number: int | None = connection.execute(query, {"name": name}).scalar()
    return number


def need(connection: Connection, name: str, where: str) -> int:
    """Return the number of the collection of a name.

    Raises:
        CollectionNotFound: There is none.
    """
    number = find(connection, name)
    if number is None:
        raise CollectionNotFound(f"{where} holds no collection {name!r}: `semsearch index` makes one")
    return number


def names(connection: Connection) -> list[str]:
    """Return the names of all collections, sorted."""
    if not _is_set_up(connection):
        return []
    query = "SELECT name FROM semsearch.collections WHERE name IS NOT NULL ORDER BY name"
    return list(connection.execute(text(query)).scalars())


def add(connection: Connection, name: str, where: str) -> int:
    """Take a name for a new collection and make its schema. Return its number.

    Raises:
        StoreError: The name is taken.
    """
    query = "INSERT INTO semsearch.collections (name) VALUES (:name) ON CONFLICT (name) DO NOTHING RETURNING number"
    number: int | None = connection.execute(text(query), {"name": name}).scalar()
    if number is None:
        raise StoreError(f"{where} holds a collection {name!r} already; open it, or remove it first")
    connection.execute(text(f"CREATE SCHEMA {schema_of(number)}"))
    return number


def lock_names(connection: Connection, *numbers: int) -> None:
    """Let nobody else change what these collections are called, nor judge them, until the transaction ends."""
    query = "SELECT 1 FROM semsearch.collections WHERE number = ANY(:numbers) ORDER BY number FOR UPDATE"
    connection.execute(text(query), {"numbers": list(numbers)})


def free_name(connection: Connection, name: str, ending: str) -> str:
    """Return the first of ``NAME-ending``, ``NAME-ending-2``, … that is not taken."""
    taken = set(names(connection))
    endless = itertools.chain([f"{name}-{ending}"], (f"{name}-{ending}-{n}" for n in itertools.count(2)))
    return next(each for each in endless if each not in taken)


def call(connection: Connection, number: int, name: str | None) -> None:
    """Give a collection another name; without one it is no collection any more."""
    query = text("UPDATE semsearch.collections SET name = :name WHERE number = :number")
    connection.execute(query, {"name": name, "number": number})


def drop_nameless(server: Server, drop_parts: Callable[[Server, int], None]) -> None:
    """Drop the schemas of deleted collections, as far as nobody reads them any more; the others are left for later.

    Args:
        server: That keeps them.
        drop_parts: Drops what a collection has on other servers.
    """
    with server.transaction() as connection:
        query = "SELECT number FROM semsearch.collections WHERE name IS NULL"
        numbers = list(connection.execute(text(query)).scalars()) if _is_set_up(connection) else []
    for number in numbers:
        try:
            drop_parts(server, number)
            with server.transaction() as connection:
                connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
                connection.execute(text(f"DROP SCHEMA IF EXISTS {schema_of(number)} CASCADE"))
                connection.execute(text("DELETE FROM semsearch.collections WHERE number = :n"), {"n": number})
        except LockedError:
            continue


class CollectionLock:
    """The right to write to a collection, or to be the only one: held until it is closed or the process dies.

    It is a lock of a database session, so the server lets it go when the connection breaks, however that comes about;
    of a machine that vanished it learns by asking the connection every minute.
    """

    def __init__(self, server: Server, number: int, name: str, *, alone: bool = False) -> None:
        """Take the right.

        Raises:
            LockedError: Another writer has the collection, and this one or that one wants to be alone.
        """
        self._where = server.where
        self._connection = server.connect(autocommit=True)
        kind = "" if alone else "_shared"
        query = f"SELECT pg_try_advisory_lock{kind}(CAST(:kind AS integer), :number)"
        try:
            for setting, value in _KEEPALIVE.items():
                self.run(f"SET {setting} = {value}")
            if not self.run(query, kind=WRITERS, number=number).scalar_one():
                raise LockedError(
                    f"another process writes to {name!r}; wait until it ends"
                    if alone
                    else f"another process replaces or mends {name!r}; wait until it ends"
                )
        except BaseException:
            self.close()
            raise

    def run(self, statement: str, **values: object) -> CursorResult[Any]:
        """Run a statement over the lock's connection; its effect is durable at once."""
        with translated(self._where):
            return self._connection.execute(text(statement), values)

    def close(self) -> None:
        """Give the right up."""
        self._connection.invalidate()  # rather than back into the pool: the server lets all locks of the session go
        self._connection.close()
