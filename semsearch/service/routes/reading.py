"""Reading: which collections there are, their state, and what stands in their documents."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from indexer.errors import SemsearchError, UsageError
from semsearch import render
from semsearch.search.asking import places
from semsearch.search.showing.extract import extract
from semsearch.service.faults import Refusal
from semsearch.service.routes import schemas
from semsearch.service.routes.route import Route, answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from indexer.storage.store import Snapshot
    from semsearch.collection import Collection
    from semsearch.search.asking.places import Place
    from semsearch.service.routes.route import Schema
    from semsearch.service.service import Service

MOST_CONTEXT = 100_000
"""Lines around a place."""
_LINES = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


async def collections(service: Service, request: Request) -> Response:
    """List the collections that may be asked."""
    del request

    def listed() -> list[dict[str, Any]]:
        return [_entry(service, name) for name in service.collections.names()]

    return answer({"collections": await service.run(listed), "default": service.collections.default})


def _entry(service: Service, name: str) -> dict[str, Any]:
    empty = dict.fromkeys(("files", "passages", "pending", "generation", "model", "fingerprint", "error"))

    def entry(docs: Collection) -> dict[str, Any]:
        with docs.view() as view:
            counts, manifest = view.snapshot.counts(), view.snapshot.manifest
            return {
                "files": counts.files,
                "passages": counts.passages,
                "pending": counts.pending,
                "generation": view.snapshot.generation,
                "model": manifest.spec.model,
                "fingerprint": manifest.fingerprint,
            }

    try:
        return {"name": name, **empty, **service.collections.ask(name, entry)}
    except SemsearchError as error:
        return {"name": name, **empty, "error": str(error)}


async def status(service: Service, request: Request) -> Response:
    """Show a collection's size, encoder, roots, what waits for vectors, and files that failed, with the reason."""

    def state(docs: Collection) -> dict[str, Any]:
        value = render.status_value(docs.status())
        with docs.view() as view:
            facets = view.snapshot.facets()
            kept = {"generation": view.snapshot.generation, "version": view.snapshot.version}
        return {**value, **kept, "kinds": dict(facets.kinds), "fields": dict(facets.fields)}

    return answer(await service.ask(request.path_params["name"], state))


async def document(service: Service, request: Request) -> Response:
    """Give an indexed document, or some lines of it, from the collection: the file itself is not read."""
    asked = request.query_params
    path, lines = asked.get("path", ""), asked.get("lines")
    both = _LINES.fullmatch(lines) if lines is not None else None
    if not path or (lines is not None and both is None):
        raise UsageError("a document is asked for with path=PATH, the path of a hit, and if you like lines=FROM-TO")
    meant = (int(both[1]), int(both[2] or both[1])) if both else None
    return await _extracted(service, request, lambda snapshot, name: places.at_path(snapshot, path, meant, name))


async def passage(service: Service, request: Request) -> Response:
    """Give the text of a hit's passage."""
    number = request.path_params["id"]
    if not re.fullmatch(r"\d{1,18}", number):
        raise UsageError(f"{number!r} is no id of a passage; it is the number in a hit's field passage")
    return await _extracted(service, request, lambda snapshot, name: places.passage(snapshot, int(number), name))


async def _extracted(service: Service, request: Request, find: Callable[[Snapshot, str], Place]) -> Response:
    context = request.query_params.get("context", "0")
    if not context.isdecimal() or int(context) > MOST_CONTEXT:
        raise UsageError(f"context is {context!r}; it is a number of lines from 0 to {MOST_CONTEXT}")

    def read(docs: Collection) -> dict[str, Any]:
        with docs.view() as view:
            try:
                place = find(view.snapshot, docs.name)
            except UsageError as error:
                raise Refusal(404, "NotFound", str(error)) from error
            return asdict(extract(place, int(context)))

    return answer(await service.ask(request.query_params.get("collection"), read))


INTEGER: Schema = {"type": "integer"}
NUMBERS: Schema = {"type": "object", "additionalProperties": INTEGER}
ENTRY = schemas.object_of(
    {
        "name": schemas.TEXT,
        **{each: {"type": ["integer", "null"]} for each in ("files", "passages", "pending", "generation")},
        **{each: schemas.optional(schemas.TEXT) for each in ("model", "fingerprint", "error")},
    }
)
COLLECTIONS = schemas.object_of({"collections": schemas.list_of(ENTRY), "default": schemas.TEXT})
STATUS = schemas.object_of(
    {
        **{each: schemas.TEXT for each in ("collection", "path", "version")},
        "generation": INTEGER,
        "documents": INTEGER,
        **{each: NUMBERS for each in ("files", "passages", "bytes", "kinds", "fields")},
        "encoder": {"type": "object"},
        "roots": schemas.TEXTS,
        **{each: schemas.list_of({"type": "object"}) for each in ("failed", "skipped", "warnings")},
    }
)
EXTRACT = schemas.object_of(
    {
        "path": schemas.TEXT,
        "line_start": INTEGER,
        "line_end": INTEGER,
        "page": {"type": ["integer", "null"]},
        "text": schemas.TEXT,
        "document": schemas.optional(schemas.TEXT),
        "title": schemas.optional(schemas.TEXT),
        "kind": schemas.TEXT,
        "fields": {"type": "object", "additionalProperties": schemas.TEXT},
        "passages": schemas.list_of(INTEGER),
    }
)
_WHERE = {"collection": schemas.COLLECTION, "context": {"type": "integer", "minimum": 0}}
_LINES_SCHEMA: Schema = {"type": "string", "description": "A line, or FROM-TO"}

ROUTES = (
    Route("GET", "/v1/collections", "Which collections there are", collections, COLLECTIONS),
    Route("GET", "/v1/collections/{name}/status", "A collection's state", status, STATUS),
    Route("GET", "/v1/documents", "Text of an indexed document, by path and lines", document, EXTRACT,
          query={"path": schemas.TEXT, "lines": _LINES_SCHEMA, **_WHERE}),
    Route("GET", "/v1/passages/{id}", "Text of a hit's passage", passage, EXTRACT, query=_WHERE),
)  # fmt: skip
