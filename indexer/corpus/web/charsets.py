"""Bytes of a web page → text, with encoding labels as browsers understand them.

Source: the WHATWG Encoding Standard (labels) and HTML Standard, section "determining the character encoding".
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, NamedTuple

import webencodings

from indexer.corpus.decoding import encodings
from indexer.corpus.decoding.text import newlines
from indexer.errors import ReadError

if TYPE_CHECKING:
    from indexer.types import Notes

HEAD_BYTES = 4096
"""Bytes in which a page declares its encoding. Browsers look at 1,024 first and at more where they must."""

_COMMENT = re.compile(rb"<!--.*?(?:-->|$)", re.DOTALL)
_META = re.compile(rb"<meta\b[^>]*?\bcharset\s*=\s*[\"']?\s*([^\s\"'/>;]+)", re.IGNORECASE)
_XML = re.compile(rb"^\s*<\?xml\b[^>]*?\bencoding\s*=\s*[\"']\s*([^\s\"'>]+)")
_STYLES = re.compile(rb"^\s*@charset\s+\"([^\"]+)\"")
_UTF16 = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}

_CODECS = {
    "big5": "big5hkscs",
    "euc-kr": "cp949",
    "gbk": "gb18030",
    "iso-8859-8-i": "iso-8859-8",
    "macintosh": "mac-roman",
    "shift_jis": "cp932",
    "windows-874": "cp874",
    "x-mac-cyrillic": "mac-cyrillic",
    "x-user-defined": "windows-1252",  # the HTML Standard's own rule for <meta>
    "utf-16be": "utf-8",  # likewise: who can read the label reads no UTF-16
    "utf-16le": "utf-8",
}
"""Name by the Encoding Standard → Python's codec that decodes as browsers do, where it has another name."""
_EXTENDED = {"euc-jp": "euc_jisx0213", "iso-2022-jp": "iso2022_jp_3", "euc-kr": "johab"}
"""Codecs that know further characters, for text that the plain codec cannot decode."""
_REPLACED = {"iso-2022-kr": "iso2022_kr", "csiso2022kr": "iso2022_kr", "hz-gb-2312": "hz"}
"""Labels that browsers refuse, for safety, and whose text can be read all the same."""
_MULTIBYTE = frozenset(("big5", "euc-jp", "euc-kr", "gb18030", "gbk", "iso-2022-jp", "shift_jis"))


class Decoded(NamedTuple):
    """The text of a page."""

    text: str
    encoding: str


def decode_page(data: bytes, override: str | None = None, notes: Notes | None = None) -> Decoded:
    """Return the text of a page in the encoding that a browser takes.

    A page that declares a one-byte encoding and is valid UTF-8 with more than ASCII in it is taken for UTF-8: its
    label is wrong.

    Args:
        data: The page.
        override: An encoding that the person named, over everything that the page says.
        notes: Takes a warning where the encoding is a guess or characters do not fit it.

    Raises:
        ReadError: It is no text, or the encoding that the person named does not fit.
    """
    label = None if override else _declared(data)
    known = webencodings.lookup(label) if label else None
    name = known.name if known else None
    if label and (name == "replacement" or name is None):
        codec = _REPLACED.get(label)
    else:
        codec = _CODECS.get(name, name) if name else None
    if label is None or codec is None or _has_mark(data):
        try:
            text, encoding = encodings.decode(data, label, override, notes)
        except ReadError:
            if override or label or b"\0" in data:
                raise
            codec, name = "windows-1252", "windows-1252"  # what browsers take where nothing is said
            if notes is not None:
                notes.warnings.append("it declares no encoding: read as windows-1252, as browsers do")
        else:
            return Decoded(text, encoding)
    if name not in _MULTIBYTE and _is_utf8(data):
        codec = "utf-8"
    text, replaced = _decode(data, codec, _EXTENDED.get(name or ""))
    if replaced and notes is not None:
        notes.warnings.append(f"{replaced:,} characters do not fit its encoding ({label})")
    return Decoded(newlines(text), codec)


def _has_mark(data: bytes) -> bool:
    return data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE))


def _declared(data: bytes) -> str | None:
    """Return the label by which the page declares its encoding, in lower case."""
    if found := _UTF16.get(data[:2]):
        head = data[:HEAD_BYTES].decode(found, "replace").encode("ascii", "replace")
        return found if b"<html" in head.lower() or b"<?xml" in head or b"<!doc" in head.lower() else None
    head = _COMMENT.sub(b"", data[:HEAD_BYTES])
    match = _META.search(head) or _XML.match(head) or _STYLES.match(head)
    return match[1].decode("ascii", "replace").strip().lower() if match else None


def _is_utf8(data: bytes) -> bool:
    try:
        return not data.decode("utf-8").isascii()
    except UnicodeDecodeError:
        return False


def _decode(data: bytes, codec: str, extended: str | None) -> tuple[str, int]:
    """Return the text and the number of characters that could not be decoded."""
    for strict in (codec, extended):
        if strict:
            try:
                return data.decode(strict), 0
            except UnicodeDecodeError:
                pass
    if codec.startswith(("windows-125", "cp874")):  # bytes without meaning are C1 controls to a browser
        text = data.decode(codec, "surrogateescape")
        return "".join(chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in text), 0
    if _is_utf8(data):
        return data.decode("utf-8"), 0
    text = data.decode(codec, "replace")
    return text, text.count("\ufffd")
