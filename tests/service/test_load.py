"""Sixteen clients search while the collection is indexed, embedded anew and swapped."""

from __future__ import annotations

import threading
from collections import defaultdict
from http.client import HTTPConnection
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from indexer.embedding.hash_encoder import HashEncoder
from semsearch.collection import Collection
from semsearch.encoders import EncoderOverrides
from semsearch.service.routes.route import parse
from tests.service.conftest import Start, make, write

CLIENTS, ROUNDS, FILES = 16, 3, 12
ENCODERS = {each.spec.fingerprint: each for each in (HashEncoder(dim=64), HashEncoder(dim=96))}


def corpus(folder: Path, turn: int) -> Path:
    return write(folder, {f"{i}.md": f"Boat {i} of turn {turn} lies in bay {i % 3}.\n" for i in range(FILES + turn)})


class Client(threading.Thread):
    """Searches over one connection until it is told to stop."""

    def __init__(self, port: int, number: int, stop: threading.Event):
        super().__init__()
        self.port, self.stop = port, stop
        self.query = f"boat {number % 4} in bay {number % 3}"
        self.mode = ("dense", "hybrid", "lexical")[number % 3]
        self.replies: list[tuple[int, dict[str, Any]]] = []
        self.error: Exception | None = None

    def run(self) -> None:
        body = f'{{"query": "{self.query}", "mode": "{self.mode}", "collection": "live", "k": 5}}'
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            while not self.stop.is_set():
                connection.request("POST", "/v1/search", body)
                reply = connection.getresponse()
                self.replies.append((reply.status, parse(reply.read())))
        except Exception as error:
            self.error = error
        finally:
            connection.close()


def test_no_error_and_no_answer_of_two_generations(home: Path, tmp_path: Path, start: Start):
    folder = tmp_path / "live"
    make(home, "live", corpus(folder, 0))
    served, stop = start(), threading.Event()
    clients = [Client(served.port, number, stop) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    try:
        for turn in range(1, ROUNDS + 1):
            with Collection("live", home=home) as docs:
                docs.index(corpus(folder, turn))
                docs.reindex(EncoderOverrides(model=f"hash:{(64, 96)[turn % 2]}"))
    finally:
        stop.set()
        for each in clients:
            each.join(60)
    assert [each.error for each in clients if each.error] == []
    seen: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    fingerprints: dict[str, set[str]] = defaultdict(set)
    for client in clients:
        assert {status for status, _ in client.replies} == {200}, client.replies[-1]
        versions = [reply["version"] for _, reply in client.replies]
        assert len([key for key, _ in groupby(versions)]) == len(set(versions))  # none goes back to an older one
        for _, reply in client.replies:
            assert len(reply["hits"]) == 5
            seen[client.query, client.mode, reply["version"]].add(repr(reply["hits"]))
            fingerprints[reply["version"]].add(reply["fingerprint"])
            if client.mode == "dense":
                check_scores(client.query, reply)
    assert {len(answers) for answers in seen.values()} == {1}  # one commit gives one answer to a question
    assert {len(each) for each in fingerprints.values()} == {1}
    assert set.union(*fingerprints.values()) == set(ENCODERS)
    assert len(fingerprints) >= ROUNDS


def check_scores(query: str, reply: dict[str, Any]) -> None:
    """The encoder that is named made both sides; vectors are kept in 16 bits."""
    encoder = ENCODERS[reply["fingerprint"]]
    [asked] = encoder.encode([query])
    wanted = encoder.encode([hit["text"] for hit in reply["hits"]]) @ asked
    np.testing.assert_allclose([hit["score"] for hit in reply["hits"]], wanted, atol=2e-3)
