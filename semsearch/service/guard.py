"""Guard: every request passes it first — who is called (Host), who calls (Origin, token), and how much is sent."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from semsearch.service import faults, page
from semsearch.service.faults import Refusal
from semsearch.service.routes.route import SCOPE_ROUTE, answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from semsearch.service.service import Service

OWN_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN = frozenset({"/", "/health"})
"""Paths that need no token, beside the page's files: they say nothing of anybody's documents."""

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Of every answer."""


class Guard:
    """ASGI middleware; what it refuses never reaches a route."""

    def __init__(self, app: ASGIApp, service: Service, hosts: Sequence[str] = ()):
        """Stand before an application.

        Args:
            app: The application.
            service: Has the token and the limits.
            hosts: Names and addresses by which the server may be called, beside those of the machine itself.
        """
        self.app = app
        self.service = service
        self.hosts = OWN_NAMES | {each.lower() for each in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or let it through."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        begun, status = time.perf_counter(), 499

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self._pass(scope, receive, with_headers)
        finally:
            seconds = time.perf_counter() - begun
            self.service.metrics.request(scope.get("method", ""), scope.get(SCOPE_ROUTE), status, seconds)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self.service.limits
        try:
            self._check(scope)
            body = Body(receive, Headers(scope=scope), limits.body_bytes, limits.body_seconds)
            body.check_announced()
        except Refusal as refusal:
            await answer(faults.value_of(refusal), refusal.status, refusal.headers)(scope, receive, send)
            return
        await self.app(scope, body, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or name_of(host) not in self.hosts:
            raise Refusal(421, "ForeignHost", f"this server is not {host!r}; call it by the address that it printed")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            raise Refusal(403, "ForeignOrigin", f"pages of {origin!r} may not ask this server")
        if self.service.token is not None and not is_open(scope["path"]):
            scheme, _, shown = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not same(shown.strip(), self.service.token):
                raise Refusal(
                    401,
                    "TokenNeeded",
                    "the token is missing or wrong; send it as: Authorization: Bearer TOKEN",
                    {"www-authenticate": "Bearer"},
                )


class Body:
    """What a request's body comes in through: bounded in size, and in time until it is whole."""

    def __init__(self, receive: Receive, headers: Headers, most: int, seconds: float):
        """Bound a body to ``most`` bytes and ``seconds``."""
        self._receive = receive
        self._announced = headers.get("content-length", "0")
        self._most = most
        self._seconds = seconds
        self._read = 0
        self._whole = False
        self._until: float | None = None

    def check_announced(self) -> None:
        """Raise Refusal where more is announced than may come."""
        if not self._announced.isdecimal() or len(self._announced) > 18 or int(self._announced) > self._most:
            raise self._too_large()

    async def __call__(self) -> Message:
        """Return the next message, as ``receive`` does."""
        if self._whole:
            return await self._receive()
        clock = asyncio.get_running_loop()
        self._until = clock.time() + self._seconds if self._until is None else self._until
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError as error:
            raise Refusal(
                408, "BodyTooSlow", f"the body did not come in within {self._seconds:g} s; send it faster",
                {"connection": "close"},
            ) from error  # fmt: skip
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._read > self._most:
                raise self._too_large()
        return message

    def _too_large(self) -> Refusal:
        said = f"the body is larger than {self._most} bytes; send less at once"
        return Refusal(413, "BodyTooLarge", said, {"connection": "close"})


def name_of(host: str) -> str:
    """Return the name or address in a Host header, without its port and in lower case."""
    if host.startswith("["):
        address, end, port = host[1:].partition("]")
        return address.lower() if end and (not port or (port[0] == ":" and port[1:].isdecimal())) else ""
    name, colon, port = host.partition(":")
    return name.lower().removesuffix(".") if not colon or port.isdecimal() else ""


def same(shown: str, token: str) -> bool:
    """Return whether a token is the right one, in a time that does not depend on how much of it is right."""
    return hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), token.encode())


def is_open(path: str) -> bool:
    """Return whether a path needs no token."""
    return path in OPEN or path.startswith(page.ADDRESS)


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
