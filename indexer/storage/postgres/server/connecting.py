"""Connections to one database: pooled, with the settings that every one of them needs."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from indexer.errors import StoreError
from indexer.storage.postgres.server.address import driver
from indexer.storage.postgres.server.failures import STANDBY, translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.storage.postgres.server.address import Address

OLDEST_SERVER = 14
OLDEST_PGVECTOR = (0, 8, 0)
"""The first whose searches go on where a filter leaves too few (``hnsw.iterative_scan``)."""
SOUND_PGVECTOR = (0, 8, 3)
"""Before it, ``status`` warns: that release mended errors of the index of vectors."""
TEXTSEARCH = "pg_textsearch"

_ESCAPE, _NUL = "\ufdd0", "\ufdd00"
"""PostgreSQL's texts hold no NUL: it is written as a code point that is no character, and a digit."""


@dataclass(frozen=True)
class Versions:
    """What a server is made of."""

    server: str
    pgvector: str | None
    textsearch: str | None
    """Version of pg_textsearch, where it is installed in the database and loaded by the server."""
    standby: bool
    path: str
    """Schemas of the extensions, as part of a ``search_path``."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a person should know of them."""
        if self.pgvector is not None and numbers(self.pgvector) < SOUND_PGVECTOR:
            newest = ".".join(map(str, SOUND_PGVECTOR))
            return (
                f"pgvector {self.pgvector} is older than {newest}, which mends errors of its index: upgrade it, then "
                "ALTER EXTENSION vector UPDATE",
            )
        return ()


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


class Server:
    """One database, for all threads of a process. Writing connections go to the primary, reading ones to standbys."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._engines: dict[bool, Engine] = {}
        self._versions: dict[bool, Versions] = {}

    @property
    def where(self) -> str:
        """The server as messages name it."""
        return f"PostgreSQL at {self.address.shown}"

    def connect(self, *, reading: bool = False, autocommit: bool = False) -> Connection:
        """Return a connection; closing it gives it back to the pool.

        Raises:
            StoreError: The server cannot be reached, or refuses.
        """
        with translated(self.where):
            connection = self._engine(reading).connect()
            return connection.execution_options(isolation_level="AUTOCOMMIT") if autocommit else connection

    @contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[Connection]:
        """Give a connection in a transaction, committed where the block ends well."""
        with translated(self.where), self.connect(reading=reading) as connection, connection.begin():
            yield connection

    def _engine(self, reading: bool) -> Engine:
        with self._lock:
            if reading not in self._engines:
                parameters = self.address.parameters(reading)
                self._engines[reading] = create_engine(
                    "postgresql+psycopg://",
                    creator=lambda: _connect(parameters),
                    pool_size=4,
                    max_overflow=-1,
                    pool_pre_ping=True,
                    use_native_hstore=False,
                )
            return self._engines[reading]

    def writing_engine(self, path: str) -> Engine:
        """Return an engine for one writer, whose connections have a search path and are not pooled."""
        parameters = self.address.parameters(False)

        def connect() -> Any:
            connection = _connect(parameters)
            connection.execute(f"SET search_path = {path}")
            connection.commit()
            return connection

        return create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, use_native_hstore=False)

    def versions(self, *, reading: bool = False) -> Versions:
        """Return what the server is made of, asked once.

        Raises:
            StoreError: The server or its pgvector is too old.
        """
        if reading not in self._versions:
            with self.transaction(reading=reading) as connection:
                found = _versions(connection)
            if numbers(found.server)[0] < OLDEST_SERVER:
                raise StoreError(f"{self.where} is version {found.server}; it must be {OLDEST_SERVER} or newer")
            if found.pgvector is not None and numbers(found.pgvector) < OLDEST_PGVECTOR:
                oldest = ".".join(map(str, OLDEST_PGVECTOR))
                raise StoreError(
                    f"{self.where} has pgvector {found.pgvector}; it must be {oldest} or newer: install it, then ALTER "
                    "EXTENSION vector UPDATE"
                )
            self._versions[reading] = found
        return self._versions[reading]

    def prepare(self) -> Versions:
        """Return the versions, with the extensions made where the database lacks them.

        Raises:
            StoreError: pgvector is not installed, or the server is a standby.
        """
        found = self.versions()
        if found.standby:
            raise StoreError(STANDBY.format(self.where))
        with self.transaction() as connection:
            offered: dict[str, str | None] = dict(
                connection.execute(
                    text("SELECT name, installed_version FROM pg_available_extensions WHERE name = ANY(:names)"),
                    {"names": ["vector", TEXTSEARCH]},
                ).all()
            )
            if "vector" not in offered:
                raise StoreError(
                    f"{self.where} lacks the extension pgvector; install it on the server (Debian: "
                    f"postgresql-{numbers(found.server)[0]}-pgvector)"
                )
            loaded = connection.execute(text("SHOW shared_preload_libraries")).scalar_one()
            wanted = ["vector", *([TEXTSEARCH] if TEXTSEARCH in str(loaded) else [])]
            missing = [name for name in wanted if name in offered and offered[name] is None]
            if missing:
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('semsearch extensions'))"))
            for name in missing:
                connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {name}"))
        if missing:
            self._versions.clear()
        return self.versions()

    def close(self) -> None:
        """Let idle connections go; those in use stay usable."""
        with self._lock:
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()


def _versions(connection: Connection) -> Versions:
    rows = connection.execute(
        text(
            "SELECT e.extname, e.extversion, quote_ident(n.nspname) FROM pg_extension e "
            "JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = ANY(:names)"
        ),
        {"names": ["vector", TEXTSEARCH]},
    ).all()
    found = {name: version for name, version, _ in rows}
    server, standby, loaded = connection.execute(
        text(
            "SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('shared_preload_libraries')"
        )
    ).one()
    textsearch = found.get(TEXTSEARCH) if TEXTSEARCH in loaded else None
    path = ", ".join(dict.fromkeys([schema for *_, schema in rows] + ["public"]))
    return Versions(server.split()[0], found.get("vector"), textsearch, standby, path)


def _connect(parameters: dict[str, Any]) -> Any:
    """Return a connection of psycopg whose texts may hold NUL."""
    psycopg = driver()
    from psycopg.types.string import StrDumper, TextLoader

    class Escaping(StrDumper):
        def dump(self, obj: str) -> Any:
            if "\0" in obj or _ESCAPE in obj:
                obj = obj.replace(_ESCAPE, _ESCAPE * 2).replace("\0", _NUL)
            return super().dump(obj)

    class Unescaping(TextLoader):
        def load(self, data: Any) -> Any:
            value = super().load(data)
            if isinstance(value, str) and _ESCAPE in value:
                halves = value.split(_ESCAPE * 2)
                value = _ESCAPE.join(half.replace(_NUL, "\0") for half in halves)
            return value

    connection = psycopg.connect(**parameters, prepare_threshold=None)
    connection.adapters.register_dumper(str, Escaping)
    for name in ("text", "varchar"):
        connection.adapters.register_loader(name, Unescaping)
    return connection
