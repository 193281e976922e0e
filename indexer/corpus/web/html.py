"""HTML and XHTML → text: what a browser shows of a page's content, or can unfold, in blocks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexer.corpus.blocks import Assembled, assemble, first_heading
from indexer.corpus.titles import best
from indexer.corpus.web.charsets import decode_page
from indexer.corpus.web.page_walk import Walk
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from selectolax.lexbor import LexborHTMLParser, LexborNode

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

MAX_DEPTH = 20_000
"""Elements open at once; the time to parse grows with the square of it."""
MIN_MAIN_SHARE = 0.3
"""Share of the page's text that its <main> must hold to be taken for the content."""
MIN_ARTICLE_SHARE = 0.6

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_CLOSED_BY_NEXT = frozenset(
    "p li dt dd tr td th thead tbody tfoot colgroup option optgroup rt rp html head body area base br col embed hr img "
    "input link meta param source track wbr".split()
)
_IS_XHTML = re.compile(r"^\s*<\?xml\b|<!DOCTYPE\s+html\s+PUBLIC\s+\"-//W3C//DTD XHTML|<html\b[^>]*\bxmlns\s*=", re.I)
_SELF_CLOSED = re.compile(r"<([A-Za-z][\w:.-]*)((?:\s+[^<>\"'=/\s]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'))?)*)\s*/>")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_RAW = re.compile(r"(<(script|style)\b[^>]*(?<!/)>.*?</\2\s*>)", re.DOTALL | re.IGNORECASE)
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the page as one document."""
    decoded = decode_page(source.data(), source.options.encoding, notes)
    xml = source.path.lower().endswith((".xhtml", ".xht", ".xhtm"))
    page, title = read_page(decoded.text, xml=xml)
    yield source.document(page.text, title=title, headings=page.headings)


def read_page(page: str, *, xml: bool = False, whole: bool = False) -> tuple[Assembled, str | None]:
    """Return a page's text with its headings, and its title.

    Args:
        page: The page's source.
        xml: It is XHTML for certain; else it tells that of itself.
        whole: Nothing of it is navigation, as in a chapter of a book.

    Raises:
        NothingToRead: It shows no text.
        ReadError: It is nested absurdly deep.
    """
    from selectolax.lexbor import LexborHTMLParser

    if xml or _IS_XHTML.search(page[:2000]):
        page = _as_html(page)
    _check_depth(page)
    tree = LexborHTMLParser(page)
    walk = Walk(tree, whole=whole)
    found = _content(tree, walk)
    if not found.text:
        found = _first(tree, Walk(tree, whole=True))  # nothing but navigation: then that is what it says
    if not found.text:
        if tree.css_first("frameset") is not None:
            raise NothingToRead("it is a frameset: its frames are files of their own")
        raise NothingToRead("no text in its body: perhaps a script fills it in")
    return found, best((_title(tree), first_heading(found)))


def _content(tree: LexborHTMLParser, walk: Walk) -> Assembled:
    """Return the text of the part of the page that is its content."""
    body = _first(tree, walk)
    articles = tree.css("article")
    candidates = (
        (tree.css("main, [role=main]"), MIN_MAIN_SHARE),
        (articles if len(articles) == 1 else [], MIN_ARTICLE_SHARE),
    )
    for roots, share in candidates:
        outer = _outermost(roots)
        if outer:
            part = assemble(block for root in outer for block in walk.blocks(root))
            if part.text and len(part.text) >= share * len(body.text):
                return part
    return body


def _first(tree: LexborHTMLParser, walk: Walk) -> Assembled:
    """Return the text of the body."""
    root = tree.body
    return assemble(walk.blocks(root)) if root is not None else Assembled("", ())


def _outermost(nodes: Sequence[LexborNode]) -> list[LexborNode]:
    """Return the nodes that lie in no other of them."""
    known = {node.mem_id for node in nodes}
    kept = []
    for node in nodes:
        above = node.parent
        while above is not None and above.mem_id not in known:
            above = above.parent
        if above is None:
            kept.append(node)
    return kept


def _title(tree: LexborHTMLParser) -> str | None:
    """Return the text of the page's <title>, not that of a drawing within it."""
    for node in tree.css("title"):
        above = node.parent
        while above is not None and above.tag != "svg":
            above = above.parent
        if above is None:
            return node.text()
    return None


def _as_html(page: str) -> str:
    """Return XHTML as HTML: self-closed elements are closed, CDATA sections are escaped."""

    def close(match: re.Match[str]) -> str:
        name = match[1].rpartition(":")[2].lower()
        return match[0] if name in _VOID else f"<{match[1]}{match[2]}></{match[1]}>"

    def escape(match: re.Match[str]) -> str:
        return match[1].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    pieces = _RAW.split(page)  # text, raw element, its name, text, …
    for at in range(0, len(pieces), 3):
        pieces[at] = _SELF_CLOSED.sub(close, _CDATA.sub(escape, pieces[at]))
    return "".join(piece for at, piece in enumerate(pieces) if at % 3 != 2)


def _check_depth(page: str) -> None:
    depth = 0
    for match in _TAG.finditer(page):
        if match[2].lower() not in _CLOSED_BY_NEXT:
            depth = max(depth - 1, 0) if match[1] else depth + 1
            if depth > MAX_DEPTH:
                raise ReadError(f"more than {MAX_DEPTH:,} elements are open at once: it is damaged, or made to hang")
