"""``POST /v1/search`` and ``/v1/similar``: what the command line answers."""

import json

import pytest

from semsearch import render
from semsearch.collection import Collection
from semsearch.search.asking.request import SearchRequest
from tests.service.conftest import Served, Start


@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "dense", "k": 1}, {"mode": "lexical", "snippets": False}, {"explain": True}, {"filter": ["type=md"]}],
)
def test_hits_are_those_of_the_collection_to_the_last_digit(served: Served, home, options):
    reply = served.post("/v1/search", {"query": "a boat in the bay", **options})
    assert reply.status == 200
    with Collection("default", home=home) as docs:
        alone = docs.search(SearchRequest.from_dict({"query": "a boat in the bay", **options}))
    assert reply.json["hits"] == json.loads(render.dump([render.hit_value(hit) for hit in alone]))
    assert len(reply.json["hits"]) > 0
    assert reply.json["generation"] == alone.generation > 0
    assert reply.json["version"] == alone.version != ""
    assert reply.json["fingerprint"] == alone.fingerprint != ""


def test_another_collection_is_asked_by_its_name(served: Served):
    reply = served.post("/v1/search", {"query": "knight", "collection": "other"}).json
    assert reply["collection"] == "other"
    assert reply["hits"][0]["path"].endswith("chess.txt")


def test_more_like_a_passage(served: Served):
    [best, *_] = served.post("/v1/search", {"query": "boat"}).json["hits"]
    found = served.post("/v1/similar", {"place": str(best["passage"])}).json["hits"]
    assert best["path"] not in {hit["path"] for hit in found}
    assert found


def test_only_the_collections_that_were_named_may_be_asked(start: Start):
    served = start(allowed=("other",))
    assert served.post("/v1/search", {"query": "knight"}).json["collection"] == "other"
    refused = served.post("/v1/search", {"query": "boat", "collection": "default"})
    assert refused.status == 404
    assert refused.json["error"]["kind"] == "CollectionNotFound"
    assert "there are other" in refused.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "a search needs 'query'"),
        ({"query": ""}, "the query is empty"),
        ({"query": 7}, "the query is 7; it is text"),
        ({"query": "a", "k": "3"}, "k is '3'; it is a whole number"),
        ({"query": "a", "k": True}, "k is True"),
        ({"query": "a", "k": 10**9}, "the server gives at most"),
        ({"query": "a", "mod": "dense"}, "did you mean 'mode'"),
        ({"query": "a", "mode": ["dense"]}, "mode is ['dense']"),
        ({"query": "a", "filter": {"path": 1}}, "filter is"),
        ({"query": "a", "collection": ["x"]}, "collection is ['x']"),
        ({"query": "a", "rerank": "/etc/passwd"}, "started without one"),
        (b"[1]", "a JSON list; send an object"),
        (b"{", "no JSON"),
        (b"", "no JSON"),
        (b'{"query": "a", "min_confidence": NaN}', "NaN is no number of JSON"),
        (b'{"query": "\xff"}', "no JSON"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(served: Served, body, said):
    reply = served.post("/v1/search", body)
    assert reply.status == 400
    error = reply.json["error"]
    assert (error["kind"], error["exit_code"]) == ("UsageError", 2)
    assert said in error["message"]
