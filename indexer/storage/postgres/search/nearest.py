"""The search by vectors: exact while passages are few, else by pgvector's HNSW; scores are always exact.

The index is made by ``finish`` once there are ``INDEX_FROM`` passages, after their vectors have been loaded: a graph
that is built at once is made several times as fast as one that grows row by row. Up to 4,000 dimensions it holds
halfvecs; above, bits, of whose neighbours the nearest by the stored vectors are taken. Candidates are scored again
here, as every store does it, so that a score does not depend on how its passage was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Float, Text, cast, func, literal, select, text, true

from indexer.errors import StoreError
from indexer.storage.postgres.dialect import POSTGRES
from indexer.storage.postgres.search.copying import vectors_of
from indexer.storage.postgres.tables import VectorType, stored_type, vectors
from indexer.storage.sql.dialect import conditions, restricts
from indexer.storage.sql.reading import JOINED, shown
from indexer.storage.sql.schema import passages
from indexer.storage.vectors import DTYPES, best, none, rescore, settled, stack, widened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection

    from indexer.storage.manifest import Manifest
    from indexer.types import Filter, Neighbours

INDEX_FROM = 20_000
"""Passages with vectors from which on there is an index; fewer are compared one by one."""
FEW = 20_000
"""Passages that a filter may let through for them to be compared one by one, whatever the index."""
HALF_DIM = 4_000
"""Dimensions up to which pgvector indexes halfvecs."""
M, EF_CONSTRUCTION = 16, 128
EF_SEARCH = 200
"""Candidates that a search keeps in the graph, at least."""
MOST_EF = 1_000
"""The most that pgvector allows."""
SCANNED = 200_000
"""Vectors that a search looks at before it gives up to find more that the filter lets through."""
BIT_FACTOR = 20
"""Neighbours by bits that are compared by their vectors, for each result."""
BUILD_MEMORY = 1 << 30
"""Bytes that building an index may take; more where the server's maintenance_work_mem says so."""
INDEX = "vectors_hnsw"
INDEXED = "indexed on its shards"
UNINDEXED = f"compared one by one (an index is made from {INDEX_FROM:,} passages on)"


def create_table(connection: Connection, manifest: Manifest) -> None:
    """Make the table of vectors.

    Raises:
        StoreError: pgvector has no vectors of so many dimensions.
    """
    column = stored_type(manifest.vector_dtype, manifest.dim).get_col_spec()
    connection.execute(text(f"CREATE TABLE vectors (id bigint PRIMARY KEY, vector {column} NOT NULL)"))
    if _fits(manifest):
        connection.execute(text("ALTER TABLE vectors ALTER COLUMN vector SET STORAGE PLAIN"))


def _fits(manifest: Manifest) -> bool:
    """Tell whether a vector fits into a page beside its row, so that it need not be stored apart."""
    return manifest.dim * (2 if manifest.vector_dtype == "fp16" else 4) < 7_900


def searching(effort: int) -> dict[str, str]:
    """Return the parameters of a search by the index, which go on where a filter leaves too few."""
    return {
        "hnsw.iterative_scan": "strict_order",
        "hnsw.ef_search": str(effort),
        "hnsw.max_scan_tuples": str(SCANNED),
    }


def has_index(connection: Connection) -> bool:
    """Tell whether the collection that the connection sees has an index of vectors, here or on its shards."""
    query = f"SELECT to_regclass('{INDEX}') IS NOT NULL OR obj_description('vectors'::regclass, 'pg_class') = :said"
    return bool(connection.execute(text(query), {"said": INDEXED}).scalar_one())


def note_indexed(connection: Connection) -> None:
    """Remember that the shards have an index of the vectors."""
    connection.execute(text(f"COMMENT ON TABLE vectors IS '{INDEXED}'"))


def are_spread(connection: Connection) -> bool:
    """Tell whether the vectors lie on other servers, see ``shards``."""
    query = "SELECT relkind = 'p' FROM pg_class WHERE oid = 'vectors'::regclass"
    return bool(connection.execute(text(query)).scalar_one())


def invalid_indexes(connection: Connection) -> int:
    """Return how many indexes of the collection that the connection sees cannot be used."""
    query = (
        "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE c.relnamespace = current_schema()::regnamespace AND NOT i.indisvalid"
    )
    return int(connection.execute(text(query)).scalar_one())


