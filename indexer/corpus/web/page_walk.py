"""The walk through a page's elements: blocks of text, without what is never shown and without navigation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexer.corpus.blocks import Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selectolax.lexbor import LexborHTMLParser, LexborNode

    from indexer.corpus.blocks import Role

_NEVER_SHOWN = frozenset(
    "script style noscript template canvas object audio video map head title meta link base datalist rp param track "
    "source noembed noframes defs symbol metadata desc select option input progress meter -comment iframe".split()
)
"""No browser shows their text (``template`` but for shadow roots), or it is a control's."""
_NAVIGATION = frozenset(("nav", "menu"))
_NAVIGATION_ROLES = frozenset(
    "navigation banner contentinfo search menu menubar doc-toc doc-index doc-pagelist directory toolbar".split()
)
_INLINE = frozenset(
    "a abbr acronym b bdi bdo big button cite code data del dfn em font i img ins kbd label mark math mi mn mo mrow ms "
    "mtext msub msup msubsup mfrac msqrt mover munder nobr output picture q rb rt rtc ruby s samp slot small span "
    "strike strong sub sup textpath time tspan tt u var wbr".split()
)
_LINES = frozenset(("li", "tr", "dt", "dd", "caption", "text", "figcaption"))
_PREFORMATTED = frozenset(("pre", "xmp", "listing", "plaintext", "textarea"))
_CONTENT = frozenset(("article", "main", "section", "blockquote"))
_CELLS = frozenset(("td", "th"))
_WITHIN_CELL = frozenset(("p", "div", "br", "center"))
_LAYOUT = "h1,h2,h3,h4,h5,h6,table,pre,ul,ol,dl,blockquote,hr"
MAX_CELL = 400
"""Characters of a table's cell whose paragraphs are put into the row's line."""
MAX_CELL_DEPTH = 8
MAX_BANNER = 2000
"""Characters of a notice about cookies."""
MIN_BUTTON_WORDS = 4
"""Words of a button that says something, as the questions of an FAQ do."""

_HIDDEN_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))\b", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z]+")
_CONSENT_WORDS = frozenset(
    "cookie cookies consent gdpr onetrust cookiebot cybotcookiebot cookieconsent cookiebanner cookienotice "
    "cookiebar didomi truste usercentrics".split()
)
_LIST_OF_LINKS = re.compile(
    r"(?:^|\s)(?:toc\w*|\w*[-_]toc|\w*[-_]toc[-_]\w*|contents|table-?_?of-?_?contents|breadcrumbs?|\w*[-_]breadcrumbs?|"
    r"pagination|pager|sidebar|sphinxsidebar|related|navbar\w*|nav-\w+|menu|site-?nav|skip-?(?:link|nav|to-content)s?|"
    r"navigation|navheader|navfooter|page-?nav|mw-jump-link)(?=\s|$)",
    re.IGNORECASE,
)
_PERMALINK = re.compile(r"^[\s¶#§🔗⚓️]*$")
_CONTROLS = ("aria-controls", "data-target", "data-bs-target", "data-toggle-target", "aria-owns")
_FOLDING_HOSTS = frozenset(("summary", "dt", "legend", "h1", "h2", "h3", "h4", "h5", "h6", "details"))


