"""A writer of a collection in PostgreSQL: one transaction for catalog, words and vectors; several may write at a time.

Writers see what others have committed (READ COMMITTED). Their commits follow one upon the other: each locks the row of
``state`` for as long as it takes to publish. Texts that one has claimed are not given to another.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import ColumnElement, FromClause, delete, exists, literal, select, text, update

from indexer.errors import StoreError
from indexer.progress import silent
from indexer.storage.postgres import shards
from indexer.storage.postgres.claims import Claims
from indexer.storage.postgres.dialect import POSTGRES
from indexer.storage.postgres.search import nearest, words
from indexer.storage.postgres.search.copying import copy, copy_vectors
from indexer.storage.postgres.server import registry
from indexer.storage.postgres.tables import vectors
from indexer.storage.sql.packed_terms import pack, unpack
from indexer.storage.sql.reading import JOINED, wanted_work
from indexer.storage.sql.row_values import text_digest
from indexer.storage.sql.schema import documents, passages
from indexer.storage.sql.writer import CatalogVerbs
from indexer.storage.sql.writing import CatalogWriter, NewIds
from indexer.storage.vectors import DTYPES, check_embedded
from indexer.types import Embedded, Staged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Table

    from indexer.progress import Progress
    from indexer.storage.database import WritingTransaction
    from indexer.storage.manifest import Manifest
    from indexer.storage.postgres.search.words import Terms
    from indexer.storage.postgres.server.connecting import Server
    from indexer.storage.postgres.server.registry import CollectionLock
    from indexer.types import Parsed, Work

TOMBSTONES = 0.25
"""Share of dead passages past which ``finish`` compacts."""
UPCOMING = 1 << 62
"""Stands for the generation that a writer's changes will belong to, until its commit gives it one."""


