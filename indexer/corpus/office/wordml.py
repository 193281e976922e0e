"""WordprocessingML → blocks: the text of one part of a Word document as Word shows it, changes accepted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from indexer.corpus.blocks import Block
from indexer.corpus.office.container import attribute, children, descendants, first, local
from indexer.corpus.office.ooxml import Package, drawing_text, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lxml.etree import _Element

    from indexer.corpus.blocks import Role

MAX_CELL = 400
"""Characters of a table's cell that is put into one line with its row."""

_TRANSPARENT = frozenset(("sdtContent", "ins", "moveTo", "customXml", "smartTag", "dir", "bdo"))
_REMOVED = frozenset(("del", "moveFrom"))
_CHARACTERS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_PROPERTIES = frozenset(
    "pPr rPr tcPr trPr tblPr tblPrEx tblGrid sectPr sdtPr sdtEndPr smartTagPr customXmlPr rubyPr instrText "
    "delInstrText delText annotationRef footnoteRef endnoteRef".split()
)
_HEADING_NAME = re.compile(r"(?i)heading (\d)$|(sub)?title$")
_CONTENTS_NAME = re.compile(r"(?i)toc (?:\d|heading)$|table of figures$|toa heading$|table of authorities$")
_OBJECTS = frozenset("docPr cNvPr shape textpath imagedata blip relIds chart sym subDoc".split())
_OFF = frozenset(("0", "false", "off"))


class Holder(Protocol):
    """The document to which a part belongs."""

    package: Package
    styles: Styles

    def chunk(self, target: str) -> Iterator[Block]:
        """Yield the blocks of an embedded file that is shown in place."""


class Styles:
    """Which styles of a document are headings or lines of a table of contents, whatever they are called in it."""

    def __init__(self, root: _Element | None) -> None:
        """Read the styles part; None: there is none."""
        self.levels: dict[str, int] = {}
        self.contents: set[str] = set()
        based: dict[str, str] = {}
        for style in () if root is None else children(root, "style"):
            identifier = attribute(style, "styleId")
            name = first(style, "name")
            named = attribute(name, "val") if name is not None else ""
            if match := _HEADING_NAME.match(named):
                self.levels[identifier] = int(match[1] or (2 if match[2] else 1))
            elif _CONTENTS_NAME.match(named):
                self.contents.add(identifier)
            elif (level := _outline(first(style, "pPr"))) is not None:
                self.levels[identifier] = level
            if (base := first(style, "basedOn")) is not None:
                based[identifier] = attribute(base, "val")
        for identifier in based:
            self._inherit(identifier, based)

    def _inherit(self, identifier: str, based: dict[str, str]) -> None:
        chain = [identifier]
        while (above := based.get(chain[-1])) is not None and above not in chain:
            chain.append(above)
            if above in self.contents:
                self.contents.add(identifier)
                return
            if above in self.levels and identifier not in self.contents:
                self.levels.setdefault(identifier, self.levels[above])
                return


class Counts:
    """What a document holds beside text."""

    def __init__(self) -> None:
        """Begin at none."""
        self.pictures = self.hidden = self.subdocuments = 0


