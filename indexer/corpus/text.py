"""Bytes on disk → text: opened without traps, bounded, decoded with a reason where it cannot be."""

from __future__ import annotations

import codecs
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from indexer.corpus.formats import human
from indexer.errors import ReadError

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


def load(stream: BinaryIO, max_bytes: int) -> bytes:
    """All bytes of a stream. Raises ReadError for more than ``max_bytes`` of them, and for none."""
    data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ReadError(f"it is larger than {human(max_bytes)}: split it, or raise the limit with --max-bytes")
    if not data:
        raise ReadError("it is empty")
    return data


def decode(data: bytes) -> str:
    """Text of UTF-8 bytes (with or without byte order mark), or UTF-16 with one; line ends become ``\\n``.

    Raises ReadError naming the first byte that does not fit.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
        at = data.find(b"\0")
        if at >= 0:
            raise ReadError(f"NUL byte at offset {at} ({_line(data, at)}): it is not text, or damaged")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ReadError(invalid(data, error)) from error
    return newlines(text)


def invalid(data: bytes, error: UnicodeDecodeError) -> str:
    """Why bytes are no text, for a person."""
    # utf-8-sig counts from behind the byte order mark
    start = error.start + (3 if data.startswith(codecs.BOM_UTF8) and len(error.object) < len(data) else 0)
    name = "UTF-16" if error.encoding.startswith("utf-16") else "UTF-8"
    return (
        f"invalid {name}: byte 0x{data[start]:02x} at offset {start} ({_line(data, start)}): "
        "convert it, for example with iconv -f latin1 -t utf-8"
    )


def _line(data: bytes, offset: int) -> str:
    return f"line {data.count(bytes([10]), 0, offset) + 1}"


def newlines(text: str) -> str:
    r"""``\r\n`` and ``\r`` become ``\n``, so that lines are counted one way everywhere."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def clean(text: str) -> str:
    """Extracted text as it can be tokenized and stored: NUL and lone surrogates become U+FFFD."""
    return newlines(_UNSTORABLE.sub("\ufffd", text))


def assemble(blocks: Iterable[tuple[str, str]]) -> str:
    """Text of extracted (role, text) blocks, roles "heading", "paragraph" and "line" (a list item, a table's row).

    Lines follow each other closely, a blank line parts the rest, and two blank lines stand before each heading and
    nowhere else: the splitter cuts there.
    """
    text: list[str] = []
    before = ""
    for role, block in blocks:
        block = re.sub(r"\n[ \t]*(?=\n)", "\n", clean(block).strip("\n"))
        block = re.sub(r"\n{3,}", "\n\n", block).rstrip()
        if not block.strip():
            continue
        if role == "heading":
            block = " ".join(block.split())
        gap = "\n\n\n" if role == "heading" else "\n" if role == before == "line" else "\n\n"
        text += [gap if text else "", block]
        before = role
    return "".join(text)
