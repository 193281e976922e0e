"""OpenDocument (ODT, ODS, ODP and their templates, also as one XML file) → text, by page for slides and sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.corpus.blocks import Assembled, Block, assemble, assemble_pages, first_heading
from indexer.corpus.office.container import (
    Container,
    attribute,
    children,
    descendants,
    first,
    local,
    parse_xml,
)
from indexer.corpus.office.ooxml import plural
from indexer.corpus.office.sheets import MAX_CELLS, blocks_of_sheet
from indexer.corpus.titles import best
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

MAX_CELL = 400
MAX_REPEATED = 1_000
"""Times that a repeated cell or row with text is read: a fill down a whole column says nothing more."""

_CONTAINERS = frozenset(
    "text section list list-item list-header index-body numbered-paragraph soft-page-break g group "
    "table-header-rows table-rows table-row-group page frame text-box custom-shape rect".split()
)
_INDEXES = frozenset(
    "table-of-content illustration-index table-index object-index user-index alphabetical-index bibliography".split()
)
_SHAPES = frozenset(("frame", "custom-shape", "rect", "ellipse", "line", "connector", "path", "polygon", "caption"))
_UNSEEN = frozenset(
    "tracked-changes sequence-decls variable-decls user-field-decls forms scripts event-listeners enhanced-geometry "
    "index-title-template note-citation ruby-text table-of-content-source".split()
)


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document; slides and sheets are its pages."""
    data = source.data()
    kind = f"ODF ({source.kind})"
    container = None if data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<") else Container(data, source.kind.upper())
    if container is None:
        flat = parse_xml(data, f"not a readable {kind}: it")
        content: _Element | None = flat
        styles: _Element | None = flat
        meta: _Element | None = flat
    else:
        if (manifest := container.read("META-INF/manifest.xml")) and b"encryption-data" in manifest:
            raise ReadError("encrypted: save a copy without password")
        content = container.xml("content.xml")
        styles, meta = container.optional_xml("styles.xml"), container.optional_xml("meta.xml")
    body = next(descendants(content, "body"), None) if content is not None else None
    if body is None:
        raise ReadError(f"not a readable {kind}: it holds no document")
    story = _Story()
    try:
        assembled = _assembled(story, body, styles)
    except RecursionError as error:
        raise ReadError(f"not a readable {kind}: it is nested absurdly deep") from error
    left_out = story.left_out() + ([] if container is None else _beside(container))
    notes.problems += [] if container is None else container.problems()
    if left_out:
        notes.warnings.append(f"not read: {', '.join(left_out)}")
    if not assembled.text.strip():
        raise NothingToRead(f"no text in it: {'only ' + ', '.join(left_out) if left_out else 'nothing at all'}")
    named = next(descendants(meta, "title"), None) if meta is not None else None
    title = best((named.text if named is not None else None, first_heading(assembled) if _is_text(body) else None))
    yield source.document(assembled.text, title=title, headings=assembled.headings, page_starts=assembled.page_starts)


def _is_text(body: _Element) -> bool:
    return first(body, "spreadsheet") is None


def _assembled(story: _Story, body: _Element, styles: _Element | None) -> Assembled:
    """Return the text of the body, by pages where it has slides or sheets."""
    if (sheets := first(body, "spreadsheet")) is not None:
        return assemble_pages([list(story.sheet(table)) for table in children(sheets, "table")])
    slides = first(body, "presentation")
    if slides is None:
        slides = first(body, "drawing")
    if slides is not None:
        return assemble_pages([list(story.slide(page)) for page in children(slides, "page")])
    blocks = list(story.blocks(body))
    if not any(block.text.strip() for block in blocks):  # nothing but a table of contents
        blocks = list(_Story(contents=True).blocks(body))
    return assemble([*blocks, Block("end", ""), *_margins(styles)])


def _margins(styles: _Element | None) -> Iterator[Block]:
    """Yield headers and footers, each wording once."""
    seen: set[str] = set()
    for page in () if styles is None else descendants(styles, "master-page"):
        for margin in page:
            if local(margin).startswith(("header", "footer")):
                for block in _Story().blocks(margin):
                    words = " ".join(block.text.split())
                    if words not in seen and any(char.isalpha() for char in words):
                        seen.add(words)
                        yield Block("paragraph", block.text)


def _beside(container: Container) -> list[str]:
    """Return what a file holds beside its text, counted."""
    names = list(container.names())
    objects = sum(name.startswith("object ") and name.endswith("/content.xml") for name in names)
    macros = any(name.startswith("basic/") and "/module" in name for name in names)
    return [plural(objects, "embedded object")] * bool(objects) + ["macros"] * macros


