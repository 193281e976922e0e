"""Search: ``POST /v1/search``, and ``POST /v1/similar`` for more like a known passage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from indexer.errors import UsageError
from semsearch import render
from semsearch.search.asking.request import SearchRequest, SimilarRequest
from semsearch.service.routes import schemas
from semsearch.service.routes.route import Route, answer, body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from semsearch.collection import Collection
    from semsearch.search.showing.hits import Answer
    from semsearch.service.service import Limits, Service

R = TypeVar("R", SearchRequest, SimilarRequest)


async def search(service: Service, request: Request) -> Response:
    """Answer a SearchRequest."""
    name, asked = _read(SearchRequest, await body_of(request), service.limits)
    if asked.rerank is not None:
        asked = replace(asked, rerank=service.cross_encoder(asked.rerank))
    return await _answered(service, name, lambda docs: docs.search(asked))


async def similar(service: Service, request: Request) -> Response:
    """Answer a SimilarRequest."""
    name, asked = _read(SimilarRequest, await body_of(request), service.limits)
    return await _answered(service, name, lambda docs: docs.similar(asked))


def request_in(kind: type[R], body: Mapping[str, object]) -> tuple[str | None, R]:
    """Return the collection that an object names, and the request that the rest of it is.

    Raises:
        UsageError: It describes none.
    """
    return collection_of(body), kind.from_dict({key: value for key, value in body.items() if key != "collection"})


def _read(kind: type[R], body: Mapping[str, object], limits: Limits) -> tuple[str | None, R]:
    """Return the collection's name and the request, within the server's limits."""
    name, asked = request_in(kind, body)
    if asked.k > limits.k:
        raise UsageError(f"k is {asked.k}; the server gives at most {limits.k} hits")
    return name, asked


def collection_of(body: Mapping[str, object]) -> str | None:
    """Return the collection that a body names; None: the default.

    Raises:
        UsageError: It is no text.
    """
    name = body.get("collection")
    if name is not None and not isinstance(name, str):
        raise UsageError(f"collection is {name!r}; it is the name of one, see GET /v1/collections")
    return name


async def _answered(service: Service, name: str | None, question: Callable[[Collection], Answer]) -> Response:
    def ask(docs: Collection) -> tuple[str, Answer]:
        return docs.name, question(docs)

    collection, found = await service.ask(name, ask)
    return answer(answer_value(collection, found))


def answer_value(collection: str, found: Answer) -> dict[str, Any]:
    """Return an answer as JSON: the hits as ``semsearch query --json`` shows them, and what they come from."""
    return {
        "hits": [render.hit_value(hit) for hit in found],
        "notes": list(found.notes),
        "collection": collection,
        "generation": found.generation,
        "version": found.version,
        "fingerprint": found.fingerprint,
    }


ROUTES = (
    Route("POST", "/v1/search", "Find the passages that answer a query", search, schemas.ANSWER, schemas.SEARCH),
    Route("POST", "/v1/similar", "Find more like an indexed passage", similar, schemas.ANSWER, schemas.SIMILAR),
)
