"""Where the headings of a text stand, how they nest, and what a text calls itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexer.types import Heading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SEPARATOR = " › "
MAX_HEADING = 160
"""Characters of one heading in a path of headings; the rest is cut off."""

_FRONT_MATTER = re.compile(r"---[ \t]*\n[\w\"'-]+:.*?^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(\S.*)$", re.MULTILINE)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
_SETEXT = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*$")
_NOT_TITLE = re.compile(r"\s*$|\s{4}|\t| {0,3}(?:[#>|`~=-]|[*+] |\d+[.)] )")
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*[ \t]*$")
_CLOSING = re.compile(r"(?:^|[ \t]+)#+[ \t]*$")
_ATTRIBUTES = re.compile(r"[ \t]*\{[#.][^{}]*\}$")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|_{1,3}|`{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)")
_ROLE = re.compile(r"(?::[\w:.+-]+:)?`{1,2}([^`<]+?)(?: <[^>`]*>)?`{1,2}_{0,2}")


def find_headings(text: str, kind: str) -> Iterator[Heading]:
    """Yield each heading in order; none for kinds of text that mark no headings."""
    finder = _FINDERS.get(kind)
    return finder(text) if finder else iter(())


def paths(headings: Sequence[Heading]) -> list[str]:
    """Return for each heading the headings above it and itself, as ``A › B``."""
    found: list[str] = []
    above: list[tuple[int, str]] = []
    for heading in headings:
        while above and (above[-1][0] >= heading.level or not heading.text):
            above.pop()
        if heading.text:
            text = heading.text
            above.append((heading.level, text if len(text) <= MAX_HEADING else text[: MAX_HEADING - 1] + "…"))
        found.append(SEPARATOR.join(name for _, name in above))
    return found


def title(text: str, kind: str) -> str | None:
    """Return the title of a Markdown or reStructuredText file: its front matter's, or its first heading."""
    if kind not in ("markdown", "rst"):
        return None
    front = _FRONT_MATTER.match(text) if kind == "markdown" else None
    if front and (named := _FRONT_TITLE.search(front[0])):
        return named[1].strip(" \t\"'")
    return next((heading.text for heading in find_headings(text[:20_000], kind) if heading.text), None)


def _markdown(text: str) -> Iterator[Heading]:
    """Yield underlined and # headings, outside front matter and fenced code."""
    front = _FRONT_MATTER.match(text)
    fence = ""
    end, before = 0, (0, "")
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\n")
        offset, end = end, end + len(line)
        if front and offset < front.end():
            bare = ""
        elif match := _FENCE.match(bare):
            if not fence:
                fence = match[1]
            elif match[1].startswith(fence) and not bare[match.end() :].strip():
                fence = ""
        elif not fence:
            if match := _ATX.match(bare):
                yield Heading(offset, end, len(match[1]), _markdown_text(bare[match.end() :]))
            elif _SETEXT.match(bare) and not _NOT_TITLE.match(before[1]):
                yield Heading(before[0], end, 1 if "=" in bare else 2, _markdown_text(before[1]))
        before = (offset, "" if fence else bare)


def _markdown_text(line: str) -> str:
    """Return a heading's words without its marks."""
    line = _ATTRIBUTES.sub("", _CLOSING.sub("", line)).strip()
    line = _LINK.sub(r"\1", line)
    return _EMPHASIS.sub(r"\2", line).strip()


def _rst(text: str) -> Iterator[Heading]:
    """Yield lines underlined, and perhaps overlined, by one repeated character.

    The adornments nest in the order in which they first appear.
    """
    (over_at, over), (title_at, named) = (0, ""), (0, "")  # the two lines before
    levels: dict[tuple[str, bool], int] = {}
    offset = 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip()
        if named.strip() and len(bare) >= min(len(named), 4) and _ADORNMENT.match(bare):
            overlined = over == bare
            if (overlined or not (over or named[0].isspace())) and not _ADORNMENT.match(named):
                level = levels.setdefault((bare[0], overlined), len(levels) + 1)
                start = over_at if overlined else title_at
                yield Heading(start, offset + len(line), level, _ROLE.sub(r"\1", named.strip()))
        (over_at, over), (title_at, named) = (title_at, named), (offset, bare)
        offset += len(line)


def _marked(text: str) -> Iterator[Heading]:
    """Yield headings of extracted text that came without its list: two blank lines stand before each."""
    if first := re.match(r"[^\n]+(?=\n{3})", text):  # a line alone before a heading: the page's title, most likely
        yield Heading(0, first.end(), 1, first[0].strip())
    for match in re.finditer(r"\n{3,}([^\n]*)", text):
        yield Heading(match.start(1), match.end(1), 1, match[1].strip())


_FINDERS: dict[str, Callable[[str], Iterator[Heading]]] = {
    "markdown": _markdown,
    "notebook": _markdown,
    "rst": _rst,
    "html": _marked,
    "docx": _marked,
}
