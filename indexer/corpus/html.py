"""HTML → text, with selectolax (lexbor): what a reader sees of the page's content, in paragraphs."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexer.corpus.encodings import decode
from indexer.corpus.text import assemble, newlines
from indexer.errors import ReadError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_DROPPED = frozenset(
    "script style noscript template svg canvas iframe object audio video map nav button select textarea input "
    "datalist dialog head -comment".split()
)
_DROPPED_ROLES = frozenset(("navigation", "banner", "contentinfo", "search", "menu", "menubar"))
_INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark math mi mn mo msub msup mrow "
    "q rp rt ruby s samp small span strike strong sub sup time tt u var wbr img".split()
)
_LINES = frozenset(("li", "tr", "dt", "dd", "option", "caption"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_CONTENT = frozenset(("article", "main", "section", "blockquote"))
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_CLOSED_BY_NEXT = frozenset(
    "p li dt dd tr td th thead tbody tfoot colgroup option optgroup rt rp html head body area base br col embed hr img "
    "input link meta param source track wbr".split()
)
_DEEPEST = 20_000
"""Elements open at once; the time to parse grows with the square of it."""
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w:.-]+)", re.IGNORECASE)


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the page as one document."""
    text, title = read_html(source.data())
    yield source.document(text, title=title)


def read_html(data: bytes) -> tuple[str, str | None]:
    """(text, title) of the page's main part, else its body. Raises ReadError where there is no text."""
    from selectolax.lexbor import LexborHTMLParser

    page = _decode(data)
    _check_depth(page)
    tree = LexborHTMLParser(page)
    head = tree.css_first("title")
    title = head.text() if head is not None else ""
    articles = tree.css("article")
    roots = [*tree.css("main, [role=main]")[:1], *(articles if len(articles) == 1 else []), *tree.css("body")]
    for root in roots:
        blocks = list(_blocks(root))
        if text := assemble(blocks):
            first = next((block for role, block in blocks if role == "heading" and block.strip()), None)
            return text, title.strip() or first
    raise ReadError("no text in its body: perhaps a script fills it in")


def _check_depth(page: str) -> None:
    depth = 0
    for match in _TAG.finditer(page):
        if match[2].lower() not in _CLOSED_BY_NEXT:
            depth = max(depth - 1, 0) if match[1] else depth + 1
            if depth > _DEEPEST:
                raise ReadError(f"more than {_DEEPEST:,} elements are open at once: it is damaged, or made to hang")


def _decode(data: bytes) -> str:
    """UTF-8 or UTF-16, or else the encoding that the page itself declares."""
    try:
        return decode(data)[0]
    except ReadError:
        declared = _CHARSET.search(data[:2048])
        if b"\0" in data or declared is None:
            raise
        try:
            name = codecs.lookup(declared[1].decode("ascii", "replace")).name
            return newlines(data.decode("cp1252" if name == "iso8859-1" else name, "replace"))  # as browsers do
        except (LookupError, ValueError):
            pass
        raise


def _blocks(root: LexborNode) -> Iterator[tuple[str, str]]:
    """Blocks of text in order. Without recursion: a page may be nested deeper than Python's stack."""
    parts: list[str] = []
    role, pre = "paragraph", 0
    stack: list[tuple[LexborNode, bool]] = [(root, True)]  # (node, entering)
    roles = ["paragraph"]

    def flush() -> tuple[str, str]:
        lines = "".join(parts).split("\n")
        parts.clear()
        kept = (line.replace("\0", "") if "\0" in line else " ".join(line.split()) for line in lines)
        return role, "\n".join(kept)

    while stack:
        node, entering = stack.pop()
        tag = node.tag or ""
        if tag == "-text":
            text = node.text_content or ""
            # within <pre>, lines are marked to keep their spaces
            parts.append("\0" + text.replace("\n", "\n\0") if pre else re.sub(r"\s+", " ", text))
            continue
        if entering and _dropped(node, tag):
            continue
        if tag == "br" and entering:
            parts.append("\n")
        elif tag in ("td", "th") and entering and any(part.strip() for part in parts):
            parts.append(" | ")
        if tag not in _INLINE and tag not in ("br", "td", "th"):
            if parts:
                yield flush()
            if entering:
                roles.append("heading" if tag in _HEADINGS else "line" if tag in _LINES else _inherited(tag, roles[-1]))
            else:
                roles.pop()
            role = roles[-1]
            pre += (tag == "pre") * (1 if entering else -1)
        if entering:
            stack.append((node, False))
            child = node.last_child
            while child is not None:
                stack.append((child, True))
                child = child.prev
    if parts:
        yield flush()


def _inherited(tag: str, role: str) -> str:
    return role if tag in ("div", "p") and role == "line" else "paragraph"


def _dropped(node: LexborNode, tag: str) -> bool:
    """What is no content: scripts, navigation, controls, what is hidden, and the header and footer of the page."""
    if tag in _DROPPED:
        return True
    attributes = node.attributes
    if attributes.get("role") in _DROPPED_ROLES or "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return True
    if tag in ("header", "footer") and not (tag == "header" and node.css_first("h1")):
        above = node.parent
        while above is not None:
            if above.tag in _CONTENT:
                return False
            above = above.parent
        return True
    return False
