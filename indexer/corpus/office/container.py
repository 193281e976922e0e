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
                f"not a {what} but an encrypted file or one of an older office program: save it as "
                f".{what.lower()} without password"
            )
        self.what = what
        self.damaged: list[str] = []
        """Parts that were damaged and read in part."""
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
        """Return whether there is a part of this name."""
        return _key(name) in self._parts

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a part; None where there is none of that name."""
        part = self._parts.get(_key(name))
        return None if part is None else self._zip.read(part)

    def xml(self, name: str) -> _Element | None:
        """Return the root element of an XML part; None where there is none, or nothing in it.

        A damaged part is read as far as it can be and named in ``damaged``.

        Raises:
            ReadError: The part is no XML, or absurdly deep.
        """
        data = self.read(name)
        if data is None or not data.strip():
            return None
        try:
            return parse_xml(data, f"not a readable {self.what}: {name}")
        except DamagedXml as error:
            if name not in self.damaged:
                self.damaged.append(name)
            return error.mended

    def optional_xml(self, name: str) -> _Element | None:
        """Return the root element of a part that holds no text (relationships, styles); None where it is of no use."""
        data = self.read(name)
        try:
            return parse_xml(data, name) if data and data.strip() else None
        except DamagedXml as error:
            return error.mended
        except ReadError:
            return None

    def problems(self) -> list[str]:
        """Return what is to be said of damaged parts."""
        return [f"{name} is damaged: some of its text may be missing" for name in self.damaged]


class DamagedXml(ReadError):  # noqa: N818 - reads as what it is
    """XML that is damaged and could be read in part."""

    def __init__(self, message: str, mended: _Element) -> None:
        """Keep ``mended``, the root of what could be read."""
        super().__init__(message)
        self.mended = mended


def parse_xml(data: bytes, what: str) -> _Element:
    """Return the root element of XML.

    Nothing is fetched, and entities that the XML itself defines are left as they are.

    Raises:
        DamagedXml: It is damaged, and holds what could be read of it.
        ReadError: It cannot be read; the message begins with ``what``.
    """
    from lxml import etree

    def parse(recover: bool) -> _Element | None:
        return etree.fromstring(
            data,
            etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, recover=recover),
        )

    damage: Exception | None = None
    try:
        root = parse(recover=False)
    except (etree.LxmlError, ValueError) as error:
        damage = error
        try:
            root = parse(recover=True)
        except (etree.LxmlError, ValueError):
            root = None
    if root is None:
        raise ReadError(f"{what} is no XML: {' '.join(str(damage).split())[:200]}") from damage
    if _depth(root) > MAX_DEPTH:
        raise ReadError(f"{what} has more than {MAX_DEPTH:,} elements open at once: it is damaged, or made to hang")
    if damage is not None:
        raise DamagedXml(f"{what} is damaged", root) from damage
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
    if (value := element.get(name)) is not None:
        return value
    return next((str(value) for key, value in element.attrib.items() if str(key).rpartition("}")[2] == name), "")


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