class _Story:
    """Reads blocks of OpenDocument elements and counts what it leaves out."""

    def __init__(self, *, contents: bool = False) -> None:
        """Prepare; ``contents`` keeps tables of contents."""
        self.contents = contents
        self.pictures = 0
        self.cells = 0
        self._after: list[Block] = []

    def left_out(self) -> list[str]:
        """Return what was not read, counted."""
        return [plural(self.pictures, "picture")] if self.pictures else []

    def taken(self) -> list[Block]:
        """Return and forget the notes that follow a paragraph."""
        after, self._after = self._after, []
        return after

    def blocks(self, container: _Element) -> Iterator[Block]:
        """Yield paragraphs, headings, list items and rows in order."""
        for child in container:
            name = local(child)
            if name == "h":
                level = attribute(child, "outline-level")
                yield Block("heading", self._text(child), int(level) if level.isdecimal() and level != "0" else 1)
                yield from self.taken()
            elif name == "p":
                role = "line" if local(container) in ("list-item", "list-header") else "paragraph"
                yield Block("line" if role == "line" else "paragraph", self._text(child))
                yield from self.taken()
            elif name == "table":
                yield from self._table(child)
            elif name in _INDEXES:
                if self.contents:
                    yield from self.blocks(child)
            elif name in _UNSEEN or not name:
                continue
            elif name in _SHAPES:
                yield from self._shape(child)
            elif name in _CONTAINERS or len(child):
                yield from self.blocks(child)

    def slide(self, page: _Element) -> Iterator[Block]:
        """Yield the blocks of a slide: its title, what stands on it, its notes."""
        for child in page:
            name = local(child)
            kind = attribute(child, "class")
            if name == "notes":
                for block in self.blocks(child):
                    yield Block("paragraph", block.text)
            elif kind == "title":
                yield Block("heading", " ".join(block.text for block in self.blocks(child)))
            elif kind in ("page-number", "date-time", "footer", "header", "page"):
                continue
            elif name in _SHAPES:
                yield from self._shape(child)
            elif name == "annotation":
                yield self._annotation(child)
            elif name not in _UNSEEN:
                yield from self.blocks(child)

    def sheet(self, table: _Element) -> Iterator[Block]:
        """Yield the blocks of a sheet: rows, then comments and what is drawn on it."""
        yield from blocks_of_sheet(attribute(table, "name"), self._rows(table))
        yield from self.taken()
        for shapes in children(table, "shapes"):
            yield from self.blocks(shapes)

    def _rows(self, table: _Element) -> Iterator[list[str]]:
        for row in self._within(table, "table-row"):
            values: list[str] = []
            for cell in self._within(row, "table-cell", "covered-table-cell"):
                text = self._cell(cell)
                repeated = attribute(cell, "number-columns-repeated")
                count = min(int(repeated), MAX_REPEATED) if repeated.isdecimal() else 1
                values += [text] * count
            while values and not values[-1]:
                values.pop()
            repeated = attribute(row, "number-rows-repeated")
            count = min(int(repeated), MAX_REPEATED) if values and repeated.isdecimal() else 1
            self.cells += len(values) * count
            if self.cells > MAX_CELLS:
                raise ReadError(f"more than {MAX_CELLS:,} cells: save its sheets as CSV files")
            for _ in range(count):
                yield values

    def _cell(self, cell: _Element) -> str:
        """Return what a cell shows; a comment on it goes to the end of the sheet."""
        lines = []
        for child in cell:
            if local(child) == "annotation":
                self._after.append(self._annotation(child))
            elif local(child) in ("p", "h"):
                lines.append(self._text(child))
            elif local(child) in _SHAPES:
                self._after += list(self._shape(child))
        return " ".join(lines) or attribute(cell, "string-value") or attribute(cell, "value")

    def _table(self, table: _Element) -> Iterator[Block]:
        for row in self._within(table, "table-row"):
            cells = [list(self.blocks(cell)) for cell in self._within(row, "table-cell")]
            if any(
                sum(len(b.text) for b in cell) > MAX_CELL or any(b.role == "heading" for b in cell) for cell in cells
            ):
                for cell in cells:
                    yield from cell
            else:
                lines = (" ".join(" ".join(block.text for block in cell).split()) for cell in cells)
                yield Block("line", " | ".join(line for line in lines if line))

    def _within(self, element: _Element, *wanted: str) -> Iterator[_Element]:
        for child in element:
            if local(child) in wanted:
                yield child
            elif local(child) in ("table-header-rows", "table-rows", "table-row-group", "table-header-columns"):
                yield from self._within(child, *wanted)

    def _shape(self, shape: _Element) -> Iterator[Block]:
        """Yield the words of a frame or drawn shape, or its alternative text."""
        self.pictures += sum(local(part) == "image" for part in shape) > 0
        inner = [block for block in self.blocks(shape) if block.text.strip()]
        yield from inner
        for name in ("desc", "title"):
            part = first(shape, name)
            if part is not None and (part.text or "").strip():
                yield Block("paragraph", part.text or "")
                break

    def _annotation(self, annotation: _Element) -> Block:
        author = next((part.text for part in children(annotation, "creator")), None)
        lines = [self._text(part) for part in descendants(annotation, "p")]
        words = " ".join(line for line in lines if line.strip())
        return Block("paragraph", f"Comment{f' ({author})' if author else ''}: {words}" if words else "")

    def _text(self, element: _Element) -> str:
        """Return the text of a paragraph; notes, comments and frames within go to ``_after``."""
        parts = [element.text or ""]
        for child in element:
            name = local(child)
            if name == "s":
                count = attribute(child, "c")
                parts.append(" " * (min(int(count), 100) if count.isdecimal() else 1))
            elif name == "tab":
                parts.append("\t")
            elif name == "line-break":
                parts.append("\n")
            elif name == "note":
                note = first(child, "note-body")
                if note is not None:
                    self._after += [Block("paragraph", block.text) for block in self._apart(note)]
            elif name == "annotation":
                self._after.append(self._annotation(child))
            elif name in _SHAPES or name == "g":
                outer, self._after = self._after, []
                inner = list(self._shape(child))
                self._after = outer + inner + self._after
            elif name == "ruby":
                base, above = first(child, "ruby-base"), first(child, "ruby-text")
                parts.append(self._text(base) if base is not None else "")
                parts.append(f"({self._text(above)})" if above is not None and (above.text or "") else "")
            elif name and name not in _UNSEEN:
                parts.append(self._text(child))
            parts.append(child.tail or "")
        return "".join(parts)

    def _apart(self, element: _Element) -> list[Block]:
        """Return the blocks of an element that stands within a paragraph."""
        outer, self._after = self._after, []
        blocks = list(self.blocks(element))
        self._after = outer
        return blocks
