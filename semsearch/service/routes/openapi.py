"""OpenAPI: the description of all routes, made of their table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import semsearch
from semsearch.service.routes import schemas
from semsearch.service.routes.route import Route, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from semsearch.service.routes.route import Schema
    from semsearch.service.service import Service


def routes(table: Callable[[], Sequence[Route]]) -> tuple[Route, ...]:
    """Return the route that describes a table."""

    async def openapi(service: Service, request: Request) -> Response:
        del service, request
        return answer(describe(table()))

    return (Route("GET", "/openapi.json", "This description", openapi, {"type": "object"}),)


def describe(table: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "semsearch", "version": semsearch.__version__, "summary": "Semantic search over your files"},
        "paths": paths,
        "components": {"schemas": {"Error": schemas.ERROR}},
    }


def _operation(route: Route) -> dict[str, Any]:
    error = {"description": "Why not", "content": _json({"$ref": "#/components/schemas/Error"})}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.handler.__name__,
        "responses": {
            "200": {"description": "The answer", "content": {route.content: {"schema": dict(route.answer)}}},
            "default": error,
        },
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schemas.TEXT}
        for name in re.findall(r"{(\w+)", route.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": dict(schema)} for name, schema in route.query.items()]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _json(route.body)}
    return operation


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": dict(schema)}}
