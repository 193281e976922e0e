"""Bytes → text: by what a file declares about itself, its byte order mark, UTF-8, or a detector."""

from __future__ import annotations

import codecs

from indexer.corpus.text import newlines
from indexer.errors import ReadError


def decode(data: bytes, declared: str | None = None, override: str | None = None) -> tuple[str, str]:
    """Return the text of bytes, with line ends as ``\\n``, and the name of the encoding that was used."""
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
    return newlines(text), encoding


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
