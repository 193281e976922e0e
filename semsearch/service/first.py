"""Ask the running server of a home first, and answer in this process what it does not: the answers are the same."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, TypeVar

from semsearch.service import running
from semsearch.service.client import NoAnswer, Served

if TYPE_CHECKING:
    from collections.abc import Callable

    from semsearch.collection import Collection
    from semsearch.search.asking.request import SearchRequest, SimilarRequest
    from semsearch.search.showing.extract import Extract
    from semsearch.search.showing.hits import Answer

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


class Answering(Protocol):
    """What answers questions: a Collection, or who asks one elsewhere."""

    @property
    def name(self) -> str:
        """Of the collection."""
        ...

    def search(self, request: SearchRequest, /) -> Answer:
        """Return the hits of a query."""
        ...

    def similar(self, request: SimilarRequest, /) -> Answer:
        """Return more like a place."""
        ...

    def get(self, place: str, *, context: int = 0) -> Extract:
        """Return the text of a place."""
        ...


class ServedFirst:
    """A collection that this process has open, and asks a running server about. Safe to use from many threads."""

    def __init__(self, docs: Collection):
        """Look for the server at each question: it may come and go."""
        self._docs = docs

    @property
    def name(self) -> str:
        """Of the collection."""
        return self._docs.name

    def search(self, request: SearchRequest, /) -> Answer:
        """Return the hits of a query; a cross-encoder is this process's own."""
        if request.rerank is not None:
            return self._docs.search(request)
        return self._first(lambda served: served.search(request), lambda: self._docs.search(request))

    def similar(self, request: SimilarRequest, /) -> Answer:
        """Return more like a place."""
        return self._first(lambda served: served.similar(request), lambda: self._docs.similar(request))

    def get(self, place: str, *, context: int = 0) -> Extract:
        """Return the text of a place; no model is needed, so that nobody is asked."""
        return self._docs.get(place, context=context)

    def _first(self, there: Callable[[Served], T], here: Callable[[], T]) -> T:
        server = running.serving(self._docs.settings)
        if server is None:
            return here()
        try:
            with Served(server, self._docs.name) as served:
                return there(served)
        except NoAnswer as none:
            _LOG.debug("the server does not answer this: %s", none)
            return here()
