"""Health and metrics: whether the server can answer a question now, and how it fares."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.responses import Response

import semsearch
from semsearch.service.metrics import CONTENT
from semsearch.service.routes import schemas
from semsearch.service.routes.route import Route, answer

if TYPE_CHECKING:
    from starlette.requests import Request

    from semsearch.service.service import Service


async def health(service: Service, request: Request) -> Response:
    """Say ready once a model has answered, and 503 before; and which process this is, for who looks for it."""
    del request
    status = "ready" if service.ready else "starting"
    return answer(
        {"status": status, "version": semsearch.__version__, "pid": os.getpid()}, 200 if service.ready else 503
    )


async def metrics(service: Service, request: Request) -> Response:
    """Give the figures that Prometheus gathers."""
    del request
    return Response(service.metrics.text(), media_type=CONTENT)


ROUTES = (
    Route("GET", "/health", "Whether a model answers", health, schemas.HEALTH),
    Route("GET", "/metrics", "Figures for Prometheus", metrics, schemas.TEXT, content="text/plain"),
)
