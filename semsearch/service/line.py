"""A connection to a server on which one asks after the other, in plain HTTP/1.1.

The standard library's client does more, and takes as long to import as a whole question may take to ask.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from indexer.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD = 65_536
"""Most bytes of an answer's head."""
PIECE = 65_536
"""Bytes that are read at once."""


class Line(Closing):
    """One connection. Not for several threads at once."""

    def __init__(self, host: str, port: int, seconds: float):
        """Connect, within some seconds.

        Raises:
            OSError: Nobody listens there.
        """
        self._host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._socket = socket.create_connection((host, port), seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def ask(
        self, method: str, path: str, body: bytes | None, head: Mapping[str, str], seconds: float
    ) -> tuple[int, bytes]:
        """Send one request and return the status and the body of the answer.

        Args:
            method: Such as GET.
            path: With what stands behind the question mark, escaped.
            body: None: there is none.
            head: Further headers.
            seconds: To wait for each piece of the answer.

        Raises:
            OSError: The connection is lost, or the answer takes too long.
            ValueError: What came back is no HTTP, or has no length.
        """
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self._host}",
            *(f"{name}: {each}" for name, each in head.items()),
        ]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        if any(sign in line for line in lines for sign in "\r\n\0"):
            raise ValueError("a header has a line end in it")
        self._socket.settimeout(seconds)
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        return self._answer()

    def _answer(self) -> tuple[int, bytes]:
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._more()
            if len(got) > HEAD and b"\r\n\r\n" not in got[:HEAD]:
                raise ValueError("the answer's head does not end")
        first, _, rest = got.partition(b"\r\n\r\n")
        said, *headers = first.decode("latin-1").split("\r\n")
        version, _, status = said.partition(" ")
        if not version.startswith("HTTP/1.") or not status[:3].isdecimal():
            raise ValueError(f"the answer begins with {said[:40]!r}")
        named = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in headers)}
        length = named.get("content-length", "")
        if not length.isdecimal() or len(length) > 18:
            raise ValueError("the answer does not say how long it is")
        pieces, missing = [rest], int(length) - len(rest)
        while missing > 0:
            pieces.append(self._more())
            missing -= len(pieces[-1])
        if missing < 0:
            raise ValueError("the answer is longer than it says")
        return int(status[:3]), b"".join(pieces)

    def _more(self) -> bytes:
        piece = self._socket.recv(PIECE)
        if not piece:
            raise ConnectionResetError("the server ended the connection")
        return piece
