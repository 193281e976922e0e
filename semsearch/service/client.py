"""Ask a running server, as a Collection is asked, with the standard library alone: the answers are the same values."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

from indexer.closing import Closing
from semsearch.search.showing.hits import Answer, Hit
from semsearch.service.line import Line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from semsearch.search.asking.request import SearchRequest, SimilarRequest
    from semsearch.search.showing.extract import Extract
    from semsearch.service.running import Running

CONNECTING = 1.0
"""Seconds to wait for a connection: a server that listens gives it at once."""
MEETING = 3.0
"""Seconds to wait for it to say who it is."""
ANSWERING = 120.0
"""Seconds to wait for an answer: longer than a server's own limit, and than a model takes to load."""

_ID = re.compile("[0-9]{1,18}")
_WITH_LINES = re.compile("(.+):([0-9]{1,9}(?:-[0-9]{1,9})?)", re.DOTALL)

How = Literal["absent", "refused", "lost"]


class NoAnswer(Exception):  # noqa: N818 - reads as what happened
    """The server does not answer; the message says why."""

    def __init__(self, how: How, reason: str):
        """Say how: there is no such server, it refuses this one question, or it was there and is gone."""
        super().__init__(reason)
        self.how = how


class Served(Closing):
    """A collection of a running server. Not for several threads at once: it has one connection."""

    def __init__(self, server: Running, name: str):
        """Name the collection ``name`` of a server; nothing is asked yet."""
        self.server = server
        self.name = name
        self._line: Line | None = None
        self._known = False

    def close(self) -> None:
        """End the connection."""
        if self._line is not None:
            self._line.close()
        self._line = None

    def search(self, request: SearchRequest) -> Answer:
        """Return what ``Collection.search`` returns.

        Raises:
            NoAnswer: Whatever else happens: a collection that this process opens says better what is wrong.
        """
        return _answer(self._ask("POST", "/v1/search", {**request.to_dict(), "collection": self.name}))

    def similar(self, request: SimilarRequest) -> Answer:
        """Return what ``Collection.similar`` returns.

        Raises:
            NoAnswer: Whatever else happens.
        """
        body = {**request.to_dict(), "place": _placed(request.place), "collection": self.name}
        return _answer(self._ask("POST", "/v1/similar", body))

    def get(self, place: str, *, context: int = 0) -> Extract:
        """Return what ``Collection.get`` returns.

        Raises:
            NoAnswer: Whatever else happens.
        """
        from urllib.parse import urlencode

        placed, more = _placed(place), {"context": context, "collection": self.name}
        if _ID.fullmatch(placed):
            return _extract(self._ask("GET", f"/v1/passages/{placed}?{urlencode(more)}"))
        try:
            return _extract(self._ask("GET", f"/v1/documents?{urlencode({'path': placed, **more})}"))
        except NoAnswer as none:
            both = _WITH_LINES.fullmatch(placed)  # only now: the path of a file may end like this itself
            if none.how != "refused" or both is None:
                raise
            asked = urlencode({"path": both[1], "lines": both[2], **more})
            return _extract(self._ask("GET", f"/v1/documents?{asked}"))

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return the JSON object that the server answers with."""
        if not self._known:
            self._meet()
        code, values = self._exchange(method, path, body)
        if code != 200:
            error = values.get("error")
            message = error.get("message") if isinstance(error, dict) else None
            raise NoAnswer("refused", f"it answers {code}: {message}")
        return values

    def _meet(self) -> None:
        """Make sure that the file's server is the one that answers, before it is shown a token or a question."""
        code, values = self._exchange("GET", "/health")
        seen = {name: values.get(name) for name in ("version", "pid")}
        if seen != {"version": self.server.version, "pid": self.server.pid}:
            raise NoAnswer("absent", f"another program answers at its address: {code} {seen}")
        self._known = True

    def _exchange(self, method: str, path: str, body: Mapping[str, object] | None = None) -> tuple[int, dict[str, Any]]:
        """Send one request, and return the status and the JSON object that come back."""
        sent = None if body is None else json.dumps(body).encode()
        head = {"Content-Type": "application/json"} if sent else {}
        if self._known and self.server.token:
            head["Authorization"] = f"Bearer {self.server.token}"
        kept = self._line is not None
        try:
            try:
                return self._once(method, path, sent, head)
            except ConnectionError:
                self.close()
                if not kept:
                    raise
                return self._once(method, path, sent, head)  # a connection that was idle too long had been ended
        except (OSError, ValueError) as error:
            self.close()
            raise NoAnswer("lost" if self._known else "absent", f"{type(error).__name__}: {error}") from error

    def _once(self, method: str, path: str, body: bytes | None, head: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        if self._line is None:
            self._line = Line(self.server.host, self.server.port, CONNECTING)
        status, answer = self._line.ask(method, path, body, head, ANSWERING if self._known else MEETING)
        values = json.loads(answer)
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        return status, values


def _answer(values: Mapping[str, Any]) -> Answer:
    try:
        own = {each.name: values[each.name] for each in fields(Answer)}  # beside them, which collection was asked
        return Answer(**{**own, "hits": tuple(map(Hit.from_dict, own["hits"])), "notes": tuple(own["notes"])})
    except (KeyError, TypeError, ValueError) as error:
        raise NoAnswer("refused", f"it gives something else than hits: {error!r}") from error


def _extract(values: Mapping[str, Any]) -> Extract:
    from semsearch.search.showing.extract import Extract

    try:
        return Extract.from_dict(values)
    except (KeyError, TypeError, ValueError) as error:
        raise NoAnswer("refused", f"it gives something else than a text: {error!r}") from error


def _placed(place: str) -> str:
    """Return a place as another process understands it, whose working folder is another: an id, or absolute.

    Raises:
        NoAnswer: It is no text that can be sent.
    """
    try:
        place.encode()
        if _ID.fullmatch(place) and not os.path.lexists(place):
            return place
        return os.path.abspath(place)  # noqa: PTH100 - any text, links kept
    except ValueError as error:
        raise NoAnswer("refused", f"{place!r} is no text") from error
