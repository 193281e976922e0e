"""A running server is asked first, and whatever it does not answer is answered here, with the same values."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.errors import UsageError
from semsearch.collection import Collection
from semsearch.search.asking.request import SearchRequest, SimilarRequest
from semsearch.service import running
from semsearch.service.first import ServedFirst
from semsearch.service.running import Running
from semsearch.settings import Settings
from tests.service.conftest import Served, Start


def announced(home: Path, served: Served, **more: object) -> Served:
    at = {"host": "127.0.0.1", "port": served.port, "token": served.token or "", "pid": os.getpid()}
    assert running.announce(home, Running(**{**at, **more}))
    return served


def asked_of(served: Served, route: str) -> int:
    """Return how many questions a server has answered."""
    lines = served.get("/metrics").data.decode().splitlines()
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in lines
        if line.startswith("semsearch_http_requests_total") and f'route="{route}"' in line and 'status="200"' in line
    )


def test_the_server_answers_as_the_collection_does(home: Path, start: Start):
    served = announced(home, start(token="a-token-of-some-length"), token="a-token-of-some-length")
    with Collection("default", home=home) as docs:
        first, boat = ServedFirst(docs), SearchRequest("a boat", explain=True)
        place = SimilarRequest(docs.search("boat")[0].path, k=2)
        assert first.search(boat) == docs.search(boat)
        assert first.similar(place) == docs.similar(place)
        assert first.get(place.place) == docs.get(place.place)
        assert first.name == "default"
    assert (asked_of(served, "/v1/search"), asked_of(served, "/v1/similar")) == (1, 1)


@pytest.mark.parametrize(
    "more", [{"collections": ("other",)}, {"store": "postgresql://elsewhere/x"}, {"device": "mps"}]
)
def test_a_server_of_other_collections_or_models_is_not_asked(home: Path, start: Start, more: dict):
    served = announced(home, start(), **more)
    with Collection("default", settings=Settings(home=home, device="cpu")) as docs:
        assert ServedFirst(docs).search(SearchRequest("a boat")) == docs.search("a boat")
    assert asked_of(served, "/v1/search") == 0


def test_no_server_and_one_that_refuses(home: Path, start: Start):
    with Collection("default", home=home) as docs:
        first, boat = ServedFirst(docs), SearchRequest("a boat")
        assert first.search(boat) == docs.search(boat)
        announced(home, start(allowed=("other",)))
        assert first.search(boat) == docs.search(boat)
        with pytest.raises(UsageError, match="nowhere"):  # the error is the one of a Collection
            first.similar(SimilarRequest("nowhere.md"))
