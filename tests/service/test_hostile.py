"""Callers who mean no good, or who know no better: nothing leaks, nothing hangs, and others are answered."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from semsearch.collection import Collection
from semsearch.service import server
from semsearch.service.guard import name_of
from semsearch.service.routes import table
from semsearch.service.service import Limits
from tests.service.conftest import Served, Start, make, write

ADDRESSES = [
    *((each.method, each.path.replace("{", "").replace("}", "")) for each in table()),
    ("GET", "/"),
    ("GET", "/mcp"),
    ("POST", "/mcp"),
    ("GET", "/nothing"),
]
FOREIGN = [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:7330",
    "127.0.0.1@evil.example",
    "",
    "[::1",
]


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_foreign_hosts_and_pages_are_refused_everywhere(served: Served, method: str, path: str):
    for host in FOREIGN:
        reply = served.ask(method, path, {"query": "boat"}, {"host": host})
        assert (reply.status, reply.json["error"]["kind"]) == (421, "ForeignHost"), host
    own = f"127.0.0.1:{served.port}"
    for origin in ("http://evil.example", "null", f"http://{own}.evil.example", f"http://localhost:{served.port}", "x"):
        reply = served.ask(method, path, {"query": "boat"}, {"host": own, "origin": origin})
        assert (reply.status, reply.json["error"]["kind"]) == (403, "ForeignOrigin"), origin
    assert "access-control-allow-origin" not in reply.headers


def test_its_own_names_and_pages_are_let_in(served: Served):
    for host in (f"127.0.0.1:{served.port}", "localhost", "LOCALHOST:80", f"[::1]:{served.port}"):
        for headers in ({}, {"origin": f"http://{host}"}, {"origin": f"https://{host}"}):
            assert served.post("/v1/search", {"query": "boat"}, host=host, **headers).status == 200


def test_two_hosts_are_none(served: Served):
    with served.raw() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(100).split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a:1", "a"),
        ("A.", "a"),
        ("[::1]:5", "::1"),
        ("[::1]", "::1"),
        ("a:b", ""),
        ("[::1]x", ""),
        ("a:1:2", ""),
        ("[::1", ""),
        ("[::1]5", ""),
    ],
)
def test_the_name_in_a_host_header(host: str, name: str):
    assert name_of(host) == name


def test_every_answer_tells_browsers_to_be_careful(served: Served):
    replies = [
        served.get("/health"),
        served.get("/nothing"),
        served.get("/health", host="evil"),
        served.post("/v1/search", 1),
    ]
    for reply in replies:
        assert reply.headers["content-security-policy"].startswith("default-src 'self'")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "server" not in reply.headers


@pytest.mark.parametrize(
    "token", ["", "wrong", "the-right-toke", "the-right-token-", "The-Right-Token!", "tök", " ", "a" * 9_000]
)
def test_a_guessed_token_opens_nothing(start: Start, token: str):
    served = start(token="the-right-token!")
    for method, path in ADDRESSES:
        if path not in ("/", "/health"):  # the page without anybody's texts, and whether there is a model
            sent = {"authorization": f"Bearer {token}".encode().decode("latin-1")}
            reply = served.ask(method, path, {"query": "boat"}, sent)
            assert (reply.status, reply.json["error"]["kind"]) == (401, "TokenNeeded")
            assert "the-right-token!" not in reply.data.decode()
    assert (
        served.ask("POST", "/v1/search", {"query": "boat"}, {"authorization": "Basic the-right-token!"}).status == 401
    )
    assert served.post("/v1/search", {"query": "boat"}).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_other_machines_are_not_let_in_without_a_token(host: str):
    from indexer.errors import UsageError

    with pytest.raises(UsageError, match="has no token; give one with --token-file"):
        server.bind(host, 0, None)


def test_with_a_token_it_may_listen_everywhere():
    with server.bind("0.0.0.0", 0, "the-right-token!") as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


PATHS = [
    "/etc/passwd",
    "../../../../etc/passwd",
    "....//etc/passwd",
    "/proc/self/environ",
    "file:///etc/passwd",
    "/etc/\0passwd",
    "\udcff",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_outside_of_the_index_gives_nothing_of_the_disk(served: Served, path: str, tmp_path: Path):
    from urllib.parse import quote

    there = served.get(f"/v1/documents?path={quote(path.encode('utf-8', 'surrogateescape'))}")
    assert (there.status, there.json["error"]["kind"]) == (404, "NotFound")
    similar = served.post("/v1/similar", {"place": path})
    assert similar.status in (400, 404)
    assert b"root:" not in there.data + similar.data


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/static/../../etc/passwd",
        "/static/%2e%2e%2fapp.py",
        "/..%5c..%5capp.py",
    ],
)
def test_no_file_is_served_that_is_not_the_pages_own(served: Served, path: str):
    assert served.get(path).status in (404, 405)


@pytest.mark.parametrize("name", ["../home/default", "..", ".", "", "a/b", "/etc", "default\0", "x" * 300, "\udcff"])
def test_a_collection_is_a_name_and_no_path(served: Served, name: str):
    reply = served.post("/v1/search", {"query": "boat", "collection": name})
    assert reply.status in (400, 404)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(start: Start):
    served = start(limits=Limits(body_bytes=10_000))
    began = time.monotonic()
    with served.raw() as connection:
        connection.sendall(b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
    assert time.monotonic() - began < 10
    chunk = b"1000\r\n" + b"a" * 0x1000 + b"\r\n"
    with served.raw() as connection:
        connection.sendall(
            b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
    assert served.post("/v1/search", {"query": "a" * 9_000}).status == 200
    assert served.post("/v1/search", {"query": "a" * 11_000}).status == 413
    with served.raw() as connection:
        connection.sendall(b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n")
        assert connection.recv(1000).split()[1] in (b"400", b"413")


@pytest.mark.parametrize("path", ["/mcp", "/v1/judgements", "/v1/embeddings", "/nothing"])
def test_no_address_takes_endless_or_slow_bodies(start: Start, path: str):
    served = start(limits=Limits(body_bytes=10_000, body_seconds=0.4))
    kind = "Content-Type: application/json\r\nAccept: application/json, text/event-stream"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    for body, status in ((chunk * 3, b"413"), (chunk, b"408")):
        with served.raw() as connection:
            connection.sendall(head + body)
            expected = (b"404",) if path == "/nothing" else (status,)
            assert connection.recv(1000).split()[1] in expected
    assert served.get("/health").status == 200


def test_a_body_that_never_comes_is_not_waited_for(start: Start):
    served = start(limits=Limits(body_seconds=0.3))
    with served.raw() as connection:
        connection.sendall(b'POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"query"')
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    with served.raw() as connection:  # a byte now and then does not extend the time
        connection.sendall(b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        connection.settimeout(0.1)
        got = b""
        for _ in range(50):
            connection.sendall(b" ")
            try:
                got = connection.recv(1000)
                break
            except TimeoutError:
                continue
        assert got.startswith(b"HTTP/1.1 408")


def test_a_head_that_never_comes_is_not_waited_for(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    served = start()
    for begun in (b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
        with served.raw() as connection:
            connection.sendall(begun)
            assert connection.recv(1000) == b""


def test_a_thousand_connections_keep_nobody_from_an_answer(served: Served):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8_192)), hard))
    with ExitStack() as stack:
        idle = [stack.enter_context(served.raw()) for _ in range(1_000)]
        assert served.post("/v1/search", {"query": "boat"}).status == 200
        body = json.dumps({"query": "boat in the bay"}).encode()
        head = (
            f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        for each in idle[:300]:  # all at once: some may be told to come later, none is left without an answer
            each.sendall(head.encode() + body)
        seen = [int(each.recv(20).split()[1]) for each in idle[:300]]
    assert set(seen) <= {200, 429}
    assert seen.count(200) >= 200


HOSTILE = [
    "'; DROP TABLE passages; --",
    '" OR 1=1 --',
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "%00",
    "a\0b",
    "\ud800",
    "NEAR(a b)",
    "a* OR (",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
]


def test_code_in_queries_titles_and_names_is_text(home: Path, tmp_path: Path, start: Start):
    names = [f"{each}.md".replace("/", "⁄").replace("\0", "_").replace("\ud800", "_") for each in HOSTILE]
    files = {
        name: f"# {text}\n\nHarbour {text}\n".replace("\0", "_").replace("\ud800", "_")
        for name, text in zip(names, HOSTILE, strict=True)
    }
    make(home, "hostile", write(tmp_path / "hostile", files))
    served = start()
    count = len(names)
    for text in HOSTILE:
        for mode in ("hybrid", "lexical", "dense"):
            reply = served.post(
                "/v1/search", {"query": f"harbour {text}", "collection": "hostile", "mode": mode, "k": 50}
            )
            assert reply.status == 200, reply.data
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers["x-content-type-options"] == "nosniff"
        assert served.post("/v1/search", {"query": "harbour", "collection": text}).status in (400, 404)
        refused = served.post("/v1/search", {"query": "harbour", "mode": text})
        assert refused.headers["content-type"] == "application/json"
    found = served.post("/v1/search", {"query": "harbour", "collection": "hostile", "k": 50, "collapse": False}).json[
        "hits"
    ]
    assert {Path(hit["path"]).name for hit in found} == set(names)
    with Collection("hostile", home=home) as docs:
        assert docs.status().counts.passages >= count


def test_what_a_client_that_went_away_had_asked_is_not_encoded(served: Served):
    backend = served.service.collections.open().encoder._backend  # of the one encoder
    seen: list[str] = []
    hold, held = threading.Event(), threading.Event()
    real = backend.encode

    def slow(texts, role="passage", normalize=True):
        seen.extend(texts)
        held.set()
        assert hold.wait(20)
        return real(texts, role, normalize)

    backend.encode = slow
    first = threading.Thread(target=served.post, args=("/v1/search", {"query": "first"}))
    first.start()
    assert held.wait(10)
    body = b'{"query": "leaves"}'
    with served.raw() as connection:
        connection.sendall(
            b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        until = time.monotonic() + 10
        while not served.service.batcher.waiting["query"] and time.monotonic() < until:
            time.sleep(0.01)
        assert served.service.batcher.waiting["query"] > 0
    while served.service.batcher.waiting["query"] and time.monotonic() < until:
        time.sleep(0.01)
    assert served.service.batcher.waiting["query"] == 0
    hold.set()
    first.join(10)
    assert served.post("/v1/search", {"query": "after"}).status == 200
    assert "leaves" not in seen
    assert seen == ["first", "after"]


def test_an_answer_that_takes_too_long_is_given_up(start: Start):
    served = start(limits=Limits(seconds=0.3))
    backend = served.service.collections.open().encoder._backend
    hold, real = threading.Event(), backend.encode
    backend.encode = lambda *given: hold.wait(20) and real(*given)
    holds = threading.Thread(target=served.post, args=("/v1/search", {"query": "first"}))
    holds.start()
    time.sleep(0.1)
    reply = served.post("/v1/search", {"query": "second"})
    assert (reply.status, reply.json["error"]["kind"]) == (503, "TooSlow")
    hold.set()
    holds.join(10)
    assert served.post("/v1/search", {"query": "third"}).status == 200


def test_a_collection_that_is_deleted_and_comes_back(served: Served, home: Path, tmp_path: Path):
    assert served.post("/v1/search", {"query": "boat"}).status == 200
    with Collection("default", home=home) as docs:
        docs.delete()
    for _ in range(2):
        gone = served.post("/v1/search", {"query": "boat"})
        assert (gone.status, gone.json["error"]["kind"]) == (404, "CollectionNotFound")
    assert served.post("/v1/search", {"query": "knight", "collection": "other"}).status == 200
    make(home, "default", write(tmp_path / "new", {"new.md": "A boat of another day.\n"}), "hash:32")
    found = served.post("/v1/search", {"query": "boat"})
    assert [Path(hit["path"]).name for hit in found.json["hits"]] == ["new.md"]


def test_a_folder_that_is_removed_by_hand(served: Served, home: Path):
    assert served.post("/v1/search", {"query": "boat"}).status == 200
    shutil.rmtree(home / "default")
    assert served.post("/v1/search", {"query": "boat"}).status == 404
    assert served.post("/v1/search", {"query": "knight", "collection": "other"}).status == 200


def test_a_damaged_collection_says_so_and_is_opened_again_once_it_is_mended(served: Served, home: Path):
    catalog = home / "other" / "catalog.sqlite"
    assert served.post("/v1/search", {"query": "knight", "collection": "other"}).status == 200
    whole = catalog.read_bytes()
    catalog.unlink()
    broken = served.post("/v1/search", {"query": "knight", "collection": "other"})
    assert (broken.status, broken.json["error"]["kind"]) == (500, "CorruptError")
    assert served.post("/v1/search", {"query": "boat"}).status == 200
    catalog.write_bytes(whole)
    assert served.post("/v1/search", {"query": "knight", "collection": "other"}).status == 200


def test_a_defect_of_ours_says_nothing_of_the_code(served: Served, monkeypatch: pytest.MonkeyPatch):
    def defect(*_):
        raise RuntimeError("secret of the code")

    monkeypatch.setattr(Collection, "search", defect)
    reply = served.post("/v1/search", {"query": "boat"})
    assert (reply.status, reply.json["error"]["kind"], reply.json["error"]["exit_code"]) == (500, "InternalError", 70)
    assert "secret" not in reply.data.decode()
    assert served.get("/health").status == 200


def test_no_more_requests_wait_than_may(start: Start):
    served = start(limits=Limits(threads=1, waiting=2))
    backend = served.service.collections.open().encoder._backend
    hold, real = threading.Event(), backend.encode
    backend.encode = lambda *given: hold.wait(20) and real(*given)
    body = b'{"query": "boat"}'
    head = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with ExitStack() as stack:
        asking = [stack.enter_context(served.raw()) for _ in range(6)]
        for each in asking:
            each.sendall(head + body)
            time.sleep(0.05)
        refused = [each for each in asking if _has_answer(each)]
        assert len(refused) == 3
        assert all(b"429" in each.recv(2000).split(b"\r\n")[0] for each in refused)
        hold.set()
        assert all(each.recv(20).split()[1] == b"200" for each in asking if each not in refused)


def _has_answer(connection: socket.socket) -> bool:
    connection.settimeout(0.3)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        connection.settimeout(20)
