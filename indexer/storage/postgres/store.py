"""PostgresStore: one collection in a database. Any number of readers and writers, on any number of machines."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, text

from indexer.errors import CorruptError, FormatError, LockedError, StoreError
from indexer.judgements import judgement_of, latest, line
from indexer.storage.database import WritingTransaction
from indexer.storage.manifest import Manifest
from indexer.storage.planner import AUTO
from indexer.storage.postgres import shards
from indexer.storage.postgres.dialect import POSTGRES
from indexer.storage.postgres.search import nearest, words
from indexer.storage.postgres.server import registry
from indexer.storage.postgres.server.address import Address
from indexer.storage.postgres.server.connecting import Server
from indexer.storage.postgres.server.failures import STANDBY, translated
from indexer.storage.postgres.server.registry import CollectionLock
from indexer.storage.postgres.snapshot import PostgresSnapshot
from indexer.storage.postgres.tables import HEAD, judged, manifests, notes
from indexer.storage.postgres.writer import PostgresWriter
from indexer.storage.sql.reading import CatalogReader
from indexer.storage.sql.snapshot import version_of
from indexer.storage.storable import check_annotation_name, storable_judgement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

    from sqlalchemy import Connection

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from indexer.storage.postgres.server.connecting import Versions
    from indexer.types import IndexReport, Judgement, Problem

_VACUUM = "VACUUM (ANALYZE) documents, passages, vectors, words, frequencies, sparse"


class PostgresStore:
    """A collection in a database; see ``Store`` and ``Maintenance``."""

    def __init__(self, address: Address | str, name: str):
        """Open the collection of a name.

        Args:
            address: The database, or its URL.
            name: Of the collection.

        Raises:
            CollectionNotFound: There is none.
            StoreError: The server cannot be reached or used.
            FormatError: A newer version wrote the collection.
        """
        self.server = Server(Address.of(address) if isinstance(address, str) else address)
        self._name = name
        self._primary = not self.server.address.standbys
        self._manifest = self._opened()

    @classmethod
    def create(cls, address: Address | str, name: str, manifest: Manifest) -> Self:
        """Make a new, empty collection.

        Raises:
            StoreError: There is one of that name, or the server cannot be used.
        """
        server = Server(Address.of(address) if isinstance(address, str) else address)
        _make(server, name, manifest)
        server.close()
        return cls(server.address, name)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._name

    @property
    def manifest(self) -> Manifest:
        """What made the vectors."""
        return self._manifest

    def _opened(self) -> Manifest:
        with self._tables() as (connection, _):
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if found is None or found > HEAD:
                raise FormatError(
                    f"collection {self._name!r} in {self.server.where} is at migration {found}, this version of "
                    f"semsearch knows up to {HEAD}: install a newer semsearch"
                )
            manifest = self._read_manifest(connection)
        if found != HEAD:
            self._migrate()
        return manifest

    def _migrate(self) -> None:
        from indexer.storage.postgres.migrations import upgrade

        self._primary = True
        with self._tables() as (connection, number):
            lock = CollectionLock(self.server, number, self._name, alone=True)
            try:
                upgrade(connection)
            finally:
                lock.close()

    def _read_manifest(self, connection: Connection) -> Manifest:
        value = connection.execute(select(manifests.c.value)).scalar()
        try:
            return Manifest.from_dict(json.loads(value or ""), f"collection {self._name!r}")
        except ValueError as error:
            raise CorruptError(
                f"the manifest of {self._name!r} in {self.server.where} is damaged: {error}; restore it from a copy"
            ) from error

    @contextmanager
    def _tables(self, *, reading: bool | None = None) -> Iterator[tuple[Connection, int]]:
        """Give a transaction that sees the collection's tables, and the collection's number."""
        reading = not self._primary if reading is None else reading
        versions = self.server.versions(reading=reading)
        with self.server.transaction(reading=reading) as connection:
            number = registry.need(connection, self._name, self.server.where)
            registry.use(connection, number, versions.path)
            yield connection, number

    # Reading

    def version(self) -> str:
        """Return a text that differs after every commit that changed what a search sees, and after replacement."""
        with self._tables() as (connection, _):
            self._manifest = self._read_manifest(connection)
            return version_of(self._manifest, CatalogReader(connection, POSTGRES).state()[0])

    def snapshot(self) -> PostgresSnapshot:
        """Return what is committed now, pinned. Standbys serve it, unless this store has written."""
        reading = not self._primary
        versions = self.server.versions(reading=reading)
        connection = self._reader(reading)
        try:
            with translated(self.server.where):
                number = registry.need(connection, self._name, self.server.where)
                registry.use(connection, number, versions.path)
                self._manifest = manifest = self._read_manifest(connection)
                schema = registry.schema_of(number)

                def another(snapshot: str) -> Connection:
                    more = self._reader(reading)
                    more.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
                    registry.use(more, number, versions.path)
                    return more

                where = self.server.where
                return PostgresSnapshot(connection, another, manifest, self._name, schema, versions, where)
        except BaseException:
            connection.close()
            raise

    def _reader(self, reading: bool) -> Connection:
        """Return a connection whose transaction sees one state, and only reads."""
        connection = self.server.connect(reading=reading)
        return connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    # Writing

    def writer(self, *, alone: bool = False) -> PostgresWriter:
        """Return a writer; there can be several, except where one wants to be alone.

        Raises:
            LockedError: The collection is being replaced or mended.
            StoreError: The server is a standby.
        """
        versions = self._to_write()
        with self._tables() as (connection, number):
            manifest = self._read_manifest(connection)
        lock = CollectionLock(self.server, number, self._name, alone=alone)
        try:
            engine = self.server.writing_engine(f"{registry.schema_of(number)}, {versions.path}")
            transaction = WritingTransaction(engine, lambda: translated(self.server.where))
            return PostgresWriter(self.server, transaction, lock, manifest, self._name, number)
        except BaseException:
            lock.close()
            raise

    def _to_write(self) -> Versions:
        """Read from the primary from now on, so that what is written is seen; return its versions."""
        self._primary = True
        versions = self.server.versions()
        if versions.standby:
            raise StoreError(STANDBY.format(self.server.where))
        return versions

    # What is kept beside the passages

    def annotation(self, name: str) -> dict[str, object] | None:
        """Return a small JSON object that was kept with the collection; None without one.

        Raises:
            CorruptError: It is not JSON any more.
        """
        with self._tables() as (connection, _):
            value = connection.execute(select(notes.c.value).where(notes.c.name == name)).scalar()
        if value is None:
            return None
        try:
            found = json.loads(value)
        except ValueError as error:
            raise CorruptError(
                f"note {name!r} of {self._name!r} is damaged ({error}); restore it from a copy"
            ) from error
        if not isinstance(found, dict):
            raise CorruptError(f"note {name!r} of {self._name!r} holds no JSON object; restore it from a copy")
        return found

    def annotate(self, name: str, value: Mapping[str, object] | None) -> None:
        """Keep a small JSON object with the collection, durably; None removes it."""
        check_annotation_name(name)
        self._to_write()
        with self._tables() as (connection, _):
            if value is None:
                connection.execute(delete(notes).where(notes.c.name == name))
            else:
                row = {"name": name, "value": json.dumps(dict(value), ensure_ascii=False)}
                statement = POSTGRES.insert(notes).values(row)
                connection.execute(statement.on_conflict_do_update(index_elements=[notes.c.name], set_=row))

    def judge(self, judgements: Sequence[Judgement]) -> None:
        """Keep what a person said of some places, durably before it returns."""
        if not judgements:
            return
        self._to_write()
        lines = [{"line": line(storable_judgement(each)).rstrip("\n")} for each in judgements]
        while True:
            with self._tables() as (connection, number):
                query = "SELECT 1 FROM semsearch.collections WHERE number = :n AND name = :name FOR KEY SHARE"
                if connection.execute(text(query), {"n": number, "name": self._name}).first():
                    connection.execute(insert(judged), lines)
                    return  # else another collection has just taken this one's place

    def judgements(self) -> list[Judgement]:
        """Return the judgements that count, in the order in which they were made.

        Raises:
            CorruptError: One of them is damaged.
        """
        with self._tables() as (connection, _):
            lines = list(connection.execute(select(judged.c.line).order_by(judged.c.number)).scalars())
        try:
            return latest(map(judgement_of, lines))
        except ValueError as error:
            raise CorruptError(f"a judgement of {self._name!r} is damaged: {error}; restore it from a copy") from error

    # Maintenance

    def sizes(self) -> dict[str, int]:
        """Return bytes on disk of catalog, vectors and index, and of the terms where there is a sparse index."""
        with self._tables() as (connection, _):

            def size(function: str, *names: str) -> int:
                query = text(f"SELECT coalesce(sum({function}(to_regclass(n))), 0)::bigint FROM unnest(:names) AS n")
                return int(connection.execute(query, {"names": list(names)}).scalar_one())

            index = size("pg_relation_size", nearest.INDEX)
            sizes = {
                "catalog": size("pg_total_relation_size", "documents", "passages", "files", "words", "frequencies"),
                "vectors": size("pg_total_relation_size", "vectors") - index,
                "index": index,
            }
            if self._manifest.sparse is not None:
                sizes["terms"] = size("pg_total_relation_size", "sparse")
            return sizes

    def engines(self) -> dict[str, str]:
        """Return what searches the collection and in which versions, for people: part → description."""
        versions = self.server.versions(reading=not self._primary)
        with self._tables() as (connection, number):
            parts = len(shards.found(connection, number))
            textsearch = words.has_textsearch(connection) and versions.textsearch is not None and not versions.standby
            index = nearest.has_index(connection)
        found = {
            "server": f"PostgreSQL {versions.server}{' (standby)' if versions.standby else ''}, "
            f"pgvector {versions.pgvector}",
            "vectors": nearest.described(self._manifest) if index else nearest.UNINDEXED,
            "words": f"BM25, pg_textsearch {versions.textsearch}" if textsearch else "BM25 in SQL",
        }
        if parts:
            found["vectors"] += f", on {parts} servers"
        if versions.warnings:
            found["warning"] = "; ".join(versions.warnings)
        return found

    def index_report(self) -> IndexReport | None:
        """Return None: pgvector's index is described by ``engines``, and its recall is not measured."""
        return None

    def ask_for_index(self, plan: str | None, recall: float | None) -> None:
        """Refuse all but "auto": pgvector has one kind of index."""
        if recall is not None or plan not in (None, AUTO):
            asked = "--index-recall" if plan in (None, AUTO) else f"--index-plan {plan}"
            raise StoreError(
                f"{asked} is for collections in a folder; {self._name!r} is in PostgreSQL and gets pgvector's "
                f"{nearest.described(self._manifest)} from {nearest.INDEX_FROM:,} passages on: leave it out, or say "
                f"--index-plan {AUTO}"
            )

    def examine(self, *, mend: bool, open_encoder: Callable[[EncoderSpec], Encoder] | None = None) -> list[Problem]:
        """Return what is wrong, and with ``mend`` put right what can be; with an encoder, embed a sample again."""
        from indexer.storage.postgres import doctor

        return doctor.examine(self, mend, open_encoder)

    def compact(self) -> None:
        """Drop what no commit shows any more and give its space back."""
        with self.writer() as writer:
            writer.compact()
        self.vacuum()

    def vacuum(self) -> None:
        """Let the server use the space of deleted rows again."""
        versions = self._to_write()
        with self._tables() as (_, number):
            pass
        engine = self.server.writing_engine(f"{registry.schema_of(number)}, {versions.path}")
        with translated(self.server.where), engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(_VACUUM))
        registry.drop_nameless(self.server, shards.drop)

    def beside(self, manifest: Manifest) -> PostgresStore:
        """Return a store to be put in this one's place: ``NAME-new``, or one left by an earlier run."""
        self._to_write()
        with self.server.transaction() as connection:
            there = [n for n in registry.names(connection) if re.fullmatch(re.escape(self._name) + r"-new(-\d+)?", n)]
            free = registry.free_name(connection, self._name, "new")
        for name in there:
            try:
                found = PostgresStore(self.server.address, name)
                if found.manifest.fingerprint == manifest.fingerprint:
                    return found
                found.close()
            except StoreError:
                continue
        return PostgresStore.create(self.server.address, free, manifest)

    def replace(self, new: PostgresStore, version: str) -> str:
        """Put ``new`` in this store's place in one step. Return the name under which the old one stays."""
        self._to_write()
        locks: list[CollectionLock] = []
        with self._tables() as (_, ours), new._tables(reading=False) as (_, theirs):
            pass
        try:
            for number, name in ((ours, self._name), (theirs, new.name)):
                locks.append(CollectionLock(self.server, number, name, alone=True))
            if self.version() != version:
                raise StoreError(
                    f"{self._name} has changed since {new.name} was made from it; make it again, it goes on from there"
                )
            with self._tables() as (connection, number):
                registry.lock_names(connection, ours, theirs)
                if number != ours:
                    raise LockedError(f"another process has replaced {self._name}; run it again")
                before = registry.free_name(connection, self._name, "before")
                rows = f"SELECT line FROM {registry.schema_of(ours)}.judgements ORDER BY number"
                table = f"{registry.schema_of(theirs)}.judgements"
                connection.execute(text(f"INSERT INTO {table} (line) {rows}"))
                registry.call(connection, ours, before)
                registry.call(connection, theirs, self._name)
        finally:
            for lock in locks:
                lock.close()
        self._manifest = self._opened()
        return before

    def rename(self, name: str) -> None:
        """Give the collection another name.

        Raises:
            StoreError: There is one of that name.
        """
        self._to_write()
        with self._tables() as (connection, number):
            lock = CollectionLock(self.server, number, self._name, alone=True)
            try:
                if registry.find(connection, name) is not None:
                    raise StoreError(f"there is a collection {name!r} already; choose another name")
                registry.call(connection, number, name)
            finally:
                lock.close()
        self._name = name

    def delete(self) -> None:
        """Delete the collection with everything in it. Readers that hold it go on; its space is given back later."""
        self._to_write()
        with self._tables() as (connection, number):
            lock = CollectionLock(self.server, number, self._name, alone=True)
            try:
                registry.call(connection, number, None)
            finally:
                lock.close()
        registry.drop_nameless(self.server, shards.drop)

    def close(self) -> None:
        """Let go of idle connections. Open snapshots stay usable."""
        self.server.close()


