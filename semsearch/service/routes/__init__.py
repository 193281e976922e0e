"""Routes of the server: each a row of a table, of which the application and its OpenAPI description are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semsearch.service.routes.route import Route


def table() -> tuple[Route, ...]:
    """Return all routes that the server describes."""
    from semsearch.service.routes import health, judgements, maps, openapi, reading, rerank, search, vectors

    rooms = (search, reading, vectors, rerank, judgements, maps, health)
    return (*(route for room in rooms for route in room.ROUTES), *openapi.routes(table))