class Walk:
    """Reads the blocks of a page's elements."""

    def __init__(self, tree: LexborHTMLParser, *, whole: bool) -> None:
        """Prepare for one page; ``whole`` keeps navigation and the like."""
        self.whole = whole
        self.controlled = _controlled(tree)

    def blocks(self, root: LexborNode) -> Iterator[Block]:
        """Yield blocks in order. Without recursion: a page may be nested deeper than Python's stack."""
        parts: list[str] = []
        state = _State()
        stack: list[tuple[LexborNode, bool]] = [(root, True)]  # (node, entering)
        while stack:
            node, entering = stack.pop()
            tag = node.tag or ""
            if tag == "-text":
                text = node.text_content or ""
                # within <pre>, lines are marked to keep their spaces
                parts.append("\0" + text.replace("\n", "\n\0") if state.pre else re.sub(r"\s+", " ", text))
                continue
            if entering and node is not root and self._dropped(node, tag, state):
                continue
            if tag == "br":
                if entering:
                    parts.append(" " if state.cell else "\n")
            elif tag in _CELLS:
                if entering and any(part.strip() for part in parts):
                    parts.append(" | ")
                state.enter_cell(node) if entering else state.leave_cell()
            elif state.cell and tag in _WITHIN_CELL:
                parts.append(" ")
            elif tag == "ruby" and not entering:
                parts.append(state.leave_ruby())
            elif tag == "rt":
                if entering:
                    state.rt.append(node.text(deep=True))
                    continue
            elif tag not in _INLINE:
                if parts:
                    yield _flush(parts, state)
                state.enter_block(node, tag) if entering else state.leave_block(tag)
            elif entering and tag == "img" and (alt := (node.attributes.get("alt") or "").strip()):
                parts.append(f" {alt} ")
            if entering:
                stack.append((node, False))
                self._push_children(node, tag, stack)
        if parts:
            yield _flush(parts, state)

    def _push_children(self, node: LexborNode, tag: str, stack: list[tuple[LexborNode, bool]]) -> None:
        if tag == "template":  # a shadow root: _dropped lets no other pass
            for fragment in node.template_fragments()[:1]:
                stack.append((fragment, True))
            return
        child = node.last_child
        while child is not None:
            stack.append((child, True))
            child = child.prev

    def _dropped(self, node: LexborNode, tag: str, state: _State) -> bool:
        """Return whether an element is no content: never shown, or navigation."""
        if tag in _INLINE and not node.attributes:
            return tag == "button" and self._is_control(node)
        attributes = node.attributes
        if tag == "template":
            return not (attributes.get("shadowrootmode") or attributes.get("shadowroot"))
        if tag in _NEVER_SHOWN or (tag == "dialog" and "open" not in attributes):
            return True
        if self._hidden(attributes):
            return True
        if attributes.get("aria-hidden") == "true" and tag in _INLINE and attributes.get("role") != "tabpanel":
            return True
        if tag == "button" and self._is_control(node):
            return True
        if tag == "a" and _PERMALINK.match(node.text(deep=True)) and node.css_first("img") is None:
            return True
        return not self.whole and self._is_navigation(node, tag, attributes, state)

    def _hidden(self, attributes: dict[str, str | None]) -> bool:
        """Return whether an element is hidden for good: not found by the browser's search, unfolded by no control."""
        hidden = "hidden" in attributes and (attributes["hidden"] or "").lower() != "until-found"
        hidden = hidden or bool(_HIDDEN_STYLE.search(attributes.get("style") or ""))
        hidden = hidden or ("popover" in attributes)
        if not hidden:
            return False
        return attributes.get("role") != "tabpanel" and (attributes.get("id") or "") not in self.controlled

    def _is_control(self, node: LexborNode) -> bool:
        """Return whether a button only does something (Copy, Send), and heads no folded text."""
        if "aria-expanded" in node.attributes or "aria-controls" in node.attributes:
            return False
        if len(node.text(deep=True).split()) >= MIN_BUTTON_WORDS:
            return False
        above = node.parent
        for _ in range(3):
            if above is None:
                break
            if above.tag in _FOLDING_HOSTS:
                return False
            above = above.parent
        return True

    def _is_navigation(self, node: LexborNode, tag: str, attributes: dict[str, str | None], state: _State) -> bool:
        if tag in _NAVIGATION or (attributes.get("role") or "").lower() in _NAVIGATION_ROLES:
            return True
        if attributes.get("epub:type") in ("toc", "landmarks", "page-list"):
            return True
        if tag in ("header", "footer"):
            return not (tag == "header" and node.css_first("h1")) and not _within_content(node)
        if tag in ("body", "main", "article", "html"):
            return False
        named = f"{attributes.get('id') or ''} {attributes.get('class') or ''}"
        if named != " ":
            words = {word.lower() for word in _NAME.findall(named)}
            if words & _CONSENT_WORDS and _is_banner(node):
                return True
            if _LIST_OF_LINKS.search(named) and _share_of_links(node) > (0.5 if tag == "a" else 0.75):
                return True
        if tag in ("ul", "ol", "dl") and not state.lists:
            return _is_contents(node)
        return False


