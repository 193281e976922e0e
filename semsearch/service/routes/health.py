"""Health: whether the server can answer a question now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import semsearch
from semsearch.service.routes import schemas
from semsearch.service.routes.route import Route, answer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from semsearch.service.service import Service


async def health(service: Service, request: Request) -> Response:
    """Say ready once a model has answered, and 503 before; and which process this is, for who looks for it."""
    del request
    status = "ready" if service.ready else "starting"
    return answer(
        {"status": status, "version": semsearch.__version__, "pid": os.getpid()}, 200 if service.ready else 503
    )


ROUTES = (Route("GET", "/health", "Whether a model answers", health, schemas.HEALTH),)
