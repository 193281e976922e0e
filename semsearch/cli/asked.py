"""A collection as commands ask it: a running server's where there is one, and else one that this process opens."""

from __future__ import annotations

import logging
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indexer.closing import Closing
from semsearch.cli.options import ENCODER_OPTIONS, Decorator, F, gather, overrides_of, place_options, with_options
from semsearch.service import running
from semsearch.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.pipeline import Report
    from indexer.progress import Progress
    from semsearch.collection import Collection
    from semsearch.encoders import EncoderOverrides
    from semsearch.search.asking.request import SearchRequest, SimilarRequest
    from semsearch.search.showing.extract import Extract
    from semsearch.search.showing.hits import Answer
    from semsearch.service.client import Served
    from semsearch.settings import Settings

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


class Asked(Closing):
    """A collection that is asked the cheap way: of a server that has its model loaded.

    Whatever the server does not answer, this process does: so an error is always that of a Collection.
    """

    def __init__(
        self, settings: Settings, overrides: EncoderOverrides | None, index_device: str, *, alone: bool = False
    ):
        """Name a collection; it is opened at once only where no server can be asked.

        Args:
            settings: Of files, environment and options.
            overrides: What the person said of the encoder, which a server cannot follow; None: nothing.
            index_device: Where vectors are searched.
            alone: Whether no server is to be asked.
        """
        self._settings, self._overrides, self._index_device = settings, overrides, index_device
        self._own: Collection | None = None
        self._served = None if alone or overrides is not None or index_device != "auto" else _served(settings)
        if self._served is None:
            self.own()

    def close(self) -> None:
        """Let go of what was opened."""
        for each in (self._served, self._own):
            if each is not None:
                each.close()

    def own(self) -> Collection:
        """Return the collection as this process opens it."""
        if self._own is None:
            from semsearch.collection import Collection

            how = {"encoder": self._overrides, "index_device": self._index_device}
            self._own = Collection(settings=self._settings, **how)  # type: ignore[arg-type]
        return self._own

    def search(self, request: SearchRequest) -> Answer:
        """Return the hits of a query, as ``Collection.search``."""
        served, judge = self._served, request.rerank
        if served is None or (judge is not None and (judge != served.server.reranker or Path(str(judge)).exists())):
            return self.own().search(request)  # a path means another folder there
        return self._ask(lambda: served.search(request), lambda: self.own().search(request))

    def similar(self, request: SimilarRequest) -> Answer:
        """Return more like a place, as ``Collection.similar``."""
        served = self._served
        if served is None:
            return self.own().similar(request)
        return self._ask(lambda: served.similar(request), lambda: self.own().similar(request))

    def get(self, place: str, *, context: int = 0) -> Extract:
        """Return the text of a place, as ``Collection.get``."""
        served = self._served
        if served is None:
            return self.own().get(place, context=context)
        return self._ask(lambda: served.get(place, context=context), lambda: self.own().get(place, context=context))

    def update(self, progress: Progress) -> Report:
        """Bring the collection up to date with all that it has been given, and answer by ourselves from then on."""
        self._forget()
        return self.own().index(progress=progress)

    def _ask(self, server: Callable[[], T], ourselves: Callable[[], T]) -> T:
        from semsearch.service.client import NoAnswer

        try:
            return server()
        except NoAnswer as none:
            if none.how == "lost":
                _LOG.info("the server of these collections is gone (%s); this process answers by itself", none)
            else:
                _LOG.debug("the server does not answer this: %s", none)
            if none.how != "refused":
                self._forget()
            return ourselves()

    def _forget(self) -> None:
        if self._served is not None:
            self._served.close()
        self._served = None


def _served(settings: Settings) -> Served | None:
    """Return the settings' collection as a running server has it; None where there is no server that would do."""
    server = running.serving(settings)
    if server is None:
        return None
    from semsearch.service.client import Served

    return Served(server, settings.collection)


no_server_option = click.option(
    "--no-server", is_flag=True, help="Answer in this process, whether or not a server of these collections runs."
)


def _overrides(**given: Any) -> EncoderOverrides | None:
    """Return what was said of the encoder; None, which loads nothing, where nothing was."""
    return overrides_of(**given) if given else None


_encoder_options: Callable[[Callable[..., Any]], Any] = gather("overrides", _overrides, ENCODER_OPTIONS)


def asked_options(*, encoder: bool = False, index_device: bool = False) -> Decorator[Any]:
    """Return a decorator: the command gets ``docs``, the Asked that its options name, and it is closed after it.

    Args:
        encoder: Whether the command takes the options of encoders.
        index_device: Whether it takes --index-device.
    """
    options = [*place_options(index_device), no_server_option]

    def decorate(function: F) -> F:
        @wraps(function)
        def command(*args: Any, **values: Any) -> Any:
            settings = load_settings().override({name: values.pop(name) for name in ("home", "store", "collection")})
            overrides = values.pop("overrides") if encoder else None
            device = values.pop("index_device") if index_device else "auto"
            with Asked(settings, overrides, device, alone=values.pop("no_server")) as docs:
                return function(*args, docs=docs, **values)

        made: Any = with_options(command, options)
        return _encoder_options(made) if encoder else made  # type: ignore[no-any-return]

    return decorate
