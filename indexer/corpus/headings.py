"""Where the headings of a text stand, and what it is called."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_FRONT_MATTER = re.compile(r"---[ \t]*\n[\w\"'-]+:.*?^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(\S.*)$", re.MULTILINE)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
_SETEXT = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*$")
_NOT_TITLE = re.compile(r"\s*$|\s{4}|\t| {0,3}(?:[#>|`~=-]|[*+] |\d+[.)] )")
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*[ \t]*$")


def headings(text: str, kind: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each heading, in order; none for kinds of text that have no marked headings."""
    return _FINDERS.get(kind, lambda _: iter(()))(text)


def title(text: str, kind: str) -> str | None:
    """What a Markdown or reStructuredText file calls itself: its front matter's title, or its first heading."""
    if kind not in ("markdown", "rst"):
        return None
    front = _FRONT_MATTER.match(text) if kind == "markdown" else None
    if front and (named := _FRONT_TITLE.search(front[0])):
        return named[1].strip(" \t\"'")
    start, end = next(headings(text[:20_000], kind), (0, 0))
    lines = (line.strip() for line in text[start:end].splitlines())
    if kind == "rst":
        return next((line for line in lines if line and not _ADORNMENT.match(line)), None)
    return next(lines, "").strip("# \t") or None


def _markdown(text: str) -> Iterator[tuple[int, int]]:
    """Underlined and # headings, outside front matter and fenced code."""
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
            if _ATX.match(bare):
                yield offset, end
            elif _SETEXT.match(bare) and not _NOT_TITLE.match(before[1]):
                yield before[0], end
        before = (offset, "" if fence else bare)


def _rst(text: str) -> Iterator[tuple[int, int]]:
    """Lines underlined, and perhaps overlined, by one repeated character."""
    (over_at, over), (title_at, title) = (0, ""), (0, "")  # the two lines before
    offset = 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip()
        if title.strip() and len(bare) >= min(len(title), 4) and _ADORNMENT.match(bare):
            overlined = over == bare
            if (overlined or not (over or title[0].isspace())) and not _ADORNMENT.match(title):
                yield (over_at if overlined else title_at), offset + len(line)
        (over_at, over), (title_at, title) = (title_at, title), (offset, bare)
        offset += len(line)


def _marked(text: str) -> Iterator[tuple[int, int]]:
    """Headings of extracted text (HTML, DOCX): two blank lines stand before each, and nowhere else."""
    if first := re.match(r"[^\n]+(?=\n{3})", text):  # a line alone before a heading: the page's title, most likely
        yield 0, first.end()
    for match in re.finditer(r"\n{3,}([^\n]*)", text):
        yield match.start(1), match.end(1)


_FINDERS: dict[str, Callable[[str], Iterator[tuple[int, int]]]] = {
    "markdown": _markdown,
    "rst": _rst,
    "html": _marked,
    "docx": _marked,
}
