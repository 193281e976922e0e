"""What a person reads where the server cannot be used: what was seen, what to do, and never a password."""

import os
from pathlib import Path

import pytest

from indexer.errors import CollectionNotFound, ConfigError, FormatError, LockedError, StoreError
from indexer.storage import create_store, exists, list_stores, open_store
from indexer.storage.places import place_in, without_password
from indexer.storage.postgres.server import registry
from indexer.storage.postgres.server.address import Address
from indexer.storage.postgres.store import PostgresStore
from tests.postgres_servers import sql
from tests.storage.contract.values import add, manifest, now, parsed

OTHER = "UPDATE pg_extension SET extversion = '{}' WHERE extname = 'vector'"


@pytest.fixture
def database(url):
    """The URL of a database of its own, dropped at the end."""
    name = f"own_{os.getpid()}"
    sql(url, f"CREATE DATABASE {name}")
    yield url.replace("/postgres?", f"/{name}?")
    sql(url, f"DROP DATABASE {name} WITH (FORCE)")


def refusal(url: str) -> str:
    """Return what is said when a collection is made there; none is left behind."""
    with pytest.raises(StoreError) as caught:
        PostgresStore.create(url, "new", manifest())
    return str(caught.value)


class TestTheServer:
    def test_nobody_listens(self, tmp_path):
        said = refusal("postgresql://ada:hush@127.0.0.1:9/data")
        assert "cannot reach PostgreSQL at postgresql://ada@127.0.0.1:9/data" in said
        assert "check that it runs" in said
        assert "hush" not in said
        assert "cannot reach" in refusal(f"postgresql:///data?host={tmp_path}")

    def test_wrong_password(self, url):
        folder = Path(sql(url, "SHOW data_directory")[0][0])
        rules = folder / "pg_hba.conf"
        before = rules.read_text()
        try:
            rules.write_text("local all stranger scram-sha-256\n" + before)
            sql(url, "CREATE ROLE stranger LOGIN PASSWORD 'right'", "SELECT pg_reload_conf()")
            wrong = url.replace("postgres:@", f"stranger:{'hush'}@")
            said = refusal(wrong)
            assert "password authentication failed" in said
            assert "~/.pgpass" in said
            assert "hush" not in said
            assert "no password" in refusal(url.replace("postgres:@", "stranger@"))
        finally:
            rules.write_text(before)
            sql(url, "SELECT pg_reload_conf()", "DROP ROLE IF EXISTS stranger")

    def test_no_such_database(self, url):
        assert "createdb" in refusal(url.replace("/postgres?", "/nowhere?"))

    def test_no_right_to_make_anything(self, database):
        try:
            sql(database, "CREATE EXTENSION vector", "CREATE ROLE guest LOGIN")
            said = refusal(database.replace("postgres:@", "guest@"))
            assert "permission denied" in said
            assert "grant" in said
        finally:
            sql(database, "DROP OWNED BY guest", "DROP ROLE guest")

    def test_without_pgvector(self, database):
        name = database.split("?")[0].split("/")[-1]
        sql(database, f"ALTER DATABASE {name} SET extension_control_path = '/nowhere'")
        said = refusal(database)
        assert "lacks the extension pgvector" in said
        assert "postgresql-18-pgvector" in said
        assert list_stores(database) == []

    def test_a_pgvector_that_is_too_old(self, database):
        sql(database, "CREATE EXTENSION vector", OTHER.format("0.7.4"))
        assert "pgvector 0.7.4; it must be 0.8.0 or newer" in refusal(database)
        assert list_stores(database) == []

    def test_an_old_pgvector_is_warned_of(self, database):
        sql(database, "CREATE EXTENSION vector", OTHER.format("0.8.2"))
        store = PostgresStore.create(database, "new", manifest())
        assert "0.8.2 is older than 0.8.3" in store.engines()["warning"]
        store.close()
        sql(database, OTHER.format("0.8.3"))
        again = PostgresStore(database, "new")
        assert "warning" not in again.engines()
        again.close()

    def test_a_server_that_goes_away_and_comes_back(self, store):
        add(store, "/data/a", ["one"])
        assert now(store) == ["one"]
        sql(
            store.server.address.url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
            "current_database()",
        )
        assert now(store) == ["one"]

    def test_a_writer_whose_connection_is_cut(self, store):
        writer = store.writer()
        writer.stage(parsed("/data/a", ["one"]))
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        sql(store.server.address.url, cut)
        with pytest.raises(StoreError, match="run it again"):
            writer.commit()
        writer.close()
        assert now(store) == []


