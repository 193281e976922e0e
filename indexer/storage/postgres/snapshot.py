"""A snapshot of a collection in PostgreSQL: one REPEATABLE READ transaction that only reads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import BigInteger, Float, column, select, text

from indexer.errors import StoreError
from indexer.storage.postgres.dialect import POSTGRES
from indexer.storage.postgres.search.lanes import Lanes
from indexer.storage.postgres.search.nearest import VectorSearch, ranked
from indexer.storage.postgres.search.words import TEXTSEARCH_INDEX, WordSearch, has_textsearch
from indexer.storage.sql.dialect import conditions
from indexer.storage.sql.reading import JOINED, CatalogReader, shown
from indexer.storage.sql.schema import passages, sparse
from indexer.storage.sql.snapshot import CatalogSnapshot
from indexer.storage.vectors import best, check_queries, none, stack, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Executable

    from indexer.storage.manifest import Manifest
    from indexer.storage.postgres.server.connecting import Versions
    from indexer.storage.store import Terms
    from indexer.types import Filter, Neighbours


class _Lane:
    """One connection of a snapshot, with the searches over it."""

    def __init__(self, connection: Connection, manifest: Manifest, textsearch: str | None) -> None:
        self.catalog = CatalogReader(connection, POSTGRES)
        generation = self.catalog.state()[0]
        self.words = WordSearch(connection, generation, textsearch)
        self.vectors = VectorSearch(connection, manifest, generation)


class PostgresSnapshot(CatalogSnapshot):
    """What one commit of a PostgresStore shows; see ``Snapshot``. Made by ``PostgresStore.snapshot``."""

    def __init__(
        self,
        connection: Connection,
        another: Callable[[str], Connection],
        manifest: Manifest,
        name: str,
        schema: str,
        versions: Versions,
        where: str,
    ):
        """Take over the connection, which is in its transaction and sees the collection's tables.

        Args:
            connection: The transaction.
            another: Returns one more that sees the snapshot of a name.
            manifest: Of the collection.
            name: Of the collection.
            schema: Of the collection.
            versions: Of the server.
            where: The server, for messages.
        """
        self._manifest = manifest
        # A standby does not have what pg_textsearch keeps in the memory of its primary.
        textsearch = versions.textsearch is not None and not versions.standby and has_textsearch(connection)
        index = f"{schema}.{TEXTSEARCH_INDEX}" if textsearch else None
        self._lanes = Lanes(connection, another, lambda each: _Lane(each, manifest, index), where)
        with self._lanes.take() as lane:
            super().__init__(name, lane.catalog.state()[0])
            self._passages = lane.words.passages

    @property
    def manifest(self) -> Manifest:
        """The manifest of the collection that the snapshot is of."""
        return self._manifest

    @contextmanager
    def _taken(self) -> Iterator[_Lane]:
        if self._lanes.closed:
            raise StoreError(f"this snapshot of {self._name} is closed; take another one")
        with self._lanes.take() as lane:
            yield lane

    @contextmanager
    def _reading(self) -> Iterator[CatalogReader]:
        with self._taken() as lane:
            yield lane.catalog

    def dense(self, queries: np.ndarray, k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the nearest passages."""
        queries = check_queries(self.manifest.dim, queries, k)
        with self._taken() as lane:
            return lane.vectors.search(queries, min(k, self._passages), filter)

    def lexical(self, queries: Sequence[str], k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the best passages by BM25, with ``full``."""
        check_queries(1, np.zeros((1, 1)), k)
        k = min(k, self._passages)
        found, full = [none(0, k)], []
        for query in queries:
            with self._taken() as lane:
                ids, scores, most = lane.words.search(query, k, filter)
            found.append(best(np.array([ids], np.int64), np.array([scores], np.float32), k))
            full.append(most)
        return stack(found, np.array(full, np.float32))

    def sparse(self, queries: Sequence[Terms], k: int, filter: Filter | None = None) -> Neighbours:  # noqa: A002
        """Return the best passages by weighted terms."""
        check_queries(1, np.zeros((1, 1)), k)
        self._need_sparse()
        k = min(k, self._passages)
        found = [none(0, k)]
        for query in queries:
            with self._reading() as catalog:
                rows = catalog.connection.execute(*_products(query, k, self.generation, filter)).all()
            ids, products = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float32)
            found.append(best(ids[None], products[None], k))
        return stack(found)

    def vectors(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n, d) float32 in the order of the ids."""
        with self._taken() as lane:
            return widened(lane.vectors.raw(np.asarray(ids, np.int64)))

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Return (m, d) float32 vectors of different passages."""
        return self.vectors(self.some(n, seed))

    def some(self, n: int, seed: int = 0) -> np.ndarray:
        """Return (m,) int64, ascending: m = min(n, embedded passages) different ones that have a vector."""
        embedded = self.counts().embedded
        drawn = np.random.default_rng(seed).choice(embedded, min(n, embedded), replace=False)
        with self._reading() as catalog:
            return ranked(catalog.connection, self.generation, drawn.tolist())

    # For checks

    def reading(self) -> AbstractContextManager[CatalogReader]:
        """Give the catalog as the pinned transaction sees it."""
        return self._reading()

    def recall(self, n: int) -> float | None:
        """Return which share of the ten nearest of n sampled passages the index finds; None where there is none."""
        queries = self.sample(n, 1)
        with self._taken() as lane:
            return lane.vectors.recall(queries)

    def close(self) -> None:
        """End the transaction."""
        self._lanes.close()

    def __del__(self) -> None:
        if hasattr(self, "_lanes"):
            self.close()


def _products(query: Terms, k: int, generation: int, only: Filter | None) -> tuple[Executable, dict[str, object]]:
    """Return the statement, and its values, that gives (id, inner product) of the k best by weighted terms."""
    terms = [term for term in query if 0 <= term < 1 << 32]
    held = (
        select(sparse.c.id, column("numbers"), column("weights"))
        .select_from(sparse.join(JOINED, passages.c.id == sparse.c.id))
        .where(text("sparse.numbers && CAST(:terms AS bigint[])"), shown(generation), conditions(POSTGRES, only))
        .cte("held")
    )
    statement = text(
        "SELECT h.id, sum(CAST(t.weight AS bigint) * q.weight) AS product FROM held AS h "
        "CROSS JOIN LATERAL unnest(h.numbers, h.weights) AS t (term, weight) "
        "JOIN unnest(CAST(:terms AS bigint[]), CAST(:weights AS bigint[])) AS q (term, weight) ON q.term = t.term "
        "GROUP BY h.id ORDER BY product DESC, h.id LIMIT :k"
    ).columns(id=BigInteger, product=Float)
    return statement.add_cte(held), {"terms": terms, "weights": [query[term] for term in terms], "k": k}
