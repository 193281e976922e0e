"""``semsearch serve`` as a process: what it prints, how it stops, and what it says where it cannot start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from semsearch.cli import run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
BODY = json.dumps({"query": "boat in the bay"}).encode()
HEAD = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(BODY)


@pytest.fixture
def process(home: Path) -> Iterator[subprocess.Popen[str]]:
    begun = subprocess.Popen(
        [sys.executable, "-m", "semsearch", "serve", "--port", "0", "--preload", "--home", str(home)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield begun
    begun.kill()
    begun.communicate()


def connection(process: subprocess.Popen[str]) -> socket.socket:
    line = process.stdout.readline()
    assert line.startswith("semsearch serves http://127.0.0.1:"), process.stderr.read()
    return socket.create_connection(("127.0.0.1", int(line.rpartition(":")[2])), timeout=20)


def refuses(address: tuple[str, int]) -> bool:
    """Return whether nobody listens at an address any more, within some seconds."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            socket.create_connection(address, timeout=5).close()
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_answered_before_it_stops(process: subprocess.Popen[str], number: int):
    with connection(process) as asking, socket.create_connection(asking.getpeername()) as idle:
        asking.sendall(HEAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") + BODY[:5])
        assert asking.recv(100).startswith(b"HTTP/1.1 100")  # so that it has read the head
        process.send_signal(number)
        assert refuses(asking.getpeername())
        assert process.poll() is None
        asking.sendall(BODY[5:])
        reply = b"".join(iter(lambda: asking.recv(100_000), b""))
        assert reply.startswith(b"HTTP/1.1 200")
        assert b"boats.md" in reply
        assert idle.recv(10) == b""
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


def test_an_answer_in_two_pieces_waits_for_no_acknowledgement():
    """Else each one takes 40 ms more: its head is sent, and its body once the caller has confirmed that."""
    from semsearch.service import server

    with server.bind("127.0.0.1", 0, None) as listening, socket.create_connection(listening.getsockname()[:2]):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use(home: Path, capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", "--port", str(port), "--home", str(home)]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


def test_no_token_no_other_machine(home: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["serve", "--host", "0.0.0.0", "--port", "0", "--home", str(home)]) == 2
    assert "give one with --token-file, or listen on 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["short", "", "two words, though long", "a" * 15, "tök" * 9])
def test_a_token_that_is_easy_to_guess_is_refused(home: Path, tmp_path: Path, token: str, capsys):
    (tmp_path / "token").write_text(token)
    assert run(["serve", "--token-file", str(tmp_path / "token"), "--port", "0", "--home", str(home)]) == 2
    said = capsys.readouterr().err
    assert "at least 16 letters" in said
    assert not token or token not in said


def test_without_the_extra_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    for name in [name for name in sys.modules if name.startswith("semsearch.service.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["serve", "--port", "0", "--home", str(home)]) == 2
    assert "pip install 'semsearch[server]'" in capsys.readouterr().err


def test_help_loads_no_server():
    code = (
        "import sys; from semsearch.cli import run; run(['--help']); run(['serve', '--help']); "
        "print(sorted({'starlette', 'uvicorn', 'mcp', 'prometheus_client', 'anyio'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_health_is_ready_once_a_model_answers(home: Path, tmp_path: Path):
    """A server over an empty home says that it starts; once there is a collection it is ready by itself."""
    from http.client import HTTPConnection

    from semsearch.service import server
    from semsearch.service.service import Service
    from semsearch.settings import Settings
    from tests.service.conftest import make, write

    empty = tmp_path / "empty"
    service, up, servers = Service(Settings(home=empty)), threading.Event(), []
    listening = server.bind("127.0.0.1", 0, None)
    port = listening.getsockname()[1]
    thread = threading.Thread(target=server.serve, args=(service, listening, lambda s: (servers.append(s), up.set())))
    thread.start()
    assert up.wait(20)

    def health() -> int:
        asking = HTTPConnection("127.0.0.1", port, timeout=20)
        asking.request("GET", "/health")
        reply = asking.getresponse()
        assert json.loads(reply.read())["status"] == ("ready" if reply.status == 200 else "starting")
        asking.close()
        return reply.status

    try:
        assert health() == 503
        make(empty, "default", write(tmp_path / "docs"))
        until = time.monotonic() + 20
        while health() != 200 and time.monotonic() < until:
            time.sleep(0.1)
        assert health() == 200
    finally:
        servers[0].should_exit = True
        thread.join(20)
        service.close()


def test_the_container_runs_what_there_is_as_an_ordinary_user(tmp_path: Path):
    """No engine builds it here; what it copies, whom it runs as and what it calls can be checked."""
    import click

    from semsearch.cli.serve import command
    from tests.conftest import ROOT

    text = (ROOT / "scripts" / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    copied = [name for word, rest in steps if word == "COPY" for name in rest.split()[:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    packages = {"pyproject.toml", "README.md", "LICENSE", "indexer", "semsearch"}
    assert packages <= set(copied)  # all that the build reads
    words = [word for word, _ in steps]
    [user] = [rest for word, rest in steps if word == "USER"]
    assert user not in ("root", "0")
    assert "USER" not in words[words.index("USER") + 1 :]
    assert "RUN" not in words[words.index("USER") :]
    [entry] = [json.loads(rest) for word, rest in steps if word == "ENTRYPOINT"]
    assert entry[:2] == ["semsearch", "serve"]
    (tmp_path / "token").write_text("a-token-of-some-length")
    given = [str(tmp_path / "token") if each.startswith("/run/secrets") else each for each in entry[2:]]
    with command.make_context("serve", given) as context:
        assert isinstance(context, click.Context)
        assert context.params["host"] == "0.0.0.0"
        assert context.params["token_file"] is not None
