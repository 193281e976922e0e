"""The page that people see in a browser: package data, and the routes that give out those files and no other."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

ADDRESS = "/page/"
"""Under which the files lie; the page itself is at ``/``. None of them holds anything of anybody's, so no token is
needed to load them: the page asks for it."""
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def routes() -> list[Route]:
    """Return a route for each file of the page, read now: no request names a path on the disk."""
    found = []
    for file in files(__name__).iterdir():
        kind = _TYPES.get("." + file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == "index.html" else ADDRESS + file.name
            found.append(_route(path, file.read_bytes(), f"{kind}; charset=utf-8"))
    return found


def _route(path: str, content: bytes, kind: str) -> Route:
    async def endpoint(request: Request) -> Response:
        del request
        return Response(content, headers={"cache-control": "no-cache"}, media_type=kind)

    return Route(path, endpoint, methods=["GET"], name=path)
