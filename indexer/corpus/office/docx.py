"""DOCX → text, with python-docx, once the zip file has proved harmless."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexer.corpus.formats import human
from indexer.corpus.text import assemble
from indexer.errors import ReadError

if TYPE_CHECKING:
    from lxml.etree import _Element

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

LARGEST_PART = 128 << 20
LARGEST_WHOLE = 512 << 20
"""Unpacked bytes; far above any real document."""
MOST_PARTS = 20_000

_BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document."""
    text, title = read_docx(source.data())
    yield source.document(text, title=title)


def read_docx(data: bytes) -> tuple[str, str | None]:
    """(text, title). Raises ReadError for what is no DOCX, is damaged, or would unpack to an absurd size."""
    _check_zip(data)
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError

    try:
        document = docx.Document(io.BytesIO(data))
        headings = _heading_styles(document.styles.element)
        blocks = list(_blocks(document.element.body, headings))
        title = document.core_properties.title
    except (OpcError, LxmlError, zipfile.BadZipFile, KeyError, ValueError, AttributeError) as error:
        raise ReadError(f"not a readable DOCX: {' '.join(str(error).split())[:200] or type(error).__name__}") from error
    text = assemble(blocks)
    if not text:
        raise ReadError("no text in it: only pictures, or nothing at all")
    return text, title or next((block for role, block in blocks if role == "heading" and block.strip()), None)


def _check_zip(data: bytes) -> None:
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise ReadError("not a DOCX but an encrypted or older Word file (.doc): save it as .docx without password")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            sizes = [part.file_size for part in parts]
            if len(parts) > MOST_PARTS or sum(sizes) > LARGEST_WHOLE or max(sizes, default=0) > LARGEST_PART:
                raise ReadError(
                    f"zip bomb: {human(len(data))} would unpack to {human(sum(sizes))} in {len(parts)} parts"
                )
            if any(part.flag_bits & 1 for part in parts):
                raise ReadError("encrypted: save a copy without password")
            unpacked = 0
            for part in parts:  # reading to the end also checks each part's checksum
                with archive.open(part) as stream:
                    while chunk := stream.read(1 << 20):
                        unpacked += len(chunk)
                        if unpacked > LARGEST_WHOLE:
                            raise ReadError(f"zip bomb: it unpacks to over {human(LARGEST_WHOLE)}, more than it says")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise ReadError(f"not a DOCX: it is no zip file, or damaged or cut off ({error})") from error


def _name(element: _Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""  # comments have no name


def _attribute(element: _Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _heading_styles(styles: _Element) -> frozenset[str]:
    """Identifiers of the styles that are headings, whatever the language of the word processor."""
    found = set()
    for style in styles:
        for part in style:
            if _name(part) == "name" and re.match(r"(?i)(heading \d|title$)", _attribute(part, "val")):
                found.add(_attribute(style, "styleId"))
    return frozenset(found)


def _blocks(body: _Element, headings: frozenset[str]) -> Iterator[tuple[str, str]]:
    """The body's paragraphs and table rows, in order, also those within content controls and insertions."""
    for child in body:
        name = _name(child)
        if name == "p":
            yield _role(child, headings), _text(child)
        elif name == "tbl":
            for row in child:
                cells = (_text(cell).replace("\n", " ").strip() for cell in row if _name(cell) in ("tc", "sdt"))
                yield "line", " | ".join(cell for cell in cells if cell)
        elif name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"):
            yield from _blocks(child, headings)


def _role(paragraph: _Element, headings: frozenset[str]) -> str:
    for properties in paragraph:
        if _name(properties) == "pPr":
            for part in properties:
                if _name(part) == "pStyle" and _attribute(part, "val") in headings:
                    return "heading"
                if _name(part) == "numPr":
                    return "line"
    return "paragraph"


def _text(element: _Element) -> str:
    """The text below an element: runs, links, insertions and text boxes, but nothing that was deleted.

    python-docx's own ``Paragraph.text`` leaves out insertions under review and text boxes."""
    parts: list[str] = []
    stack = [element]
    while stack:
        node = stack.pop()
        name = _name(node)
        if name == "t":
            parts.append(node.text or "")
        elif name in _BREAKS:
            parts.append(_BREAKS[name])
        elif name not in ("Fallback", "del", "moveFrom", "pPr", "rPr", "tcPr"):  # Fallback repeats a text box
            if name == "p" and parts:
                parts.append("\n")
            stack.extend(reversed(node))
    return "".join(parts)