def build_index(connection: Connection, manifest: Manifest, rows: int) -> None:
    """Make the index anew. Others can read meanwhile, and not write.

    Args:
        connection: In a transaction.
        manifest: Of the collection.
        rows: Vectors that there are.
    """
    connection.execute(text(f"DROP INDEX IF EXISTS {INDEX}"))
    need = min(BUILD_MEMORY, graph_bytes(manifest, rows)) // 1024
    connection.execute(
        text(
            "SELECT set_config('maintenance_work_mem', greatest(:need, (SELECT setting::bigint FROM pg_settings WHERE "
            "name = 'maintenance_work_mem'))::text || 'kB', true)"
        ),
        {"need": need},
    )
    connection.execute(
        text(
            f"CREATE INDEX {INDEX} ON vectors USING hnsw ({_indexed(manifest)}) "
            f"WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
        )
    )


def graph_bytes(manifest: Manifest, rows: int) -> int:
    """Return about how much memory building an index takes; a build that has less is many times slower."""
    size = 2 * manifest.dim if manifest.dim <= HALF_DIM else manifest.dim // 8
    return int(1.2 * rows * (size + 24 * M + 150)) + (1 << 26)


def described(manifest: Manifest) -> str:
    """Return what the index is, for people."""
    return f"HNSW of {'halfvec' if manifest.dim <= HALF_DIM else 'bit'} (m {M}, ef_construction {EF_CONSTRUCTION})"


def _indexed(manifest: Manifest) -> str:
    """Return what the index holds, as its definition says it."""
    if manifest.dim > HALF_DIM:
        return f"(CAST(binary_quantize(vector) AS bit({manifest.dim}))) bit_hamming_ops"
    if manifest.vector_dtype == "fp16":
        return "vector halfvec_ip_ops"
    return f"(CAST(vector AS halfvec({manifest.dim}))) halfvec_ip_ops"


