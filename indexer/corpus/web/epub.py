"""EPUB → text: the chapters in reading order, each read as the web page that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.corpus.blocks import Block, assemble, blocks_of
from indexer.corpus.office.container import Container, attribute, children, descendants, first, resolve
from indexer.corpus.titles import best
from indexer.corpus.web.charsets import decode_page
from indexer.corpus.web.html import read_page
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "image/svg+xml", "text/x-oeb1-document")


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the book as one document."""
    container = Container(source.data(), "EPUB")
    name, package = _package(container)
    blocks: list[Block] = []
    unread = empty = 0
    for chapter in _chapters(container, name, package):
        data = container.read(chapter)
        if data is None:
            unread += 1
            continue
        try:
            page, _ = read_page(decode_page(data, None, notes).text, xml=True, whole=True)
        except NothingToRead:
            empty += 1
            continue
        except ReadError as error:
            notes.problems.append(f"{chapter.rpartition('/')[2]}: {error}")
            continue
        blocks += [*blocks_of(page.text, page.headings), Block("end", "")]
    assembled = assemble(blocks)
    if unread:
        notes.problems.append(f"{unread} of its chapters are missing")
    if empty:
        notes.warnings.append(f"{empty} of its pages hold no text (pictures)")
    if not assembled.text:
        encrypted = "META-INF/encryption.xml" in container
        raise NothingToRead("no text in it: " + ("it is protected (DRM)" if encrypted else "only pictures"))
    title = next((node.text for node in descendants(package, "title")), None)
    yield source.document(assembled.text, title=best((title,)), headings=assembled.headings)


def _package(container: Container) -> tuple[str, _Element]:
    """Return the name and the root of the part that lists the book's parts."""
    root = container.optional_xml("META-INF/container.xml")
    names = [attribute(node, "full-path") for node in descendants(root, "rootfile")] if root is not None else []
    names += [name for name in container.names() if name.endswith(".opf")]
    for name in names:
        package = container.xml(name)
        if package is not None:
            return name, package
    raise ReadError("not a readable EPUB: it holds no list of its parts (.opf)")


def _chapters(container: Container, name: str, package: _Element) -> list[str]:
    """Return the parts of the book in reading order, without its table of contents."""
    pages: dict[str, str] = {}
    contents: set[str] = set()
    for item in descendants(package, "item"):
        identifier = attribute(item, "id")
        target = resolve(name, attribute(item, "href"))
        if "nav" in attribute(item, "properties").split():
            contents.add(target)
        elif attribute(item, "media-type") in _PAGES or target.endswith((".xhtml", ".html", ".htm")):
            pages[identifier] = target
    for reference in descendants(package, "reference"):
        if attribute(reference, "type").lower() == "toc":
            contents.add(resolve(name, attribute(reference, "href")))
    spine = first(package, "spine")
    order = (
        [pages.get(attribute(item, "idref"), "") for item in children(spine, "itemref")] if spine is not None else []
    )
    chapters = [chapter for chapter in order if chapter and chapter not in contents]
    return chapters or [page for page in pages.values() if page not in contents and page in container]
