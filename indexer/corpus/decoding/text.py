"""Bytes on disk → text: opened without traps, bounded, decoded with a reason where it cannot be."""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from indexer.errors import ReadError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SPECIAL = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISDIR: "a folder",
}


def special(mode: int) -> str | None:
    """What a path is, if it is no regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((name for test, name in _SPECIAL.items() if test(mode)), "something else than a file")


def explain(error: OSError) -> str:
    """The operating system's reason, with what to do about it."""
    if isinstance(error, FileNotFoundError):
        return "it vanished before it was read: run again"
    if isinstance(error, PermissionError):
        return "permission denied: make it readable for this user, or ignore it in .semsearchignore"
    return f"the operating system says: {error.strerror or error}"


@contextmanager
def opened(path: str) -> Iterator[io.BufferedReader]:
    """A regular file, open for reading; never blocks on a pipe or device that took its place.

    Raises ReadError where it cannot be opened or read, is no regular file, or was written to meanwhile.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        before = os.fstat(descriptor)
        if name := special(before.st_mode):
            os.close(descriptor)
            raise ReadError(f"it is {name}, not a file")
        with os.fdopen(descriptor, "rb") as stream:
            yield stream
            after = os.fstat(descriptor)
    except OSError as error:
        raise ReadError(explain(error)) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ReadError("it changed while it was read: run again when nothing writes to it")


def newlines(text: str) -> str:
    r"""``\r\n`` and ``\r`` become ``\n``, so that lines are counted one way everywhere."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def clean(text: str) -> str:
    """Extracted text as it can be tokenized and stored: NUL and lone surrogates become U+FFFD."""
    return newlines(_UNSTORABLE.sub("\ufffd", text))