def _make(server: Server, name: str, manifest: Manifest) -> None:
    from indexer.storage.postgres.migrations import upgrade

    if manifest.words != 2:
        raise StoreError(f"words is {manifest.words}; in PostgreSQL it is 2")
    versions = server.prepare()
    with server.transaction() as connection:
        registry.set_up(connection)
    with shards.spreading(server) as made, server.transaction() as connection:
        number = registry.add(connection, name, server.where)
        registry.use(connection, number, versions.path)
        upgrade(connection)
        if server.address.shards:
            shards.spread(server, connection, number, manifest, made)
        else:
            nearest.create_table(connection, manifest)
        if versions.textsearch is not None:
            words.create_textsearch(connection)
        connection.execute(insert(manifests).values(value=json.dumps(manifest.to_dict(), ensure_ascii=False)))


def exists(url: str, name: str) -> bool:
    """Tell whether a database holds a collection of a name."""
    server = Server(Address.of(url))
    try:
        with server.transaction(reading=True) as connection:
            return registry.find(connection, name) is not None
    finally:
        server.close()


def names(url: str) -> list[str]:
    """Return the names of the collections in a database, sorted."""
    server = Server(Address.of(url))
    try:
        with server.transaction(reading=True) as connection:
            return registry.names(connection)
    finally:
        server.close()
