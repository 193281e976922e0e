"""Route: one row of the table, and how a request's body becomes a checked value."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route as Mounted

from indexer.errors import UsageError
from semsearch import render
from semsearch.service.service import Service

if TYPE_CHECKING:
    from starlette.requests import Request

Schema = Mapping[str, Any]
"""JSON Schema, as OpenAPI 3.1 takes it."""
SCOPE_ROUTE = "semsearch.route"
"""Key under which a request's scope has the path of its route, as the table has it."""
Handler = Callable[[Service, "Request"], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One way to ask the server."""

    method: str
    path: str
    """With ``{name}`` where a parameter stands."""
    summary: str
    """One line for people."""
    handler: Handler
    answer: Schema
    """Of the JSON that comes back."""
    body: Schema | None = None
    """Of the JSON that is sent."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    """Name → schema of the parameters behind the question mark."""
    content: str = "application/json"
    """Media type of the answer."""

    def mounted(self, service: Service) -> Mounted:
        """Return the route as the application takes it."""

        async def endpoint(request: Request) -> Response:
            request.scope[SCOPE_ROUTE] = self.path
            await request.body()  # all of it: what comes in afterwards is that the client has gone
            async with service.waited_for(request):
                return await self.handler(service, request)

        return Mounted(self.path, endpoint, methods=[self.method], name=f"{self.method} {self.path}")


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON, written as the command line writes it."""
    return Response(render.dump(value).encode(), status, headers, media_type="application/json")


async def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object that was sent.

    Raises:
        UsageError: It is none.
    """
    return parse(await request.body())


def parse(data: bytes) -> dict[str, Any]:
    """Return the JSON object in ``data``.

    Raises:
        UsageError: It is none; NaN and infinity are no JSON.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is no JSON: {error}; send one object, in UTF-8") from error
    if not isinstance(value, dict):
        raise UsageError(f'the body is a JSON {type(value).__name__}; send an object such as {{"query": "text"}}')
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
