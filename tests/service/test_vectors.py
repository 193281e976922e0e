"""``/v1/embeddings``, ``/v1/models`` and ``/v1/rerank``, asked by the clients that people use."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import openai
import pytest

from indexer.embedding import open_encoder
from indexer.embedding.hash_encoder import HashEncoder
from semsearch.collection import Collection
from semsearch.encoders import EncoderOverrides
from tests.models import make as make_model
from tests.service.conftest import Served, Start, make, write

TEXTS = ["a boat", "bread and a boat", ""]


def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{served.port}/v1", api_key=served.token or "none", max_retries=0, timeout=30
    )


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_the_real_client_gets_the_encoders_vectors_to_the_last_digit(served: Served, encoding: dict):
    """It asks for base64 by itself, and decodes it."""
    with client(served) as asking:
        reply = asking.embeddings.create(model="hash-64", input=TEXTS, **encoding)
        one = asking.embeddings.create(model="hash-64", input=TEXTS[0], **encoding)
    wanted = HashEncoder().encode(TEXTS)
    got = [each.embedding for each in reply.data]
    if encoding.get("encoding_format") == "base64":  # asked for by hand, it is left as it came
        got = [np.frombuffer(base64.b64decode(each), "<f4") for each in got]
    np.testing.assert_array_equal(np.array(got, np.float32), wanted)
    assert one.data[0].embedding == reply.data[0].embedding
    assert [each.index for each in reply.data] == [0, 1, 2]
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == 2 + 4 + 0
    assert reply.model == "hash-64"


def test_the_token_is_the_clients_key(start: Start):
    served = start(token="a-token-of-some-length")
    with client(served) as asking:
        assert [each.id for each in asking.models.list()] == ["hash-64"]
    served.token = "another-token-of-length"
    with client(served) as asking, pytest.raises(openai.AuthenticationError, match="missing or wrong"):
        asking.models.list()


def test_the_clients_errors(served: Served):
    with client(served) as asking:
        with pytest.raises(openai.NotFoundError, match="there is no model 'gpt'; there are hash-64"):
            asking.embeddings.create(model="gpt", input="a")
        with pytest.raises(openai.BadRequestError, match="the vectors of hash-64 have 64, leave it out"):
            asking.embeddings.create(model="hash-64", input="a", dimensions=32)
        assert len(asking.embeddings.create(model="hash-64", input="a", dimensions=64).data) == 1


def test_each_encoder_is_a_model(home: Path, tmp_path: Path, start: Start):
    make(home, "wide", write(tmp_path / "docs"), "hash:96")
    found = start().get("/v1/models").json["data"]
    assert [(each["id"], each["dimensions"], each["collections"]) for each in found] == [
        ("hash-64", 64, ["default", "other"]),
        ("hash-96", 96, ["wide"]),
    ]
    assert found[0]["fingerprint"] == HashEncoder().spec.fingerprint
    only = start(allowed=("wide",)).get("/v1/models").json["data"]
    assert [each["id"] for each in only] == ["hash-96"]


@pytest.fixture
def tiny(home: Path, tmp_path: Path) -> Path:
    """A tiny Llama with a prompt of its own for queries, which made the collection ``tiny``."""
    folder = make_model("llama", tmp_path)
    how = EncoderOverrides(
        model=str(folder), adapter="none", template="This sentence: {text} =", query_template="Query: {text} =",
        precision="fp32", device="cpu",
    )  # fmt: skip
    with Collection("tiny", create=True, home=home, encoder=how) as docs:
        docs.index(write(tmp_path / "docs"))
    return folder


def test_roles_and_token_ids(home: Path, tiny: Path, start: Start):
    served = start(allowed=("tiny",))
    with Collection("tiny", home=home) as docs:
        backend = open_encoder(docs.spec, device="cpu")
    text = "Two dogs are running on the beach"
    query, passage = (backend.encode([text], role)[0] for role in ("query", "passage"))
    assert np.abs(query - passage).max() > 0.01

    def got(**body):
        reply = served.post("/v1/embeddings", {"model": "llama", "input": text, **body})
        assert reply.status == 200, reply.data
        return np.array(reply.json["data"][0]["embedding"], np.float32)

    np.testing.assert_array_equal(got(), passage)
    np.testing.assert_array_equal(got(role="query"), query)
    np.testing.assert_array_equal(got(model="llama:query"), query)
    np.testing.assert_array_equal(got(model=f"{backend.spec.fingerprint}:passage"), passage)
    [ids] = (encoding.ids for encoding in backend.tokens.backend.encode_batch([text], add_special_tokens=False))
    np.testing.assert_array_equal(got(input=ids), passage)
    np.testing.assert_array_equal(got(input=[ids, [5]], role="query"), query)
    assert served.post("/v1/embeddings", {"model": "llama:query", "input": "a", "role": "passage"}).status == 400
    refused = served.post("/v1/embeddings", {"model": "llama", "input": [10**6]})
    assert (refused.status, refused.json["error"]["kind"]) == (400, "UsageError")
    assert "token id 1000000 is none of this model's" in refused.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"input": "a"}, "model is None"),
        ({"model": 1, "input": "a"}, "model is 1"),
        ({"model": "hash-64"}, "input is a text"),
        ({"model": "hash-64", "input": []}, "not empty"),
        ({"model": "hash-64", "input": [[]]}, "none of them empty"),
        ({"model": "hash-64", "input": ["a", 1]}, "neither texts alone"),
        ({"model": "hash-64", "input": [1.5]}, "neither texts alone"),
        ({"model": "hash-64", "input": [True]}, "neither texts alone"),
        ({"model": "hash-64", "input": ["a"] * 2_049}, "at most 2048"),
        ({"model": "hash-64", "input": [3, 4]}, "hash:64 has no token ids"),
        ({"model": "hash-64", "input": "a", "role": "both"}, "role is 'both'"),
        ({"model": "hash-64", "input": "a", "encoding_format": "int8"}, "encoding_format is 'int8'"),
        ({"model": "hash-64", "input": "a", "dimensions": "64"}, "dimensions is '64'"),
        ({"model": "hash-64", "inputs": "a"}, "did you mean 'input'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(served: Served, body, said):
    reply = served.post("/v1/embeddings", body)
    assert reply.status == 400
    assert said in reply.json["error"]["message"]


def test_as_many_texts_as_may_be(served: Served):
    texts = [f"text {i}" for i in range(2_048)]
    reply = served.post("/v1/embeddings", {"model": "hash-64", "input": texts, "encoding_format": "base64"})
    got = np.stack([np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in reply.json["data"]])
    np.testing.assert_array_equal(got, HashEncoder().encode(texts))


class Overlap:
    """A cross-encoder that counts common words."""

    def score(self, query, texts):
        return np.array([len({*query.split()} & {*text.split()}) for text in texts], np.float32)


def test_documents_are_reranked(start: Start):
    served = start(reranker="overlap")
    served.service._judge = Overlap()
    documents = ["the bread", "a boat in a bay", {"text": "the boat"}]
    body = {"query": "the boat", "documents": documents}
    assert served.post("/v1/rerank", body).json == {
        "model": "overlap",
        "results": [
            {"index": 2, "relevance_score": 2.0},
            {"index": 0, "relevance_score": 1.0},
            {"index": 1, "relevance_score": 1.0},
        ],
    }
    [first] = served.post("/v1/rerank", {**body, "top_n": 1, "return_documents": True}).json["results"]
    assert first == {"index": 2, "relevance_score": 2.0, "document": {"text": "the boat"}}
    for wrong in ({"query": ""}, {"documents": []}, {"documents": [1]}, {"top_n": 0}, {"model": "other"}, {"topn": 1}):
        assert served.post("/v1/rerank", {**body, **wrong}).status == 400
    hits = served.post("/v1/search", {"query": "the telescope", "rerank": "overlap", "mode": "dense"}).json["hits"]
    assert hits[0]["path"].endswith("stars.txt")
    assert hits[0]["score"] == 1.0


def test_without_a_cross_encoder_nothing_is_reranked(served: Served):
    reply = served.post("/v1/rerank", {"query": "a", "documents": ["a"], "model": "/etc/passwd"})
    assert reply.status == 400
    assert "started without one" in reply.json["error"]["message"]
