"""Commands on collections in a database: ``--store`` and SEMSEARCH_STORE."""

import pytest

from tests.postgres_servers import PLAIN, sql, url_of


@pytest.fixture
def store(monkeypatch, tmp_path):
    """The URL of an empty database, which the environment names."""
    url, name = url_of(PLAIN), f"cli_{abs(hash(tmp_path))}"
    sql(url, f"CREATE DATABASE {name}")
    own = url.replace("/postgres?", f"/{name}?")
    monkeypatch.setenv("SEMSEARCH_STORE", own)
    yield own
    sql(url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "boats.txt").write_text("A boat on the river.")
    (folder / "trees.md").write_text("Old trees in the park.")
    return folder


def test_a_collection_s_whole_life(run, store, docs, tmp_path):
    assert run("index", str(docs), "--model", "hash:64").code == 0
    assert [hit["path"] for hit in run("query", "--json", "--mode", "lexical", "boat").json] == [
        str(docs / "boats.txt")
    ]
    assert len(run("query", "--json", "old trees").json) == 2
    (docs / "new.txt").write_text("A zeppelin over the town.")
    assert "1 new" in run("index").out
    [state] = run("status", "--json").json
    assert state["passages"]["embedded"] == 3
    assert state["engines"]["server"].startswith("PostgreSQL 18")
    assert state["engines"]["words"] == "BM25 in SQL"
    assert "compared one by one" in state["engines"]["vectors"]
    assert run("doctor").code == 0
    assert run("reindex", "--model", "hash:32").code == 0
    assert run("collection", "list").out.split() == ["default", "default-before"]
    assert run("export", str(tmp_path / "out")).code == 0
    assert run("import", str(tmp_path / "out"), "--collection", "copy").code == 0
    assert run("collection", "rename", "copy", "other").code == 0
    assert len(run("query", "--json", "--collection", "other", "zeppelin").json) == 3
    assert run("collection", "remove", "default-before", "--yes").code == 0
    assert run("remove", str(docs / "new.txt")).code == 0
    assert run("compact").code == 0
    assert run("collection", "list").out.split() == ["default", "other"]


def test_a_home_that_is_named_is_not_passed_over(run, store, docs, tmp_path):
    home = str(tmp_path / "home")
    assert run("index", str(docs), "--model", "hash:64", "--home", home).code == 0
    assert run("collection", "list").out == ""
    assert run("collection", "list", "--home", home).out.split() == ["default"]
    assert run("collection", "list", "--home", home, "--store", store).out == ""


@pytest.mark.parametrize("command", [["query", "boat"], ["status"], ["index", "."], ["collection", "list"], ["doctor"]])
def test_a_server_that_cannot_be_reached(run, command):
    seen = run(*command, "--store", "postgresql://ada:hush@127.0.0.1:9/data")
    assert seen.code == 2
    assert "cannot reach PostgreSQL at postgresql://ada@127.0.0.1:9/data" in seen.err
    assert "hush" not in seen.err + seen.out


def test_what_is_no_store(run):
    seen = run("status", "--store", "mysql://ada:hush@host/data")
    assert seen.code == 2
    assert "postgresql://USER@HOST/DATABASE" in seen.err
    assert "hush" not in seen.err


def test_a_password_is_shown_nowhere(run, store, docs):
    secret = store.replace("postgres:@", "postgres:hush@")
    for command in (
        ["index", str(docs), "--model", "hash:64"],
        ["status"],
        ["status", "--json"],
        ["reindex", "--json"],
    ):
        seen = run(*command, "--store", secret)
        assert "hush" not in seen.out + seen.err
    assert "hush" not in run("query", "--store", secret, "--collection", "none", "x").err
