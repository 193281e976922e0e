"""PPTX → text by slide: what stands on it, its speaker notes and comments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.corpus.blocks import Block, assemble_pages, first_heading
from indexer.corpus.office.container import attribute, children, descendants, first, local
from indexer.corpus.office.ooxml import Package, Relationship, drawing_text, plural
from indexer.corpus.titles import best
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_FURNITURE = frozenset(("sldNum", "dt", "ftr", "hdr", "sldImg"))
"""Placeholders that repeat on every slide, and the slide's picture on a notes page."""


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document whose pages are its slides."""
    package = Package(source.data(), "PPTX")
    show = _Show(package)
    try:
        assembled = assemble_pages([list(show.slide(name)) for name in show.slides()])
    except RecursionError as error:
        raise ReadError("not a readable PPTX: it is nested absurdly deep") from error
    left_out = [plural(show.pictures, "picture")] * bool(show.pictures) + package.left_out()
    notes.problems += package.container.problems()
    if left_out:
        notes.warnings.append(f"not read: {', '.join(left_out)}")
    if not assembled.text.strip():
        raise NothingToRead(f"no text on any slide: {'only ' + ', '.join(left_out) if left_out else 'nothing at all'}")
    title = best((package.title(), first_heading(assembled)))
    yield source.document(assembled.text, title=title, headings=assembled.headings, page_starts=assembled.page_starts)


class _Show:
    """One presentation."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.pictures = 0

    def slides(self) -> list[str]:
        """Return the names of the slides' parts, in the order in which they are shown."""
        main = self.package.main("ppt/presentation.xml")
        root = self.package.container.xml(main) if main else None
        if main is None or root is None:
            raise ReadError("not a readable PPTX: it holds no presentation")
        targets = {r.id: r.target for r in self.package.relationships(main) if r.type == "slide"}
        numbers = [node.attrib for node in descendants(root, "sldId")]
        # the element has its own id beside the relationship's, which stands in a namespace
        ids = [str(value) for a in numbers for key, value in a.items() if str(key).endswith("}id")]
        ordered = [targets[identifier] for identifier in ids if identifier in targets]
        return ordered or list(targets.values())

    def slide(self, name: str) -> Iterator[Block]:
        """Yield the blocks of one slide."""
        root = self.package.container.xml(name)
        if root is None:
            return
        relations = {relation.id: relation for relation in self.package.relationships(name)}
        yield from self._shapes(root, relations)
        for relation in relations.values():
            part = None if relation.external else self.package.container.xml(relation.target)
            if part is None:
                continue
            if relation.type == "notesslide":
                yield from (Block("paragraph", block.text) for block in self._shapes(part, {}))
            elif relation.type in ("comments", "comment"):
                for comment in descendants(part, "cm", "reply"):
                    yield Block("paragraph", _comment(comment))

    def _shapes(self, root: _Element, relations: dict[str, Relationship]) -> Iterator[Block]:
        """Yield the words of shapes, tables, charts and diagrams, in the slide's order."""
        stack = [root]
        while stack:
            node = stack.pop()
            name = local(node)
            if name == "AlternateContent":
                stack.append(next(children(node, "Choice", "Fallback"), node[0]) if len(node) else node)
            elif name == "sp":
                yield from _shape(node)
            elif name == "tbl":
                for row in children(node, "tr"):
                    cells = (" ".join(_paragraphs(cell)) for cell in children(row, "tc"))
                    yield Block("line", " | ".join(cell for cell in cells if cell.strip()))
            elif name in ("chart", "relIds"):
                relation = relations.get(attribute(node, "dm")) or _related(node, relations)
                part = self.package.container.xml(relation.target) if relation and not relation.external else None
                if part is not None:
                    yield Block("paragraph", drawing_text(part))
            else:
                if name == "pic":
                    self.pictures += 1
                if name in ("pic", "graphicFrame", "grpSp", "cxnSp"):
                    yield Block("paragraph", _alternative(node))
                stack.extend(reversed(node))


def _related(node: _Element, relations: dict[str, Relationship]) -> Relationship | None:
    """Return the relationship that an attribute in a namespace names."""
    return next((relations[str(v)] for k, v in node.attrib.items() if "}" in str(k) and str(v) in relations), None)


def _shape(shape: _Element) -> Iterator[Block]:
    placeholder = first(shape, "nvSpPr", "nvPr", "ph")
    kind = attribute(placeholder, "type") if placeholder is not None else ""
    if kind in _FURNITURE:
        return
    body = first(shape, "txBody")
    lines = list(_paragraphs(body)) if body is not None else []
    if kind in ("title", "ctrTitle"):
        yield Block("heading", " ".join(lines))
    elif any(line.strip() for line in lines):
        yield Block("paragraph", "\n".join(line for line in lines if line.strip()))
    else:
        yield Block("paragraph", _alternative(shape))


def _alternative(shape: _Element) -> str:
    """Return the alternative text of a shape."""
    for part in shape:
        if local(part).startswith("nv"):
            properties = first(part, "cNvPr")
            if properties is not None:
                return attribute(properties, "descr")
    return ""


def _paragraphs(element: _Element) -> Iterator[str]:
    """Yield the text of each paragraph."""
    for paragraph in descendants(element, "p"):
        parts = []
        for node in paragraph.iter():
            if local(node) == "t":
                parts.append(node.text or "")
            elif local(node) in ("br", "tab"):
                parts.append(" ")
        yield "".join(parts)


def _comment(comment: _Element) -> str:
    """Return the words of a comment, of the older or the newer kind."""
    words = [node.text or "" for node in children(comment, "text")]
    body = first(comment, "txBody")
    if body is not None:
        words += _paragraphs(body)
    text = " ".join(" ".join(words).split())
    return f"Comment: {text}" if text else ""