class VectorSearch:
    """Searches by vectors in one transaction."""

    def __init__(self, connection: Connection, manifest: Manifest, generation: int) -> None:
        self._connection = connection
        self._manifest = manifest
        self._generation = generation
        self._dtype = DTYPES[manifest.vector_dtype]
        self._has_index = has_index(connection)
        sent: Any = func.halfvec_send if manifest.vector_dtype == "fp16" else func.vector_send
        self._sent = sent(vectors.c.vector)

    def raw(self, ids: np.ndarray) -> np.ndarray:
        """Return (n, d) as stored, in the order of the ids.

        Raises:
            StoreError: One has no vector.
        """
        query = select(vectors.c.id, self._sent).where(POSTGRES.among(vectors.c.id, np.unique(ids)))
        query = query.order_by(vectors.c.id)
        rows = self._connection.execute(query).all()
        known = np.array([row[0] for row in rows], np.int64)
        missing = ids[~np.isin(ids, known)]
        if len(missing):
            raise StoreError(f"passage {int(missing[0])} has no vector; run `semsearch doctor`")
        found = vectors_of([row[1] for row in rows], self._manifest.dim, self._dtype)
        return found[np.searchsorted(known, ids)]

    def search(self, queries: np.ndarray, k: int, only: Filter | None) -> Neighbours:
        """Return the k best passages of each query (q, d) that pass the filter."""
        approximate = self._has_index and k > 0 and not (restricts(only) and self._few(only))
        if approximate:
            found = [self._approximate(query, k, only) for query in queries]
        else:
            found = [self._exact(query, k, only) for query in queries]
        return stack([none(0, k), *found])

    def recall(self, queries: np.ndarray, k: int = 10) -> float | None:
        """Return which share of the k nearest of queries (q, d) the index finds; None where there is none.

        A neighbour as near as the last counts as well as that one.
        """
        if not self._has_index or not len(queries):
            return None
        found = []
        for query in queries:
            exact, ours = self._exact(query, k, None).scores[0], self._approximate(query, k, None).scores[0]
            real = np.isfinite(exact)
            found.append(float((ours[real] >= exact[real][-1]).mean()))
        return sum(found) / len(found)

    def _few(self, only: Filter | None) -> bool:
        some = select(passages.c.id).select_from(JOINED).where(self._live(only)).limit(FEW + 1).subquery()
        return int(self._connection.execute(select(func.count()).select_from(some)).scalar_one()) <= FEW

    def _live(self, only: Filter | None) -> ColumnElement[bool]:
        """Return the condition that a passage is shown, has a vector and passes the filter."""
        vector = passages.c.embedded.between(1, self._generation)
        return vector & shown(self._generation) & conditions(POSTGRES, only)

    def _exact(self, query: np.ndarray, k: int, only: Filter | None) -> Neighbours:
        """Compare every vector; more candidates are taken where a tie goes on past the last."""
        wanted = k + 16
        while True:
            ids, rough, precise = self._candidates(query, wanted, self._distance(query), only, true())
            if len(ids) < wanted or settled(rough, precise, k):
                return best(ids[None], precise[None], k)
            wanted *= 4

    def _approximate(self, query: np.ndarray, k: int, only: Filter | None) -> Neighbours:
        bits = self._manifest.dim > HALF_DIM
        wanted = max(k + 16, (BIT_FACTOR if bits else 2) * k)
        effort = min(MOST_EF, max(EF_SEARCH, wanted))
        for name, value in searching(effort).items():
            self._set(name, value)
        near = (
            select(vectors.c.id)
            .select_from(vectors.join(JOINED, passages.c.id == vectors.c.id))
            .where(self._live(only))
            .order_by(self._rough(query))
            .limit(wanted)
        )
        mine = POSTGRES.among(vectors.c.id, self._connection.execute(near).scalars())
        ids, _, precise = self._candidates(query, k + 16, self._distance(query), None, mine)
        return best(ids[None], precise[None], k)

    def _set(self, name: str, value: str) -> None:
        """Set a parameter for the rest of the transaction, as SET LOCAL does."""
        self._connection.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})

    def _candidates(
        self,
        query: np.ndarray,
        wanted: int,
        distance: ColumnElement[float],
        only: Filter | None,
        among: ColumnElement[bool],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (ids, scores by the database, exact scores) of the nearest, best first."""
        rows = self._connection.execute(
            select(vectors.c.id, distance.label("distance"), self._sent)
            .select_from(vectors.join(JOINED, passages.c.id == vectors.c.id))
            .where(self._live(only), among)
            .order_by("distance", vectors.c.id)
            .limit(wanted)
        ).all()
        ids = np.array([row[0] for row in rows], np.int64)
        rough = np.array([-row[1] for row in rows], np.float32)
        found = widened(vectors_of([row[2] for row in rows], self._manifest.dim, self._dtype))
        return ids, rough, rescore(query, found)

    def _distance(self, query: np.ndarray) -> ColumnElement[float]:
        """Return minus the inner product of the stored vectors with a query, in float32."""
        whole: ColumnElement[Any] = cast(vectors.c.vector, VectorType("vector"))
        return whole.op("<#>", return_type=Float())(cast(_written(query), VectorType("vector")))

    def _rough(self, query: np.ndarray) -> ColumnElement[Any]:
        """Return the order in which the index gives passages."""
        dim = self._manifest.dim
        if dim > HALF_DIM:
            kind = VectorType("bit", dim)
            bits: ColumnElement[Any] = cast(func.binary_quantize(vectors.c.vector), kind)
            return bits.op("<~>", return_type=Float())(
                cast(func.binary_quantize(cast(_written(query), VectorType("vector"))), kind)
            )
        held: ColumnElement[Any] = vectors.c.vector
        if self._manifest.vector_dtype == "fp32":
            held = cast(held, VectorType("halfvec", dim))
        return held.op("<#>", return_type=Float())(cast(_written(query), VectorType("halfvec", dim)))


def _written(query: np.ndarray) -> Any:
    """Return a vector as PostgreSQL reads it."""
    return literal("[" + ",".join(map(repr, query.tolist())) + "]", Text)


def ranked(connection: Connection, generation: int, ranks: Sequence[int]) -> np.ndarray:
    """Return the ids at these places among the shown passages that have a vector, ascending, counted from 0."""
    rank = (func.row_number().over(order_by=passages.c.id) - 1).label("rank")
    live = passages.c.embedded.between(1, generation) & shown(generation)
    numbered = select(passages.c.id, rank).select_from(JOINED).where(live).subquery()
    query = select(numbered.c.id).where(POSTGRES.among(numbered.c.rank, ranks)).order_by(numbered.c.id)
    return np.fromiter(connection.execute(query).scalars(), np.int64)
