"""Server: the application on an address, from the first connection to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from typing import TYPE_CHECKING

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from indexer.errors import SemsearchError, UsageError
from semsearch.service.app import build_app
from semsearch.service.guard import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from semsearch.service.service import Service

_LOG = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that wait to be accepted."""
RETRY_SECONDS = 2.0
"""Until a model that could not be loaded is tried again."""
HEAD_SECONDS = 20.0
"""For the head of a request to come in."""
GRACE_SECONDS = 30
"""For requests under way once the server is to stop."""


def bind(host: str, port: int, token: str | None) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UsageError: The address needs a token and there is none, or it cannot be listened on.
    """
    if token is None and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached from other machines, and the server has no token; give one with --token-file, or "
            "listen on 127.0.0.1"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only where it made the socket
        return listening
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {host} port {port}: {said}; give another --host or --port") from error


def address_of(listening: socket.socket) -> str:
    """Return where a socket can be asked, as http://HOST:PORT."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    service: Service, listening: socket.socket, started: Callable[[uvicorn.Server], object], hosts: Sequence[str] = ()
) -> None:
    """Answer requests until SIGTERM or SIGINT; those under way are answered first.

    Args:
        service: What is served.
        listening: As ``bind`` returns it; it is closed at the end.
        started: Called once connections are accepted, with what stops the server: set its ``should_exit``.
        hosts: Names by which the server may be called, beside the address it listens on.
    """
    app = build_app(service, [*hosts, listening.getsockname()[0]])
    config = uvicorn.Config(
        app, http=_Connection, ws="none", lifespan="on", log_config=None, access_log=False, server_header=False,
        date_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE_SECONDS,
    )  # fmt: skip
    asyncio.run(_Server(config, service, started).serve([listening]))


class _Connection(H11Protocol):
    """Closes itself where the head of a request does not come in: idle connections cost memory."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unexpect()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:  # there it is
            self._unexpect()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _unexpect(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Server(uvicorn.Server):
    """Says when it has started, and ends without a signal of its own."""

    def __init__(self, config: uvicorn.Config, service: Service, started: Callable[[uvicorn.Server], object]):
        super().__init__(config)
        self._service = service
        self._say_started = started
        self._warming: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._warming = asyncio.create_task(self._warm())
        self._say_started(self)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._warming is not None:
            self._warming.cancel()
        await super().shutdown(sockets)

    async def _warm(self) -> None:
        """Let a model answer, from time to time until one does."""
        while not self._service.ready:
            try:
                await asyncio.to_thread(self._service.warm)
            except SemsearchError as error:
                _LOG.debug("no model answers yet: %s", error)
            except Exception:  # whatever a library says: it is tried again, and health says that nothing is ready
                _LOG.exception("no model answers yet")
            if not self._service.ready:
                await asyncio.sleep(RETRY_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
        try:
            for number in signals:
                loop.add_signal_handler(number, self.handle_exit, number, None)
        except (RuntimeError, ValueError, NotImplementedError):  # not in the main thread
            signals = ()
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
