"""The tools of agents: what each is for, what it takes and gives, and how it is called. None changes anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from indexer.errors import SemsearchError, UsageError
from semsearch.nearest import check_names
from semsearch.search.asking.request import SearchRequest, SimilarRequest
from semsearch.service.agents import results
from semsearch.service.agents.schema import plain, schema_of
from semsearch.service.routes import schemas
from semsearch.service.routes.search import collection_of, request_in
from semsearch.status import Status, Unreadable

if TYPE_CHECKING:
    from semsearch.collection import Collection
    from semsearch.service.routes.route import Schema
    from semsearch.service.service import Service

R = TypeVar("R", SearchRequest, SimilarRequest)
Arguments = Mapping[str, object]

MOST_HITS = 100
"""Hits that an agent may ask for: each is a paragraph in its context."""


@dataclass(frozen=True)
class Tool:
    """One tool."""

    name: str
    title: str
    description: str
    takes: Schema
    """Of the arguments."""
    gives: type
    """A dataclass of ``results``."""
    call: Callable[[Service, Arguments], Awaitable[object]]

    @property
    def answer(self) -> dict[str, Any]:
        """The schema of what it gives."""
        return schema_of(self.gives)


def tools(service: Service) -> tuple[Tool, ...]:
    """Return the tools that a service has."""
    return (
        Tool(
            "search",
            "Search indexed files",
            "Find passages of the indexed files that answer a query, by meaning and by words. Ask in a full question "
            "or in the words that the answer would have; names and codes are found by their words. Each hit has its "
            "place to cite. Nothing relevant is an empty list where min_confidence is given (try 0.99).",
            _takes(SearchRequest, service),
            results.Hits,
            _search,
        ),
        Tool(
            "similar",
            "Find more like a passage",
            "Find passages that mean nearly the same as an indexed file, a line of it, or a hit: further sources for "
            "what was found, or copies of it.",
            _takes(SimilarRequest, service),
            results.Hits,
            _similar,
        ),
        Tool(
            "get",
            "Read an indexed document",
            "Read an indexed document, some lines of it, or what stands around a hit, as it was indexed. The file "
            "itself is not opened, and nothing that is not indexed can be read.",
            schemas.object_of(_GET, ("place",)),
            results.Text,
            _get,
        ),
        Tool(
            "status",
            "See what is indexed",
            "List the collections that can be asked: the folders in them, their sizes, and files that could not be "
            "read.",
            schemas.object_of({"collection": schemas.COLLECTION}, ()),
            results.States,
            _status,
        ),
    )


_GET: Mapping[str, Schema] = {
    "place": {
        "type": "string",
        "description": "PATH for a whole document, PATH:LINE or PATH:FROM-TO for lines of it, or the number of a "
        "hit's passage",
    },
    "context": {"type": "integer", "minimum": 0, "default": 0, "description": "Lines to give before and after"},
    "collection": schemas.COLLECTION,
}


async def _search(service: Service, arguments: Arguments) -> results.Hits:
    name, asked = _read(SearchRequest, arguments)
    if asked.rerank is not None:
        asked = replace(asked, rerank=service.cross_encoder(asked.rerank))
    return await service.answer(name, lambda docs: results.Hits.of(docs.name, docs.search(asked)))


async def _similar(service: Service, arguments: Arguments) -> results.Hits:
    name, asked = _read(SimilarRequest, arguments)
    return await service.answer(name, lambda docs: results.Hits.of(docs.name, docs.similar(asked)))


async def _get(service: Service, arguments: Arguments) -> results.Text:
    place, context = arguments.get("place"), arguments.get("context", 0)
    if not isinstance(place, str):
        raise UsageError(f"place is {place!r}; it is an indexed file as PATH, PATH:LINE or PATH:FROM-TO, or a passage")
    if not isinstance(context, int) or isinstance(context, bool):
        raise UsageError(f"context is {context!r}; it is a number of lines from 0 up")
    name = collection_of(arguments)
    return await service.answer(name, lambda docs: results.Text.of(docs.name, docs.get(place, context=context)))


async def _status(service: Service, arguments: Arguments) -> results.States:
    wanted = collection_of(arguments)

    def look() -> results.States:
        collections = service.collections
        if wanted is not None:
            found: list[Status | Unreadable] = [collections.ask(wanted, _state)]
        else:
            found = [_state_or_why_not(service, name) for name in collections.names()]
        return results.States.of(found, collections.default)

    return await service.run(look)


def _state(docs: Collection) -> Status:
    return docs.status()


def _state_or_why_not(service: Service, name: str) -> Status | Unreadable:
    try:
        return service.collections.ask(name, _state)
    except SemsearchError as error:
        return Unreadable(name, "", error)


def _takes(kind: type[SearchRequest] | type[SimilarRequest], service: Service) -> dict[str, Any]:
    """Return the schema of a request's arguments: its fields, within the bounds of agents."""
    schema = schemas.request_of(kind)
    properties = dict(schema["properties"])
    properties["k"] = {**properties["k"], "maximum": MOST_HITS}
    properties.pop("snippets")  # a mark costs next to nothing, and agents read it
    if "rerank" in properties:
        if service.reranker is None:
            del properties["rerank"]
        else:
            properties["rerank"] = {**properties["rerank"], "enum": [service.reranker]}
    return {**schema, "properties": properties}


def _read(kind: type[R], arguments: Arguments) -> tuple[str | None, R]:
    """Return the collection's name and the request."""
    name, asked = request_in(kind, arguments)
    if asked.k > MOST_HITS:
        raise UsageError(f"k is {asked.k}; an agent gets at most {MOST_HITS} hits, narrow the search with filter")
    return name, asked


async def call(service: Service, tool: Tool, arguments: Arguments) -> dict[str, Any]:
    """Return what a tool gives, as JSON.

    Raises:
        SemsearchError: As the command line would say it.
    """
    check_names(arguments, tool.takes["properties"], f"argument of {tool.name}")
    given = {name: value for name, value in arguments.items() if value is not None}  # null: it was not given
    result: dict[str, Any] = plain(await tool.call(service, given))
    return result
