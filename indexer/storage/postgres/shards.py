"""The vectors of one collection on several servers: the catalog and the words stay on one, which asks the others.

``vectors`` is then a table whose partitions (by hash of the id) lie in other databases, over postgres_fdw. Searches are
the same SQL: each server gives its nearest by its own index, and the first merges them. Rows of vectors are sent to the
others before the transaction ends here, so that a crash between the two can leave vectors that no passage refers to,
which the doctor removes, and never a passage without its vector.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from indexer.errors import StoreError
from indexer.storage.postgres.search import nearest
from indexer.storage.postgres.server.address import driver
from indexer.storage.postgres.server.connecting import Server
from indexer.storage.postgres.server.failures import translated
from indexer.storage.postgres.tables import stored_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from indexer.storage.manifest import Manifest

BATCH = 500
"""Rows that are sent to another server at a time."""


@dataclass(frozen=True)
class Shard:
    """Where a part of the vectors lies."""

    server: str
    """Name of the foreign server here."""
    host: str
    port: str
    schema: str
    """In the other database."""


@contextmanager
def spreading(server: Server) -> Iterator[list[Shard]]:
    """Give a list for the parts of a collection that is made in the block; they are dropped where it is not."""
    made: list[Shard] = []
    try:
        yield made
    except BaseException:
        for shard in made:
            with suppress(StoreError):
                _drop(server, shard)
        raise


def spread(server: Server, connection: Connection, number: int, manifest: Manifest, made: list[Shard]) -> None:
    """Make the table of vectors of a new collection, with its parts on the hosts that the address names.

    Args:
        server: The one that keeps the catalog.
        connection: In the transaction that makes the collection.
        number: Of the collection.
        manifest: Of the collection.
        made: Is told of each part before it is made.

    Raises:
        StoreError: A host cannot be reached or used, or postgres_fdw is missing.
    """
    address = server.address
    schema = f"semsearch_{number}_{secrets.token_hex(6)}"  # several catalogs may keep vectors on one host
    parameters = address.parameters(False)
    column = stored_type(manifest.vector_dtype, manifest.dim).get_col_spec()
    _run(connection, "CREATE EXTENSION IF NOT EXISTS postgres_fdw")
    _run(connection, f"CREATE TABLE vectors (id bigint NOT NULL, vector {column} NOT NULL) PARTITION BY HASH (id)")
    searching = " ".join(f"-c {name}={value}" for name, value in nearest.searching(nearest.EF_SEARCH).items())
    for part, host in enumerate(address.shards):
        name, _, port = host.partition(":") if not host.startswith("/") else (host, "", "")
        shard = Shard(f"semsearch_{number}_{part}", name, port or str(parameters.get("port") or "5432"), schema)
        made.append(shard)
        with _other(server, shard) as other:
            other.prepare()
            with other.transaction() as there:
                there.execute(text(f"CREATE SCHEMA {schema}"))
                there.execute(text(f"SET LOCAL search_path = {schema}, {other.versions().path}"))
                nearest.create_table(there, manifest)
        options = {
            "host": shard.host,
            "port": shard.port,
            "dbname": str(parameters.get("dbname") or ""),
            "extensions": "vector",
            "use_remote_estimate": "true",
            "batch_size": str(BATCH),
            "options": searching,
        }
        _run(connection, f"CREATE SERVER {shard.server} FOREIGN DATA WRAPPER postgres_fdw", options)
        who = {"user": parameters.get("user"), "password": parameters.get("password")}
        _run(connection, f"CREATE USER MAPPING FOR CURRENT_USER SERVER {shard.server}", who)
        _run(
            connection,
            f"CREATE FOREIGN TABLE vectors_{part} PARTITION OF vectors FOR VALUES WITH "
            f"(MODULUS {len(address.shards)}, REMAINDER {part}) SERVER {shard.server}",
            {"schema_name": schema, "table_name": "vectors"},
        )


def _run(connection: Connection, statement: str, options: dict[str, Any] | None = None) -> None:
    """Run a definition with OPTIONS, whose values no parameter can hold."""
    sql = driver().sql
    if options:
        pairs = [sql.SQL("{} {}").format(sql.Identifier(k), sql.Literal(v)) for k, v in options.items() if v]
        statement = sql.SQL("{} OPTIONS ({})").format(sql.SQL(statement), sql.SQL(", ").join(pairs))
    raw: Any = connection.connection.driver_connection
    raw.execute(statement)


def found(connection: Connection, number: int) -> list[Shard]:
    """Return where the vectors of a collection lie; nothing where they lie here."""
    query = """
        SELECT s.srvname, max(o.option_value) FILTER (WHERE o.option_name = 'host'),
          max(o.option_value) FILTER (WHERE o.option_name = 'port'), max(t.option_value)
        FROM pg_foreign_server AS s JOIN pg_foreign_table AS f ON f.ftserver = s.oid
        CROSS JOIN LATERAL pg_options_to_table(s.srvoptions) AS o
        CROSS JOIN LATERAL pg_options_to_table(f.ftoptions) AS t
        WHERE s.srvname LIKE :name AND t.option_name = 'schema_name' GROUP BY 1 ORDER BY 1
    """
    return [Shard(*row) for row in connection.execute(text(query), {"name": f"semsearch\\_{number}\\_%"})]


@contextmanager
def _other(server: Server, shard: Shard) -> Iterator[Server]:
    """Give the server of a part, reached with the user and options of the catalog's."""
    other = Server(server.address.at(shard.host, shard.port))
    try:
        with translated(other.where):
            yield other
    finally:
        other.close()


def index(server: Server, shards: Sequence[Shard], manifest: Manifest, force: bool) -> None:
    """Make the index of every part that has none; ``force`` makes them anew."""
    for shard in shards:
        with _other(server, shard) as other, other.transaction() as there:
            there.execute(text(f"SET LOCAL search_path = {shard.schema}, {other.versions().path}"))
            if force or not nearest.has_index(there):
                rows = there.execute(text("SELECT count(*) FROM vectors")).scalar_one()
                nearest.build_index(there, manifest, rows)
                there.execute(text("ANALYZE vectors"))


def _drop(server: Server, shard: Shard) -> None:
    with _other(server, shard) as other, other.transaction() as there:
        there.execute(text(f"DROP SCHEMA IF EXISTS {shard.schema} CASCADE"))


def drop(server: Server, number: int) -> None:
    """Drop the parts of a collection that is deleted, and what leads to them."""
    with server.transaction() as connection:
        parts = found(connection, number)
    for shard in parts:
        _drop(server, shard)
    with server.transaction() as connection:
        for shard in parts:
            connection.execute(text(f"DROP SERVER IF EXISTS {shard.server} CASCADE"))
