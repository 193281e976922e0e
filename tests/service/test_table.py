"""The table of routes: what is described is what is served, and answers have the form that is described."""

from __future__ import annotations

import re

import pytest
from starlette.routing import Route as Mounted

from semsearch.service.app import build_app
from semsearch.service.routes import table
from semsearch.service.routes.openapi import describe
from tests.service.conftest import Served

PAGE = {"/"}
"""Paths that are not described: what browsers and agents load."""


def test_every_route_is_described_and_every_description_is_a_route(served: Served):
    described = {
        (method.upper(), path)
        for path, operations in served.get("/openapi.json").json["paths"].items()
        for method in operations
    }
    mounted = {
        (method, each.path)
        for each in build_app(served.service).routes
        if isinstance(each, Mounted) and each.name.startswith(("GET /", "POST /", "PUT /", "DELETE /"))
        for method in each.methods - {"HEAD"}
    }
    assert described == mounted
    for name in ("search", "similar", "embeddings", "rerank", "models", "collections", "documents"):
        assert any(path == f"/v1/{name}" for _, path in described)


def test_operations_have_names_of_their_own_and_schemas_hold_together():
    operations = [each for path in describe(table())["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names)
    for each in operations:
        for content in each["responses"]["200"]["content"].values():
            check_schema(content["schema"])
        if "requestBody" in each:
            check_schema(each["requestBody"]["content"]["application/json"]["schema"])


def check_schema(schema: dict) -> None:
    """What is required is there, all the way down."""
    assert set(schema.get("required", ())) <= set(schema.get("properties", {}))
    for inner in [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]:
        check_schema(inner)
    if isinstance(schema.get("items"), dict):
        check_schema(schema["items"])


def fits(value: object, schema: dict) -> bool:
    """Whether a value is one of a schema; as much of JSON Schema as ours use."""
    if "anyOf" in schema:
        return any(fits(value, each) for each in schema["anyOf"])
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    types = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
        "null": type(None),
    }  # fmt: skip
    if kinds and not any(
        isinstance(value, types[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds
    ):
        return False
    if isinstance(value, list):
        return all(fits(each, schema.get("items", {})) for each in value)
    if isinstance(value, dict):
        own = schema.get("properties", {})
        extra = schema.get("additionalProperties", True)
        if not set(schema.get("required", ())) <= set(value):
            return False
        return all(
            fits(each, own[name]) if name in own else extra is True or (isinstance(extra, dict) and fits(each, extra))
            for name, each in value.items()
        )
    return True


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/search", {"query": "boat", "explain": True}),
        ("POST", "/v1/similar", {"place": "1"}),
        ("POST", "/v1/embeddings", {"model": "hash-64", "input": ["a"]}),
        ("GET", "/v1/models", None),
        ("GET", "/v1/collections", None),
        ("GET", "/v1/passages/1", None),
        ("GET", "/health", None),
    ],
)
def test_answers_have_the_form_that_is_described(served: Served, method: str, path: str, body):
    found = served.ask(method, path, body)
    assert found.status == 200
    described = describe(table())["paths"]["/v1/passages/{id}" if "passages" in path else path][method.lower()]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    assert fits(found.json, schema)
    first = next(iter(found.json))
    assert not fits({name: value for name, value in found.json.items() if name != first}, schema)


def test_errors_have_one_form(served: Served):
    schema = describe(table())["components"]["schemas"]["Error"]
    for method, path, body in (
        ("POST", "/v1/search", {}),
        ("GET", "/nothing", None),
        ("PUT", "/v1/search", {}),
        ("GET", "/v1/passages/99", None),
        ("POST", "/v1/search", {"query": "a", "collection": "none"}),
    ):
        reply = served.ask(method, path, body)
        assert reply.status >= 400
        assert fits(reply.json, schema), reply.json


def metrics(served: Served) -> dict[str, float]:
    lines = served.get("/metrics").data.decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_metrics_count_requests_and_say_nothing_of_their_texts(served: Served):
    secret = "xylophone"
    for _ in range(3):
        served.post("/v1/search", {"query": secret})
    served.post("/v1/search", {"query": secret, "collection": secret})
    served.post("/v1/embeddings", {"model": "hash-64", "input": [secret, "a b"]})
    served.get(f"/{secret}")
    served.ask(secret.upper(), "/v1/search")
    found = metrics(served)
    asked = 'semsearch_http_requests_total{method="POST",route="/v1/search",status="200"}'
    assert found[asked] == 3
    assert found['semsearch_http_requests_total{method="POST",route="/v1/search",status="404"}'] == 1
    assert found['semsearch_http_requests_total{method="GET",route="other",status="404"}'] == 1
    assert found['semsearch_http_request_duration_seconds_count{route="/v1/search"}'] >= 4
    assert found['semsearch_encoded_texts_total{role="passage"}'] == 2
    assert found['semsearch_encoded_texts_total{role="query"}'] >= 4
    assert found['semsearch_waiting_tokens{role="query"}'] == 0
    assert found["semsearch_ready"] == 1
    page = served.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert secret.lower() not in page.data.decode().lower()
    names = {re.split(r"[{ ]", name)[0] for name in found if name.startswith("semsearch_")}
    assert all(re.fullmatch(r"semsearch_[a-z_]+", name) for name in names)
    assert not [name for name in names if re.search(r"_(ms|milliseconds|kb|percent)\b", name)]
