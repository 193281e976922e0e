"""DOCX → text: the body with notes and comments where they are referred to, headers and footers behind it."""

from __future__ import annotations

import base64
import io
import zipfile
from dataclasses import replace
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

from indexer.corpus import readers
from indexer.corpus.blocks import Block, assemble, blocks_of, first_heading
from indexer.corpus.office.container import attribute, children, first, parse_xml
from indexer.corpus.office.ooxml import Package, Relationship, drawings
from indexer.corpus.office.wordml import Story, Styles
from indexer.corpus.titles import best
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

MAX_DEPTH = 3
"""Documents within documents that are read."""
_NOTE_PARTS = {"footnotes": "footnote", "endnotes": "endnote", "comments": "comment"}


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document."""
    data = source.data()
    if kind := _disguised(data):
        yield from readers.read_source(replace(source, stream=io.BytesIO(data), kind=kind), notes)
        return
    if b"<pkg:package" in data[:2000]:
        data = _unflattened(data)
    package = Package(data, "DOCX")
    try:
        document = _Word(package, source, notes)
        assembled = assemble(document.blocks(contents=False))
        if not assembled.text:
            assembled = assemble(document.blocks(contents=True))
    except RecursionError as error:
        raise ReadError("not a readable DOCX: it is nested absurdly deep") from error
    notes.problems += package.container.problems()
    left_out = document.left_out()
    if left_out:
        notes.warnings.append(f"not read: {', '.join(left_out)}")
    if not assembled.text:
        raise NothingToRead(f"no text in it: {'only ' + ', '.join(left_out) if left_out else 'nothing at all'}")
    title = best((package.title(), first_heading(assembled)))
    yield source.document(assembled.text, title=title, headings=assembled.headings)


def _disguised(data: bytes) -> str | None:
    """Return the kind of a file of another kind that Word opens under this name."""
    head = data[:1000].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if head.startswith((b"<!doctype html", b"<html")):
        return "html"
    if data.startswith(b"PK") and b"application/vnd.oasis.opendocument.text" in data[:200]:
        return "odt"
    return None


def _unflattened(data: bytes) -> bytes:
    """Return a package that was saved as one XML file, as a zip file."""
    from lxml import etree

    root = parse_xml(data, "not a readable DOCX: it")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for part in children(root, "part"):
            name = attribute(part, "name").lstrip("/")
            content, binary = first(part, "xmlData"), first(part, "binaryData")
            if content is not None and len(content):
                archive.writestr(name, etree.tostring(content[0]))
            elif binary is not None:
                archive.writestr(name, base64.b64decode(binary.text or ""))
    return out.getvalue()


class _Word:
    """One Word document: which parts it has, and the order in which they are read."""

    def __init__(self, package: Package, source: Source, notes: Notes) -> None:
        main = package.main("word/document.xml", "word/document2.xml")
        root = package.container.xml(main) if main else None
        body = next(children(root, "body"), None) if root is not None else None
        if main is None or body is None:
            raise ReadError("not a readable DOCX: it holds no Word document")
        self.package, self.source, self.notes = package, source, notes
        self.main, self.body = main, body
        self.relations = package.relationships(main)
        styles = next((r.target for r in self.relations if r.type == "styles"), "word/styles.xml")
        self.styles = Styles(package.container.optional_xml(styles))
        self.story: Story | None = None

    def blocks(self, *, contents: bool) -> Iterator[Block]:
        """Yield the blocks of all parts; ``contents`` keeps tables of contents."""
        story = self.story = Story(self, self.main, contents=contents)
        for kind, element_name in _NOTE_PARTS.items():
            for relation in self.relations:
                if relation.type == kind and (root := self.package.container.xml(relation.target)) is not None:
                    part = Story(self, relation.target, contents=True, counts=story.counts)
                    for note in children(root, element_name):
                        if attribute(note, "type") in ("", "normal"):
                            story.notes[element_name, attribute(note, "id")] = (part, note)
        yield from story.blocks(self.body)
        yield Block("end", "")
        for text in drawings(self.package, self._unplaced(story)):
            yield Block("paragraph", text)
        yield from story.unreferenced()
        yield from self._margins(story)

    def _unplaced(self, story: Story) -> list[Relationship]:
        """Return the relationships of charts and diagrams that no paragraph showed."""
        return [relation for relation in self.relations if relation.target not in story.drawn]

    def _margins(self, story: Story) -> Iterator[Block]:
        """Yield headers and footers, each wording once."""
        seen: set[str] = set()
        for relation in self.relations:
            if relation.type in ("header", "footer"):
                root = self.package.container.xml(relation.target)
                if root is None:
                    continue
                for block in Story(self, relation.target, contents=True, counts=story.counts).blocks(root):
                    words = " ".join(block.text.split())
                    if words not in seen and any(char.isalpha() for char in words):
                        seen.add(words)
                        yield Block("paragraph", block.text)

    def chunk(self, target: str) -> Iterator[Block]:
        """Yield the blocks of a file that is embedded to be shown in place (altChunk)."""
        data = self.package.container.read(target) or b""
        ending = target.rpartition(".")[2].lower()
        kind = {"htm": "html", "html": "html", "xhtml": "html", "rtf": "rtf", "txt": "text", "docx": "docx"}.get(ending)
        if ending in ("mht", "mhtml", "eml"):
            message = message_from_bytes(data, policy=policy.default)
            page = message.get_body(("html", "plain"))
            if page is None:
                return
            content = page.get_content()
            data, kind = content.encode(), "html" if page.get_content_subtype() == "html" else "text"
        kind = kind or _disguised(data) or ("docx" if data.startswith(b"PK") else "text")
        if self.source.depth >= MAX_DEPTH or not data.strip():
            return
        try:
            for document in readers.read_source(self.source.part(data, target, target, kind), self.notes):
                yield from blocks_of(document.text, document.headings)
        except ReadError as error:
            self.notes.problems.append(f"embedded {target.rpartition('/')[2]}: {error}")

    def left_out(self) -> list[str]:
        """Return what was not read, counted."""
        counted = self.story.counted() if self.story is not None else []
        return counted + self.package.left_out()
