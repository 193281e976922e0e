"""Judging: what people say of hits, kept with the collection, and what it says of the present settings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from indexer.errors import DataError, UsageError
from indexer.types import Judgement
from semsearch import judging
from semsearch.search.asking.request import FUSIONS, MODES, SearchRequest
from semsearch.service.routes import schemas
from semsearch.service.routes.route import Route, answer, body_of
from semsearch.service.routes.search import collection_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from semsearch.collection import Collection
    from semsearch.service.routes.route import Schema
    from semsearch.service.service import Service


async def judgements(service: Service, request: Request) -> Response:
    """List the judgements that count; those of one query where it is named."""
    query = request.query_params.get("query")
    wanted = None if query is None else " ".join(query.split())

    def listed(docs: Collection) -> dict[str, Any]:
        found = [asdict(each) for each in docs.judgements() if wanted in (None, each.query)]
        return {"collection": docs.name, "judgements": found}

    return answer(await service.ask(request.query_params.get("collection"), listed))


async def judge(service: Service, request: Request) -> Response:
    """Keep what is said of a place; when this is answered, it is on the disk."""
    name, said = _read(await body_of(request))
    if said.grade is None:
        raise UsageError("grade is missing; 0 is wrong, 1 or more is right, and DELETE takes a judgement back")

    def keep(docs: Collection) -> Judgement:
        with docs.view() as view:
            judging.check_known(view.snapshot, docs.name, said)
        docs.keep_judgements([said])
        return said

    return answer(asdict(await service.ask(name, keep)))


async def take_back(service: Service, request: Request) -> Response:
    """Take back what was said of a place, also of one that is no longer in the collection."""
    name, said = _read(await body_of(request))
    await service.ask(name, lambda docs: docs.keep_judgements([replace(said, grade=None)]))
    return answer(asdict(replace(said, grade=None)))


async def quality(service: Service, request: Request) -> Response:
    """Give nDCG@10 over the collection's judgements, of a search with the given mode and fusion."""
    asked = request.query_params
    settings = SearchRequest.from_dict(
        {"query": "?", **{name: asked[name] for name in ("mode", "fusion") if name in asked}}
    )

    def measured(docs: Collection) -> dict[str, Any]:
        from semsearch.evaluation.judged import present  # loads what no search needs

        found: dict[str, object] = {"measure": "nDCG@10", "value": None, "queries": 0, "judged": 0}
        with suppress(DataError):  # nothing was called right yet
            found = present.quality(docs, settings)
        return {"collection": docs.name, "fingerprint": docs.spec.fingerprint, **found}

    return answer(await service.ask(asked.get("collection"), measured))


def _read(body: dict[str, Any]) -> tuple[str | None, Judgement]:
    """Return the collection's name and the judgement in a body, made now."""
    name = collection_of(body)
    values = {key: value for key, value in body.items() if key != "collection"}
    if unknown := values.keys() - _GIVEN:
        raise UsageError(f"there is no field {sorted(unknown)[0]!r}; fields are {', '.join(sorted(_GIVEN))}")
    try:
        return name, judging.now({"grade": None, **values})
    except (TypeError, ValueError) as error:
        raise UsageError(f"this is no judgement: {error}") from error


_GIVEN = {field.name for field in fields(Judgement)} - {"at"}
_WHOLE: Schema = {"type": ["integer", "null"], "minimum": 0}
_PLACE: dict[str, Schema] = {
    "query": schemas.TEXT,
    "path": schemas.TEXT,
    "record": schemas.optional(schemas.TEXT),
    "line_start": _WHOLE,
    "line_end": _WHOLE,
}
_SHOWN: dict[str, Schema] = {"encoder": schemas.optional(schemas.TEXT), "generation": _WHOLE}
JUDGEMENT = schemas.object_of({**_PLACE, "grade": _WHOLE, "at": schemas.TEXT, **_SHOWN})
JUDGED = schemas.object_of(
    {"collection": schemas.COLLECTION, **_PLACE, "grade": {"type": "integer", "minimum": 0}, **_SHOWN},
    ("query", "path", "grade"),
)
TAKEN_BACK = schemas.object_of({"collection": schemas.COLLECTION, **_PLACE, **_SHOWN}, ("query", "path"))
LISTED = schemas.object_of({"collection": schemas.TEXT, "judgements": schemas.list_of(JUDGEMENT)})
QUALITY = schemas.object_of(
    {
        "collection": schemas.TEXT,
        "fingerprint": schemas.TEXT,
        "measure": schemas.TEXT,
        "value": {"type": ["number", "null"]},
        "queries": {"type": "integer"},
        "judged": {"type": "integer"},
    }
)
_BY = {
    "collection": schemas.COLLECTION,
    "mode": {"type": "string", "enum": list(MODES)},
    "fusion": {"type": "string", "enum": list(FUSIONS)},
}

ROUTES = (
    Route("GET", "/v1/judgements", "What people said of hits", judgements, LISTED,
          query={"collection": schemas.COLLECTION, "query": schemas.TEXT}),
    Route("POST", "/v1/judgements", "Call a hit right or wrong", judge, JUDGEMENT, JUDGED),
    Route("DELETE", "/v1/judgements", "Take a judgement back", take_back, JUDGEMENT, TAKEN_BACK),
    Route("GET", "/v1/quality", "nDCG@10 over the judgements", quality, QUALITY, query=_BY),
)  # fmt: skip
