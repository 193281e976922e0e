"""Maps: a collection's passages in two dimensions, with a query and its hits among them."""

from __future__ import annotations

import threading
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from indexer.errors import UsageError
from semsearch.service.routes import schemas
from semsearch.service.routes.route import Route, answer

if TYPE_CHECKING:
    import numpy as np
    from starlette.requests import Request
    from starlette.responses import Response

    from indexer.storage.store import Snapshot
    from semsearch.collection import Collection
    from semsearch.search.showing.landscape import Landscape
    from semsearch.service.routes.route import Schema
    from semsearch.service.service import Service

MOST_HITS = 1_000
SHOWN = 90
"""Characters of a passage that a point says."""

_drawn: WeakKeyDictionary[Collection, Landscape] = WeakKeyDictionary()
"""The last map of each open collection: it is drawn anew after a commit."""
_lock = threading.Lock()


async def map_(service: Service, request: Request) -> Response:
    """Draw a collection's passages, and where a query and some passages lie among them."""
    query = request.query_params.get("query", "")
    numbers = [each for each in request.query_params.get("passages", "").split(",") if each]
    if len(numbers) > MOST_HITS or not all(each.isdecimal() and len(each) <= 18 for each in numbers):
        raise UsageError(f"passages are the ids of at most {MOST_HITS} hits, with commas between them")

    def value(docs: Collection) -> dict[str, Any]:
        return _value(docs, query, [int(each) for each in numbers])

    return answer(await service.ask(request.path_params["name"], value))


def _value(docs: Collection, query: str, ids: list[int]) -> dict[str, Any]:
    with docs.view() as view:
        snapshot = view.snapshot
        found = _landscape(docs, snapshot)
        hits = [row.id for row in snapshot.get(ids)]
        known = snapshot.embedded(hits).tolist() if hits else []
        hits = [number for number, there in zip(hits, known, strict=True) if there]
        at = _pairs(found.place(snapshot.vectors(hits))) if hits else []
        total = snapshot.counts().passages
    asked = _pairs(found.place(docs.encoder.encode([query], "query"))) if query.strip() else [None]
    points = [
        {
            "passage": row.id, "at": at_, "folder": folder, "path": row.path, "line": row.passage.line_start,
            "title": row.title or PurePath(row.path).name, "text": row.passage.text[:SHOWN],
        }
        for row, at_, folder in zip(found.passages, _pairs(found.points), found.groups, strict=True)
    ]  # fmt: skip
    return {
        "collection": docs.name,
        "version": found.version,
        "points": points,
        "folders": list(found.folders),
        "share": round(found.share, 4),
        "total": total,
        "query": asked[0],
        "hits": [{"passage": number, "at": place} for number, place in zip(hits, at, strict=True)],
    }


def _landscape(docs: Collection, snapshot: Snapshot) -> Landscape:
    """Return the map of what the snapshot shows; one thread draws it, others wait."""
    from semsearch.search.showing import landscape

    with _lock:
        known = _drawn.get(docs)
        if known is None or known.version != snapshot.version:
            _drawn[docs] = known = landscape.draw(snapshot)
        return known


def _pairs(points: np.ndarray) -> list[Any]:
    return [[round(x, 4), round(y, 4)] for x, y in points.tolist()]


_POINT: Schema = {"type": "array", "items": schemas.NUMBER, "minItems": 2, "maxItems": 2}
MAP = schemas.object_of(
    {
        "collection": schemas.TEXT,
        "version": schemas.TEXT,
        "points": schemas.list_of(
            schemas.object_of(
                {
                    "passage": {"type": "integer"},
                    "at": _POINT,
                    "folder": {"type": "integer"},
                    "path": schemas.TEXT,
                    "line": {"type": "integer"},
                    "title": schemas.TEXT,
                    "text": schemas.TEXT,
                }
            )
        ),
        "folders": schemas.TEXTS,
        "share": schemas.NUMBER,
        "total": {"type": "integer"},
        "query": {**_POINT, "type": ["array", "null"]},
        "hits": schemas.list_of(schemas.object_of({"passage": {"type": "integer"}, "at": _POINT})),
    }
)
_PASSAGES: Schema = {"type": "string", "description": "Ids of hits, with commas between them"}

ROUTES = (
    Route("GET", "/v1/collections/{name}/map", "A map of the passages, with a query and hits on it", map_, MAP,
          query={"query": schemas.TEXT, "passages": _PASSAGES}),
)  # fmt: skip