class _State:
    """Where the walk stands."""

    def __init__(self) -> None:
        self.roles: list[tuple[Role, int]] = [("paragraph", 1)]
        self.pre = 0
        self.cells: list[bool] = []
        self.lists = 0
        self.rt: list[str] = []

    @property
    def cell(self) -> bool:
        """Whether the text goes into one line of a table."""
        return bool(self.cells) and self.cells[-1]

    def enter_cell(self, node: LexborNode) -> None:
        simple = (
            len(self.cells) < MAX_CELL_DEPTH
            and node.css_first(_LAYOUT) is None
            and len(node.text(deep=True)) <= MAX_CELL
        )
        self.cells.append(simple)

    def leave_cell(self) -> None:
        self.cells.pop()

    def leave_ruby(self) -> str:
        """Return the reading that stands above the characters, behind them."""
        reading, self.rt = "".join(self.rt).strip(), []
        return f"({reading})" if reading else ""

    def enter_block(self, node: LexborNode, tag: str) -> None:
        role, level = self.roles[-1]
        if tag[:1] == "h" and tag[1:].isdigit():
            self.roles.append(("heading", int(tag[1:])))
        elif node.attributes.get("role") == "heading":
            given = node.attributes.get("aria-level") or "2"
            self.roles.append(("heading", int(given) if given.isdecimal() and len(given) < 3 else 2))
        elif tag in _LINES:
            self.roles.append(("line", level))
        elif role in ("line", "heading") and tag in ("div", "p"):
            self.roles.append((role, level))
        else:
            self.roles.append(("paragraph", level))
        self.pre += tag in _PREFORMATTED
        self.lists += tag in ("ul", "ol", "dl")

    def leave_block(self, tag: str) -> None:
        self.roles.pop()
        self.pre -= tag in _PREFORMATTED
        self.lists -= tag in ("ul", "ol", "dl")


def _flush(parts: list[str], state: _State) -> Block:
    lines = "".join(parts).split("\n")
    parts.clear()
    kept = (line.replace("\0", "") if "\0" in line else " ".join(line.split()) for line in lines)
    role, level = state.roles[-1]
    return Block(role, "\n".join(kept), level)


def _controlled(tree: LexborHTMLParser) -> frozenset[str]:
    """Return the ids of elements that a control of the page unfolds."""
    found: set[str] = set()
    for name in _CONTROLS:
        for node in tree.css(f"[{name}]"):
            found.update(value.lstrip("#") for value in (node.attributes.get(name) or "").split())
    for node in tree.css("[data-toggle], [data-bs-toggle], [role=tab]"):
        href = node.attributes.get("href") or ""
        if href.startswith("#"):
            found.add(href[1:])
    return frozenset(found)


def _within_content(node: LexborNode) -> bool:
    above = node.parent
    while above is not None:
        if above.tag in _CONTENT:
            return True
        above = above.parent
    return False


def _is_banner(node: LexborNode) -> bool:
    """Return whether an element named after cookies is a notice with something to press."""
    if len(node.text(deep=True)) > MAX_BANNER or node.css_first("h1, article, main") is not None:
        return False
    return node.css_first("button, input, [role=button], a") is not None or "dialog" in (
        node.tag,
        node.attributes.get("role"),
    )


def _share_of_links(node: LexborNode) -> float:
    """Return the share of an element's characters, headings left out, that lie in links."""
    whole = _size(node) - sum(map(_size, node.css("h1, h2, h3, h4, h5, h6, caption, .topic-title, .title")))
    links = [node] if node.tag == "a" else node.css("a[href]")
    return sum(map(_size, links)) / whole if whole > 0 else 1.0


def _size(node: LexborNode) -> int:
    """Return the number of characters that are no white space."""
    return len("".join(node.text(deep=True).split()))


def _is_contents(node: LexborNode) -> bool:
    """Return whether a list holds nothing but links to places on the same page."""
    links = node.css("a[href]")
    if len(links) < 3 or not all((link.attributes.get("href") or "").startswith("#") for link in links):
        return False
    return _share_of_links(node) > 0.75
