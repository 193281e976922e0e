"""Rerank: ``POST /v1/rerank`` in the shape of Cohere's interface, where the server has a cross-encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import UsageError
from semsearch.nearest import check_names
from semsearch.service.routes import schemas
from semsearch.service.routes.route import Route, answer, body_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from semsearch.service.service import Service

FIELDS = ("model", "query", "documents", "top_n", "return_documents")
MOST = 1_000
"""Documents of one request."""


async def rerank(service: Service, request: Request) -> Response:
    """Score documents by a query, best first."""
    body = await body_of(request)
    check_names(body, FIELDS, "field")
    query, texts, first, whole = _read(body)
    judge = service.cross_encoder(body.get("model"))
    scores = await service.run(lambda: judge.score(query, texts))
    order = np.argsort(-scores, kind="stable")[:first]
    results: list[dict[str, Any]] = [{"index": int(i), "relevance_score": float(scores[i])} for i in order]
    if whole:
        results = [{**each, "document": {"text": texts[each["index"]]}} for each in results]
    return answer({"model": service.reranker, "results": results})


def _read(body: dict[str, Any]) -> tuple[str, list[str], int, bool]:
    """Return the query, the texts, how many of them are wanted, and whether with their text."""
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not query.strip():
        raise UsageError(f"query is {query!r}; it is text")
    if not isinstance(documents, list) or not 1 <= len(documents) <= MOST:
        raise UsageError(f"documents is a list of 1 to {MOST} texts")
    texts: list[Any] = [each.get("text") if isinstance(each, dict) else each for each in documents]
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f'document {place} is {text!r}; it is a text or an object such as {{"text": "…"}}')
    first, whole = body.get("top_n"), body.get("return_documents", False)
    if first is not None and (type(first) is not int or first < 1):
        raise UsageError(f"top_n is {first!r}; it is a whole number from 1 up")
    if not isinstance(whole, bool):
        raise UsageError(f"return_documents is {whole!r}; it is true or false")
    return query, texts, first or len(texts), whole


DOCUMENT = schemas.object_of({"text": schemas.TEXT})
WANTED = schemas.object_of(
    {
        "model": {"type": "string", "description": "The cross-encoder that the server was started with"},
        "query": schemas.TEXT,
        "documents": {"type": "array", "items": {"anyOf": [schemas.TEXT, DOCUMENT]}, "minItems": 1, "maxItems": MOST},
        "top_n": schemas.WHOLE,
        "return_documents": schemas.FLAG,
    },
    ("query", "documents"),
)
RESULT = {
    **schemas.object_of({"index": {"type": "integer"}, "relevance_score": schemas.NUMBER, "document": DOCUMENT}),
    "required": ["index", "relevance_score"],
}
RESULTS = schemas.object_of({"model": schemas.TEXT, "results": schemas.list_of(RESULT)})

ROUTES = (Route("POST", "/v1/rerank", "Documents in the order of a cross-encoder", rerank, RESULTS, WANTED),)
