"""A server over small collections with the hash encoder: the application alone, or behind a real socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from semsearch.collection import Collection
from semsearch.encoders import EncoderOverrides
from semsearch.service.server import bind, serve
from semsearch.service.service import Limits, Service
from semsearch.settings import Settings

FILES = {
    "boats.md": "# Boats\n\nA sailing boat crosses the bay. It is late.\n",
    "bread.md": "# Bread\n\nKnead the dough. Let it rise.\n",
    "stars.txt": "The telescope shows a distant galaxy.\n",
}


def write(folder: Path, files: dict[str, str] = FILES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def make(home: Path, name: str, folder: Path, model: str = "hash:64") -> None:
    with Collection(name, create=True, home=home, encoder=EncoderOverrides(model=model)) as docs:
        docs.index(folder)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the collections ``default`` and ``other``."""
    home = tmp_path / "home"
    make(home, "default", write(tmp_path / "docs"))
    make(home, "other", write(tmp_path / "more", {"chess.txt": "The knight forks king and rook.\n"}))
    return home


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass
class Served:
    """A server that runs, and a plain client of it."""

    service: Service
    port: int
    token: str | None = None

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 30
    ) -> Reply:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"content-type": "application/json"} | (
            {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        )
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, data, sent | (headers or {}))
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.ask("POST", path, body, headers)

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


Start = Callable[..., Served]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start servers on ports of their own; they are stopped at the end."""
    running: list[tuple[Any, threading.Thread, Service]] = []

    def begin(
        allowed: tuple[str, ...] = (), token: str | None = None, limits: Limits | None = None, **service: Any
    ) -> Served:
        made = Service(Settings(home=home), allowed, token=token, limits=limits, **service)
        listening, up = bind("127.0.0.1", 0, token), threading.Event()
        port = listening.getsockname()[1]
        servers: list[Any] = []

        def started(server: Any) -> None:
            servers.append(server)
            up.set()

        thread = threading.Thread(target=serve, args=(made, listening, started), daemon=True)
        thread.start()
        assert up.wait(20)
        running.append((servers[0], thread, made))
        served = Served(made, port, token)
        until = time.monotonic() + 20
        while not made.ready and time.monotonic() < until:
            time.sleep(0.01)
        return served

    yield begin
    for server, *_ in running:
        server.should_exit = True
    for _, thread, service in running:
        thread.join(20)
        assert not thread.is_alive()
        service.close()


@pytest.fixture
def served(start: Start) -> Served:
    """A server over both collections."""
    return start()