class Catalog(CatalogWriter):
    """The statements of one writer among several."""

    def upcoming(self) -> int:
        """Return what stands for the generation of the commit to come: nobody knows its number yet."""
        return UPCOMING

    def load(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Insert many rows, by COPY."""
        columns = list(rows[0])
        copy(self.connection, table.name, columns, ([row[name] for name in columns] for row in rows))

    def count_down(self, mine: ColumnElement[bool]) -> None:
        """Do nothing: two writers that give vectors to passages of one document would have to wait for each other."""

    def lacks_vectors(self, held: FromClause) -> ColumnElement[bool]:
        """Return the condition that some of a document's passages have no vector."""
        bare = select(literal(1)).where(passages.c.document_id == held.c.id, passages.c.embedded == 0)
        return exists(bare.correlate(held))

    def publish(self, vectors_shown: bool) -> tuple[int, bool]:
        """Show what is ready; from here to the transaction's end no other writer publishes."""
        generation = self.connection.execute(text("SELECT generation + 1 FROM state FOR UPDATE")).scalar_one()
        for column in (documents.c.born, documents.c.died):
            mine = documents.c.died == UPCOMING
            self.connection.execute(update(documents).where(mine, column == UPCOMING).values({column: generation}))
        return super().publish(vectors_shown)

    def new_ids(self, numbers: int, parts: int) -> NewIds:
        """Return ids for as many new documents and passages."""

        def drawn(sequence: str, n: int) -> Iterator[int]:
            query = text(f"SELECT nextval('{sequence}') FROM generate_series(1, :n)")
            return iter(self.connection.execute(query, {"n": n}).scalars().all())

        return NewIds(drawn("document_ids", numbers), drawn("passage_ids", parts))

    def still_waiting(self, digests: Iterable[int]) -> set[int]:
        """Return the digests of those texts that wait for a vector."""
        mine = POSTGRES.among(passages.c.digest, digests)
        query = select(passages.c.digest).select_from(JOINED).where(wanted_work(), mine).distinct()
        return set(self.connection.execute(query).scalars())

    def waiting_of(self, digests: Iterable[int]) -> list[int]:
        """Return the passages of those texts that wait for a vector."""
        mine = POSTGRES.among(passages.c.digest, digests)
        return list(
            self.connection.execute(select(passages.c.id).select_from(JOINED).where(wanted_work(), mine)).scalars()
        )

    def bare(self, ids: Iterable[int]) -> set[int]:
        """Return those of the passages that have no vector, locked: no other writer gives them one."""
        mine = POSTGRES.among(passages.c.id, ids)
        query = select(passages.c.id).where(mine, passages.c.embedded == 0).order_by(passages.c.id).with_for_update()
        return set(self.connection.execute(query).scalars())


class PostgresWriter(CatalogVerbs):
    """A writer of a PostgresStore; see ``Writer``. Made by ``PostgresStore.writer``."""

    def __init__(
        self,
        server: Server,
        transaction: WritingTransaction,
        lock: CollectionLock,
        manifest: Manifest,
        name: str,
        number: int,
    ):
        """Take over the transaction's connection and the lock.

        Args:
            server: That keeps the collection.
            transaction: Its connections see the collection's tables.
            lock: Says that somebody writes.
            manifest: Of the collection.
            name: Of the collection, for messages.
            number: Of the collection.
        """
        super().__init__()
        self.manifest = manifest
        self._server = server
        self._number = number
        self._transaction = transaction
        self._lock = lock
        self._name = name
        self._claims = Claims(lock, registry.schema_of(number))
        self._claimed: dict[int, str] = {}
        self._done: set[int] = set()  # digests of texts whose vectors are yet to be committed
        self._ready: dict[int, Terms] = {}
        self._staged = 0
        self._closed = False
        with self.catalog() as catalog:
            self._textsearch = words.has_textsearch(catalog.connection)

    @contextmanager
    def catalog(self) -> Iterator[Catalog]:
        """Give the catalog for a step that is undone as a whole where it fails."""
        if self._closed:
            raise StoreError(f"this writer of {self._name} is closed; take another one")
        with self._transaction.step() as connection:
            yield Catalog(connection, POSTGRES)

    # Changes

    def stage(self, parsed: Parsed) -> Staged:
        """Take in a new or changed file in place of what it had."""
        with self.catalog() as catalog:
            ids = catalog.new_ids(len(parsed.documents), sum(len(each.passages) for each in parsed.documents))
            rows = catalog.stage(parsed.file, parsed.documents, ids)
            self._reuse(catalog, rows.twins)
        self._ready |= {row["id"]: words.terms_of(rows.titles[row["document_id"]], row["text"]) for row in rows.new}
        self._staged += len(rows.new)
        return Staged(rows.passages, rows.kept + len(rows.twins))

    def _reuse(self, catalog: Catalog, twins: Mapping[int, int]) -> None:
        """Give passages the vectors, and terms, of others of the same text."""
        if not twins:
            return
        values = {"new": list(twins), "old": list(twins.values())}
        pairs = "unnest(CAST(:new AS bigint[]), CAST(:old AS bigint[])) AS t (new, old)"
        run = catalog.connection.execute
        statement = (
            f"INSERT INTO vectors SELECT t.new, v.vector FROM vectors v JOIN {pairs} ON t.old = v.id RETURNING id"
        )
        given = list(run(text(statement), values).scalars())
        if self.manifest.sparse is not None:
            columns = "s.terms, s.numbers, s.weights"
            run(text(f"INSERT INTO sparse SELECT t.new, {columns} FROM sparse s JOIN {pairs} ON t.old = s.id"), values)
        self._vectors_shown |= catalog.mark_embedded(given)

    # Embedding

    def claim(self, n: int, lease: float | None = None) -> list[Work]:
        """Return at most n texts that wait for a vector and that no other writer has claimed."""
        found: list[Work] = []
        while len(found) < n:
            taken = self._claims.others() | {text_digest(claimed) for claimed in self._claimed.values()}
            with self.catalog() as catalog:
                works = {text_digest(work.text): work for work in catalog.work(n - len(found), taken)}
            if not works:
                break
            mine = self._claims.take(works, lease)
            with self.catalog() as catalog:  # meanwhile another may have embedded them, or the same text elsewhere
                self._reuse(catalog, catalog.twins(catalog.waiting_of(mine)))
                wanted = catalog.still_waiting(mine)
            self._claims.give_back(mine - wanted)
            new = [work for digest, work in works.items() if digest in wanted]
            self._claimed |= {work.id: work.text for work in new}
            found += new
        return found

    def put(self, embedded: Embedded) -> None:
        """Give claimed texts their vectors."""
        manifest = self.manifest
        ids = np.asarray(embedded.ids, np.int64)
        check_embedded(manifest.dim, manifest.sparse is not None, ids, embedded)
        rows = np.ascontiguousarray(embedded.vectors, DTYPES[manifest.vector_dtype])
        places = {number: row for row, number in enumerate(ids.tolist())}
        packed = None if embedded.terms is None else dict(zip(places, map(pack, embedded.terms), strict=True))
        texts = {number: self._claimed[number] for number in places if number in self._claimed}
        with self.catalog() as catalog:
            like = catalog.without_vector(texts)
            bare = catalog.bare(like)
            like = {number: source for number, source in like.items() if number in bare}
            if like:
                copy_vectors(
                    catalog.connection, np.array(list(like), np.int64), rows[[places[each] for each in like.values()]]
                )
                if packed is not None:
                    _copy_terms(catalog.connection, {number: packed[source] for number, source in like.items()})
                self._vectors_shown |= catalog.mark_embedded(like)
        for number, value in texts.items():
            del self._claimed[number]
            self._done.add(text_digest(value))

    # Commits

    def commit(self) -> int:
        """Make everything so far durable and visible in one step."""
        with self.catalog() as catalog:
            generation, new = catalog.publish(self._vectors_shown)
            if new:
                words.remove(catalog.connection, documents.c.died == generation)
                words.add(catalog.connection, generation, self._ready, self._textsearch)
        self._transaction.flush()
        self._vectors_shown = False
        self._ready.clear()
        if self._done:
            self._claims.give_back(self._done)
            self._done.clear()
        return generation

    def rollback(self) -> None:
        """Undo everything since the last commit and give claimed work back."""
        self._transaction.rollback()
        self._claims.give_back()
        self._claimed.clear()
        self._done.clear()
        self._ready.clear()
        self._vectors_shown = False

    def finish(self, progress: Progress = silent) -> None:  # noqa: ARG002 - pgvector tells nothing of its index
        """Commit; drop dead passages where they are many, and make the index of vectors where it has become due."""
        self.commit()
        with self.catalog() as catalog:
            counts = catalog.counts(catalog.state()[0])
        if counts.tombstones > TOMBSTONES * (counts.tombstones + counts.passages):
            self.compact()
        self.index(counts.embedded)
        if self._staged * 10 > counts.passages:
            self._analyse()

    def index(self, rows: int, force: bool = False) -> None:
        """Make the index of vectors where it is due and not there; ``force`` makes it anew."""
        if rows < nearest.INDEX_FROM and not force:
            return
        with self.catalog() as catalog:
            if nearest.has_index(catalog.connection) and not force:
                return
            if nearest.are_spread(catalog.connection):
                shards.index(self._server, shards.found(catalog.connection, self._number), self.manifest, force)
                nearest.note_indexed(catalog.connection)
            else:
                self._build(catalog.connection, rows, force)
        self._transaction.flush()

    def _build(self, connection: Connection, rows: int, force: bool) -> None:
        connection.execute(text("LOCK TABLE vectors IN SHARE ROW EXCLUSIVE MODE"))
        if force or not nearest.has_index(connection):  # another may have made it while this one waited
            nearest.build_index(connection, self.manifest, rows)

    def _analyse(self) -> None:
        """Let the server learn how many rows there are, so that it plans well."""
        with self.catalog() as catalog:
            catalog.connection.execute(text("ANALYZE documents, passages, vectors, words"))
        self._transaction.flush()
        self._staged = 0

    def compact(self) -> None:
        """Drop what no commit shows any more."""
        self.commit()
        with self.catalog() as catalog:
            generation = catalog.connection.execute(text("SELECT generation FROM state FOR UPDATE")).scalar_one()
            dead = select(passages.c.id).select_from(JOINED)
            dead = dead.where((documents.c.died <= generation) | (documents.c.born == documents.c.died))
            catalog.connection.execute(delete(vectors).where(vectors.c.id.in_(dead)))
            catalog.forget_dead()
            catalog.connection.execute(text("DELETE FROM frequencies WHERE passages <= 0"))
        self._transaction.flush()

    def close(self) -> None:
        """End writing; what was not committed is lost."""
        if not self._closed:
            self._closed = True
            with suppress(StoreError):  # the server is gone, and with it all that is given back here
                self._transaction.close()
            with suppress(StoreError):
                self._claims.give_back()
            self._lock.close()


def _copy_terms(connection: Connection, packed: Mapping[int, bytes]) -> None:
    rows = []
    for number, blob in packed.items():
        terms = unpack(blob)
        rows.append((number, blob, list(terms), list(terms.values())))
    copy(connection, "sparse", ("id", "terms", "numbers", "weights"), rows)