class Story:
    """Reads the blocks of one part: the body, the notes, a header."""

    def __init__(self, holder: Holder, part: str, *, contents: bool, counts: Counts | None = None) -> None:
        """Prepare for one part.

        Args:
            holder: The document.
            part: Name of the part, within which relationships are looked up.
            contents: Keep tables of contents.
            counts: Adds to these.
        """
        self.holder = holder
        self.relations = {relation.id: relation for relation in holder.package.relationships(part)}
        self.contents = contents
        self.counts = counts or Counts()
        self.notes: dict[tuple[str, str], tuple[Story, _Element]] = {}
        """(kind, identifier) → the part's story and the note."""
        self.referenced: set[tuple[str, str]] = set()
        self.drawn: set[str] = set()
        self._fields: list[str] = []  # stages of the open fields: "code" or "result"
        self._after: list[Block] = []  # text boxes and notes, to follow the paragraph that they belong to
        self._held = ""  # text before a paragraph mark that was deleted

    def counted(self) -> list[str]:
        """Return what was left out."""
        pairs = (
            (self.counts.pictures, "picture"),
            (self.counts.hidden, "hidden passage"),
            (self.counts.subdocuments, "linked document"),
        )
        return [plural(count, name) for count, name in pairs if count]

    def blocks(self, container: _Element) -> Iterator[Block]:
        """Yield paragraphs and table rows in order, also those within content controls and insertions."""
        for child in container:
            name = local(child)
            if name == "p":
                yield from self._paragraph(child)
            elif name == "tbl":
                yield from self._table(child)
            elif name == "sdt":
                if not self._skipped(child):
                    yield from self.blocks(child)
            elif name in _TRANSPARENT:
                yield from self.blocks(child)
            elif name == "AlternateContent":
                yield from self.blocks(_chosen(child))
            elif name == "altChunk":
                relation = self.relations.get(attribute(child, "id"))
                if relation is not None and not relation.external:
                    yield from self.holder.chunk(relation.target)
            elif name in ("r", "t", "hyperlink", "drawing", "pict", "oMath", "oMathPara", "fldSimple"):
                text = self._text([child])  # misplaced, but shown
                yield Block("paragraph", text)
                yield from self._taken()

    def unreferenced(self) -> Iterator[Block]:
        """Yield the notes and comments that no text refers to."""
        for key in self.notes:
            if key not in self.referenced:
                yield from self._note(*key)

    def _paragraph(self, paragraph: _Element) -> Iterator[Block]:
        properties = first(paragraph, "pPr")
        style = first(properties, "pStyle")
        named = attribute(style, "val") if style is not None else ""
        text = self._held + self._text(paragraph)
        self._held = ""
        self._fields = [stage for stage in self._fields if stage != "code"]  # an unfinished one must hide no more
        if first(properties, "rPr", "del") is not None:
            self._held = text
        elif self.contents or named not in self.holder.styles.contents:
            role: Role = "paragraph"
            level = _outline(properties)
            if level is None:
                level = self.holder.styles.levels.get(named)
            if level is not None:
                role = "heading"
            elif first(properties, "numPr") is not None:
                role = "line"
            yield Block(role, text, level or 1)
        yield from self._taken()

    def _taken(self) -> Iterator[Block]:
        """Yield and forget what follows the paragraph."""
        after, self._after = self._after, []
        yield from after

    def _table(self, table: _Element) -> Iterator[Block]:
        for row in self._within(table, "tr"):
            if first(row, "trPr", "del") is not None:
                continue
            cells = [
                list(self.blocks(cell)) for cell in self._within(row, "tc") if first(cell, "tcPr", "cellDel") is None
            ]
            sizes = [sum(len(block.text) for block in cell) for cell in cells]
            if any(size > MAX_CELL for size in sizes) or any(b.role == "heading" for cell in cells for b in cell):
                for cell in cells:
                    yield from cell
            else:
                lines = (" ".join(" ".join(block.text for block in cell).split()) for cell in cells)
                yield Block("line", " | ".join(line for line in lines if line))

    def _within(self, element: _Element, wanted: str) -> Iterator[_Element]:
        """Yield the rows of a table or cells of a row, also those within controls and insertions."""
        for child in element:
            name = local(child)
            if name == wanted:
                yield child
            elif (name == "sdt" and not self._skipped(child)) or name in _TRANSPARENT:
                yield from self._within(child, wanted)

    def _skipped(self, control: _Element) -> bool:
        """Return whether a content control shows only its hint, or is a table of contents."""
        properties = first(control, "sdtPr")
        if properties is None:
            return False
        hint = first(properties, "showingPlcHdr")
        if hint is not None and attribute(hint, "val") not in _OFF:
            return True
        gallery = first(properties, "docPartObj", "docPartGallery")
        return not self.contents and gallery is not None and attribute(gallery, "val") == "Table of Contents"

    def _text(self, elements: Iterable[_Element]) -> str:
        """Return the text of inline elements; notes and text boxes among them go to ``_after``."""
        parts: list[str] = []
        stack = list(elements)[::-1]
        while stack:
            node = stack.pop()
            name = local(node)
            if name in _PROPERTIES or not name:
                continue
            if name == "t":
                if "code" not in self._fields:
                    parts.append(node.text or "")
            elif name in _CHARACTERS:
                parts.append(_CHARACTERS[name])
            elif name in _REMOVED:
                self._forget(node)
            elif name == "r":
                vanish = first(node, "rPr", "vanish")
                if vanish is not None and attribute(vanish, "val") not in _OFF:
                    self.counts.hidden += any((t.text or "").strip() for t in descendants(node, "t"))
                else:
                    stack.extend(reversed(node))
            elif name == "fldChar":
                parts.append(self._field(node))
            elif name == "ruby":
                base, above = first(node, "rubyBase"), first(node, "rt")
                reading = self._text(above) if above is not None else ""
                parts.append(self._text(base) if base is not None else "")
                parts.append(f"({reading})" if reading else "")
            elif name in ("footnoteReference", "endnoteReference", "commentReference"):
                self._after += self._note(name.removesuffix("Reference"), attribute(node, "id"))
            elif name == "sdt":
                if not self._skipped(node):
                    stack.extend(reversed(node))
            elif name == "AlternateContent":
                stack.append(_chosen(node))
            elif name == "txbxContent":
                outer, self._after = self._after, []
                held, self._held = self._held, ""
                inner = list(self.blocks(node))
                self._after, self._held = outer + inner, held
            elif name in _OBJECTS:
                self._object(node, name, parts)
                stack.extend(reversed(node))
            else:
                stack.extend(reversed(node))
        return "".join(parts)

    def _field(self, node: _Element) -> str:
        """Follow a field's begin, separator and end; return what a form field shows."""
        stage = attribute(node, "fldCharType")
        if stage == "begin":
            self._fields.append("code")
            if (choices := first(node, "ffData", "ddList")) is not None:
                entries = [attribute(entry, "val") for entry in children(choices, "listEntry")]
                chosen = first(choices, "result")
                number = attribute(chosen, "val") if chosen is not None else "0"
                return entries[int(number)] if number.isdecimal() and int(number) < len(entries) else ""
        elif self._fields and stage == "separate":
            self._fields[-1] = "result"
        elif self._fields and stage == "end":
            self._fields.pop()
        return ""

    def _object(self, node: _Element, name: str, parts: list[str]) -> None:
        """Take the alternative text of a drawing, the words of a chart, a symbol; count a picture."""
        text = ""
        if name in ("docPr", "cNvPr", "shape"):
            text = attribute(node, "descr") or attribute(node, "alt") or attribute(node, "title")
        elif name == "textpath":
            text = attribute(node, "string")
        elif name in ("imagedata", "blip"):
            self.counts.pictures += 1
        elif name == "subDoc":
            self.counts.subdocuments += 1
        elif name == "sym":
            code = attribute(node, "char")
            if re.fullmatch(r"[0-9A-Fa-f]{1,5}", code) and not 0xE000 <= int(code, 16) <= 0xF8FF:
                parts.append(chr(int(code, 16)))
        elif relation := self.relations.get(attribute(node, "dm") or attribute(node, "id")):
            root = self.holder.package.container.xml(relation.target) if not relation.external else None
            if root is not None:
                self.drawn.add(relation.target)
                text = drawing_text(root)
        if text.strip() and not any(block.text == text for block in self._after):
            self._after.append(Block("paragraph", text))

    def _note(self, kind: str, identifier: str) -> list[Block]:
        """Return the blocks of a note, the first time that it is referred to."""
        key = (kind, identifier)
        if key in self.referenced or key not in self.notes:
            return []
        self.referenced.add(key)
        part, note = self.notes[key]
        blocks = list(part.blocks(note))
        if kind == "comment":
            author = attribute(note, "author")
            start = f"Comment ({author}): " if author else "Comment: "
            words = "\n".join(block.text for block in blocks if block.text.strip())
            return [Block("paragraph", start + words)] if words else []
        return [Block("paragraph", block.text) for block in blocks]

    def _forget(self, removed: _Element) -> None:
        """Mark the notes of deleted text as done: they are deleted with it."""
        for node in descendants(removed, "footnoteReference", "endnoteReference"):
            self.referenced.add((local(node).removesuffix("Reference"), attribute(node, "id")))


def _outline(properties: _Element | None) -> int | None:
    """Return the level that paragraph properties name, from 1; None where they name none or body text."""
    element = first(properties, "outlineLvl")
    value = attribute(element, "val") if element is not None else ""
    return int(value) + 1 if value.isdecimal() and int(value) < 9 else None


def _chosen(alternatives: _Element) -> _Element:
    """Return the version of some content to show: the newer one if it holds any text, else the older one."""
    choice, fallback = first(alternatives, "Choice"), first(alternatives, "Fallback")
    if choice is None:
        return alternatives if fallback is None else fallback
    if fallback is None or any(
        (node.text or "").strip() or attribute(node, "descr") for node in descendants(choice, "t", "docPr", "cNvPr")
    ):
        return choice
    return fallback if any(True for _ in descendants(fallback, "t", "textpath")) else choice
