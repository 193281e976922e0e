"""Blocks of extracted text (headings, paragraphs, lines) → one text that knows where its headings stand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from indexer.corpus.decoding.text import clean
from indexer.types import Heading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Role = Literal["heading", "paragraph", "line", "end"]

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_SOFT_HYPHEN = "\u00ad"


class Block(NamedTuple):
    """One block of extracted text."""

    role: Role
    """"line": a list item or a table's row; "end": no text, the section before ends here (page footers follow)."""
    text: str
    level: int = 1
    """Of a heading: 1 is the outermost."""


class Assembled(NamedTuple):
    """Extracted text as a document carries it."""

    text: str
    headings: tuple[Heading, ...]
    page_starts: tuple[int, ...] = ()


def assemble(blocks: Iterable[Block]) -> Assembled:
    """Return the text of blocks and its headings.

    Lines follow each other closely, a blank line parts the rest, and two blank lines stand before each heading and
    nowhere else. Soft hyphens are left out.
    """
    parts: list[str] = []
    headings: list[Heading] = []
    size = 0
    before: Role | None = None
    for block in blocks:
        if block.role == "end":
            if headings and headings[-1].text:
                headings.append(Heading(size, size, 1, ""))
            continue
        text = clean(block.text).replace(_SOFT_HYPHEN, "")
        text = _BLANK_LINES.sub("\n\n", text).strip("\n").rstrip()
        if not text.strip():
            continue
        if block.role == "heading":
            text = " ".join(text.split())
        if parts:
            gap = "\n\n\n" if block.role == "heading" else "\n" if block.role == before == "line" else "\n\n"
            parts.append(gap)
            size += len(gap)
        if block.role == "heading":
            headings.append(Heading(size, size + len(text), block.level, text))
        parts.append(text)
        size += len(text)
        before = block.role
    return Assembled("".join(parts), tuple(headings))


def assemble_pages(pages: Iterable[Sequence[Block]]) -> Assembled:
    """Return the text of pages (slides, sheets), a blank line between them; a page may be empty."""
    texts: list[str] = []
    headings: list[Heading] = []
    starts: list[int] = []
    offset = 0
    for blocks in pages:
        page = assemble(blocks)
        starts.append(offset)
        headings += [Heading(h.start + offset, h.end + offset, h.level, h.text) for h in page.headings]
        texts.append(page.text)
        offset += len(page.text) + 2
    return Assembled("\n\n".join(texts), tuple(headings), tuple(starts))


def blocks_of(text: str, headings: Sequence[Heading]) -> Iterator[Block]:
    """Yield the blocks of a text that was assembled before, to put it into another one."""
    at = 0
    for heading in headings:
        if between := text[at : heading.start].strip("\n"):
            yield Block("paragraph", between)
        yield Block("heading", heading.text, heading.level) if heading.text else Block("end", "")
        at = heading.end
    if rest := text[at:].strip("\n"):
        yield Block("paragraph", rest)


def first_heading(assembled: Assembled) -> str | None:
    """Return the text of the first heading; None where there is none."""
    return next((heading.text for heading in assembled.headings if heading.text), None)
