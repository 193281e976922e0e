"""The application: the table of routes, what is mounted beside them, and the guard before all of it."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from indexer.errors import SemsearchError
from semsearch.service import faults, page
from semsearch.service.guard import Guard
from semsearch.service.routes import table
from semsearch.service.routes.route import answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from semsearch.service.service import Service

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """Something that stands beside the described routes, such as the page or the protocol of agents."""

    routes: Sequence[BaseRoute]
    lifespan: Callable[[], AbstractAsyncContextManager[object]] | None = None
    """Entered when the server starts and left when it stops."""


def parts(service: Service) -> list[Part]:
    """Return what is mounted beside the described routes; a part's guard is the application's."""
    from semsearch.service.agents import protocol

    agents, serving = protocol.mounted(service)
    return [Part(page.routes()), Part([agents], serving)]


def build_app(service: Service, hosts: Sequence[str] = ()) -> Starlette:
    """Return the application.

    Args:
        service: What the routes work with; closing it is the caller's.
        hosts: Names and addresses by which the server may be called, beside those of the machine itself.
    """
    beside = parts(service)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        async with AsyncExitStack() as stack:
            for part in beside:
                if part.lifespan is not None:
                    await stack.enter_async_context(part.lifespan())
            yield

    return Starlette(
        routes=[each.mounted(service) for each in table()] + [route for part in beside for route in part.routes],
        middleware=[Middleware(Guard, service=service, hosts=tuple(hosts))],
        exception_handlers={SemsearchError: _said, HTTPException: _no_route, Exception: _defect},
        lifespan=lifespan,
    )


async def _said(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, SemsearchError)
    headers = error.headers if isinstance(error, faults.Refusal) else None
    return answer(faults.value_of(error), faults.status_of(error), headers)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        said = faults.Refusal(405, "MethodNotAllowed", f"{request.method} is not for this address; use {allowed}")
    else:
        said = faults.Refusal(error.status_code, "NotFound", "there is nothing at this address; see GET /openapi.json")
    return answer(faults.value_of(said), said.status, error.headers)


async def _defect(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(faults.value_of(error), 500)
