"""Zip containers of documents (OOXML, OpenDocument, EPUB): opened safely, parts found as office programs find them."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from typing import TYPE_CHECKING
from urllib.parse import unquote

from indexer.corpus.formats import human
from indexer.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

MAX_PART = 128 << 20
MAX_WHOLE = 512 << 20
"""Unpacked bytes; far above any real document."""
MAX_PARTS = 20_000
MAX_DEPTH = 2_000
"""Elements of an XML part open at once; lxml frees deeper trees by recursion."""

_OLE = b"\xd0\xcf\x11\xe0"


class Container:
    """A zip file of named parts. Names are compared without case and with either slash, as Windows does."""

    def __init__(self, data: bytes, what: str) -> None:
        """Open a container and read every part once, which checks sizes and checksums.

        Args:
            data: The file.
            what: What it should be, for messages: "DOCX".

        Raises:
            ReadError: It is none, is encrypted or damaged, or would unpack to an absurd size.
        """
        if data.startswith(_OLE):
            raise ReadError(
                f"not a {what} but an encrypted file or one of an older office program: save it as {what.lower()} "
                "without password"
            )
        self.what = what
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            self._check(len(data))
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            OSError,
            ValueError,
            UnicodeDecodeError,
        ) as error:
            raise ReadError(f"not a {what}: it is no zip file, or damaged or cut off ({error})") from error
        self._parts = {_key(part.filename): part for part in reversed(self._zip.infolist())}

    def _check(self, size: int) -> None:
        parts = self._zip.infolist()
        sizes = [part.file_size for part in parts]
        if len(parts) > MAX_PARTS or sum(sizes) > MAX_WHOLE or max(sizes, default=0) > MAX_PART:
            raise ReadError(f"zip bomb: {human(size)} would unpack to {human(sum(sizes))} in {len(parts)} parts")
        if any(part.flag_bits & 1 for part in parts):
            raise ReadError("encrypted: save a copy without password")
        unpacked = 0
        for part in parts:  # reading to the end also checks each part's checksum
            with self._zip.open(part) as stream:
                while chunk := stream.read(1 << 20):
                    unpacked += len(chunk)
                    if unpacked > MAX_WHOLE:
                        raise ReadError(f"zip bomb: it unpacks to over {human(MAX_WHOLE)}, more than it says")

    def names(self) -> Iterator[str]:
        """Yield the names of all parts in lower case, with forward slashes."""
        yield from self._parts

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._parts

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a part; None where there is none of that name."""
        part = self._parts.get(_key(name))
        return None if part is None else self._zip.read(part)

    def xml(self, name: str) -> _Element | None:
        """Return the root element of an XML part; None where there is none, or nothing in it.

        Raises:
            ReadError: The part is no XML, or absurdly deep.
        """
        data = self.read(name)
        if data is None:
            return None
        return parse_xml(data, f"not a readable {self.what}: {name}")


def parse_xml(data: bytes, what: str) -> _Element | None:
    """Return the root element of XML; slightly damaged XML is mended.

    Nothing is fetched, and entities that the XML itself defines are left as they are.

    Raises:
        ReadError: It cannot be read; the message begins with ``what``.
    """
    from lxml import etree

    options = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": True}
    try:
        root = etree.fromstring(data, etree.XMLParser(**options))
    except (etree.LxmlError, ValueError):
        try:
            root = etree.fromstring(data, etree.XMLParser(recover=True, **options))
        except (etree.LxmlError, ValueError) as error:
            raise ReadError(f"{what} is no XML: {' '.join(str(error).split())[:200]}") from error
    if root is not None and _depth(root) > MAX_DEPTH:
        raise ReadError(f"{what} has more than {MAX_DEPTH:,} elements open at once: it is damaged, or made to hang")
    return root


def _depth(root: _Element) -> int:
    deepest = depth = 0
    stack = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        if deepest > MAX_DEPTH:
            break
        stack.extend((child, depth + 1) for child in node)
    return deepest


def resolve(base: str, target: str) -> str:
    """Return the name of the part that ``target`` means within the part ``base``."""
    target = unquote(target.partition("#")[0]).replace("\\", "/")
    if target.startswith("/"):
        return target.lstrip("/")
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), target)).lstrip("/")


def local(element: _Element) -> str:
    """Return an element's name without its namespace; empty for comments and their like."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: _Element, name: str) -> str:
    """Return the value of an attribute of that name in any namespace, or an empty string."""
    value = element.get(name)
    if value is not None:
        return value
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def children(element: _Element, *names: str) -> Iterator[_Element]:
    """Yield the child elements of these names."""
    return (child for child in element if local(child) in names)


def descendants(element: _Element, *names: str) -> Iterator[_Element]:
    """Yield the elements of these names at any depth, in order."""
    return (node for node in element.iter() if local(node) in names)


def first(element: _Element | None, *path: str) -> _Element | None:
    """Return the first element at the end of a path of names."""
    for name in path:
        if element is None:
            return None
        element = next(children(element, name), None)
    return element


def _key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").lower()