class TestTheCollection:
    @pytest.mark.parametrize(
        ("plan", "recall", "seen"),
        [("HNSW32,SQ8", None, "--index-plan HNSW32,SQ8"), ("auto", 0.9, "--index-recall")],
    )
    def test_an_index_that_is_asked_for(self, store, plan, recall, seen):
        with pytest.raises(StoreError) as caught:
            store.ask_for_index(plan, recall)
        said = str(caught.value)
        assert seen in said
        assert "HNSW of halfvec (m 16, ef_construction 128) from 20,000 passages on" in said
        assert "--index-plan auto" in said
        store.ask_for_index("auto", None)
        store.ask_for_index(None, None)

    def test_there_is_none(self, url):
        with pytest.raises(CollectionNotFound, match="'nothing'"):
            open_store(place_in(url, "nothing"))
        assert not exists(place_in(url, "nothing"))

    def test_there_is_one_already(self, store, url):
        with pytest.raises(StoreError, match="already"):
            create_store(place_in(url, store.name), manifest())
        with pytest.raises(StoreError, match="already"):
            store.rename(store.name)

    def test_a_newer_version_wrote_it(self, store, url):
        schema = schema_of(store)
        sql(url, f"UPDATE {schema}.alembic_version SET version_num = '9999'")
        with pytest.raises(FormatError, match=r"9999.*install a newer semsearch"):
            open_store(place_in(url, store.name))

    def test_too_many_dimensions(self, url):
        before = list_stores(url)
        with pytest.raises(StoreError, match="16001 dimensions; pgvector stores at most 16000"):
            PostgresStore.create(url, "wide", manifest().__class__(spec=manifest().spec, dim=16_001))
        assert list_stores(url) == before
        assert sql(url, "SELECT count(*) FROM semsearch.collections WHERE name IS NULL") == [(0,)]

    def test_a_table_is_lost(self, store, url):
        sql(url, f"DROP TABLE {schema_of(store)}.documents CASCADE")
        with pytest.raises(StoreError, match="lost a table"):
            now(store)

    def test_replacing_and_writing_at_a_time(self, store, again):
        new = store.beside(manifest())
        with again.writer(), pytest.raises(LockedError, match="another process writes"):
            store.replace(new, store.version())
        with store.writer(alone=True), pytest.raises(LockedError, match="replaces or mends"):
            again.writer()
        new.delete()

    def test_deleted_while_it_is_read(self, store, again, monkeypatch):
        monkeypatch.setattr(registry, "LOCK_WAIT", "100ms")
        add(store, "/data/a", ["one"])
        with again.snapshot() as snapshot:
            before = list(snapshot.documents())
            store.delete()
            assert list(snapshot.documents()) == before
            with pytest.raises(CollectionNotFound):
                again.snapshot()


def schema_of(store: PostgresStore) -> str:
    query = f"SELECT 'semsearch_' || number FROM semsearch.collections WHERE name = '{store.name}'"
    return str(sql(store.server.address.url, query)[0][0])


class TestTheUrl:
    @pytest.mark.parametrize("url", ["mysql://a/b", "/data", "postgresql", ""])
    def test_no_url(self, url):
        with pytest.raises(ConfigError, match="postgresql://"):
            Address.of(url)

    def test_no_host_to_read_from(self):
        for option in ("read", "shards"):
            with pytest.raises(ConfigError, match=rf"\?{option}= is no host; give HOST or HOST:PORT"):
                Address.of(f"postgresql://a/b?{option}=user:pw@host")

    def test_what_libpq_does_not_know(self):
        with pytest.raises(ConfigError, match="nonsense") as caught:
            Address.of("postgresql://ada:hush@a/b?nonsense=1").parameters(False)
        assert "hush" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://ada:s3cret@a,b:6543/data#x", "postgresql://ada@a,b:6543/data#x"),
            ("postgresql://a/b?password=s3cret&sslmode=require", "postgresql://a/b?sslmode=require"),
            ("postgres://ada:p%40s3cret%23@a/b?sslpassword=s3cret", "postgres://ada@a/b"),
            ("/data/folder", "/data/folder"),
        ],
    )
    def test_no_password_is_shown(self, url, shown):
        assert without_password(url) == shown
        if url.startswith("postgres"):
            assert "s3cret" not in repr(Address.of(url)) + Address.of(url).shown

    def test_where_reads_and_writes_go(self):
        address = Address.of("postgresql://ada@a:1/data?read=b,c:3,/run/pg&sslmode=require")
        writing, reading = address.parameters(False), address.parameters(True)
        assert (writing["host"], writing["port"], writing["sslmode"]) == ("a", "1", "require")
        assert (reading["host"], reading["port"], reading["sslmode"]) == ("b,c,/run/pg", "1,3,1", "require")
        shard = Address.of("postgresql://ada@a:1/data?shards=b").at("b", "2").parameters(False)
        assert (shard["host"], shard["port"], shard["user"], shard["dbname"]) == ("b", "2", "ada", "data")
        several = Address.of("postgresql://ada@a,b/data")
        assert several.parameters(False)["target_session_attrs"] == "read-write"
        assert several.parameters(True)["target_session_attrs"] == "prefer-standby"
