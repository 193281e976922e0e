"""RTF → text, with striprtf; notes, headers and the title that striprtf leaves out are taken from their groups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexer.corpus.blocks import Block, assemble
from indexer.corpus.office.ooxml import plural
from indexer.corpus.titles import best
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

MAX_UNCLOSED = 10
"""Groups without an end that are read."""

_KEPT = ("footnote", "annotation", "shptxt", "header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr")
"""Groups with words that a reader sees and striprtf leaves out."""
_NAMES = "|".join((*_KEPT, "title", "pict", "object", "objdata", "fonttbl", "deleted"))
_GROUP = re.compile(rf"\{{(?:\\\*)?\\({_NAMES})(?![a-z])")
_TOKEN = re.compile(r"\\bin(\d+) ?|\\[\s\S]|[{}]")
_CODEPAGE = re.compile(r"\\ansicpg(\d+)")
_COUNTED = (("pict", "picture"), ("object", "embedded object"))
_FONT = re.compile(r"\\f(\d{1,9})(?!\d)|\\fcharset(\d{1,3})(?!\d)")
_PROLOGUE = re.compile(r"\\(?:ansi|mac|pca?)(?![a-z])|\\ansicpg\d+|\\deff\d+|\\uc\d")


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document."""
    try:
        from striprtf.striprtf import rtf_to_text
    except ImportError as error:
        raise NothingToRead("RTF files need striprtf: pip install 'semsearch[office]'") from error
    data = source.data()
    if not data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{\\rtf"):
        raise ReadError("not an RTF file: it does not begin with {\\rtf")
    text = data.decode("latin-1")
    groups = _groups(text)
    fonts = _fonts(text[start:end] for name, start, end in groups if name == "fonttbl")
    prologue = "{\\rtf1" + "".join(match[0] for match in _PROLOGUE.finditer(text[:2000])) + (fonts or " ")
    page = _CODEPAGE.search(text)
    encoding = f"cp{page[1]}" if page and page[1] not in ("0", "65001") else "cp1252"

    def plain(rtf: str) -> str:
        try:
            return str(rtf_to_text(rtf, encoding=encoding, errors="replace"))  # type: ignore[no-untyped-call]
        except Exception as error:  # striprtf lets errors of many kinds through
            message = " ".join(str(error).split())[:200] or type(error).__name__
            raise ReadError(f"not a readable RTF: {message}") from error

    main = prologue + _without(text, groups).removeprefix("{\\rtf1")
    blocks = [Block("paragraph", part) for part in re.split(r"\n\s*\n", plain(main))]
    seen: set[str] = set()
    for name, start, end in groups:
        if name in _KEPT:
            words = plain(f"{prologue}{_without(text[start:end], _groups(text[start:end]))}}}").strip()
            if words not in seen and any(char.isalnum() for char in words):
                seen.add(words)
                blocks.append(Block("paragraph", words))
    assembled = assemble(blocks)
    counts = [plural(sum(name == kind for name, _, _ in groups), what) for kind, what in _COUNTED]
    left_out = [count for count in counts if not count.startswith("0 ")]
    if left_out:
        notes.warnings.append(f"not read: {', '.join(left_out)}")
    if not assembled.text:
        raise NothingToRead(f"no text in it: {'only ' + ', '.join(left_out) if left_out else 'nothing at all'}")
    title = next((plain(prologue + text[start:end] + "}") for name, start, end in groups if name == "title"), None)
    yield source.document(assembled.text, title=best((title,)))


def _groups(rtf: str) -> list[tuple[str, int, int]]:
    """Return (name, start and end of its content) of each group that is looked at.

    A group that is never closed reaches to the end.
    """
    found: list[tuple[str, int, int]] = []
    open_groups: list[tuple[str, int]] = []  # (name or "", where its content begins)
    at = 0
    while token := _TOKEN.search(rtf, at):
        at = min(token.end() + int(token[1] or 0), len(rtf))
        if token[0] == "{":
            match = _GROUP.match(rtf, token.start())
            open_groups.append((match[1], match.end()) if match else ("", at))
        elif token[0] == "}" and open_groups:
            name, start = open_groups.pop()
            if name:
                found.append((name, start, token.start()))
    found += [(name, start, len(rtf)) for name, start in open_groups[:MAX_UNCLOSED] if name in _KEPT]
    return sorted(found, key=lambda group: group[1])


def _without(rtf: str, groups: list[tuple[str, int, int]]) -> str:
    """Return RTF without the content of pictures, data and font tables, over which striprtf would be slow.

    Deleted text that is kept for review goes too.

    Its search for links is slow too; a line end, which means nothing in RTF, keeps it from starting.
    """
    parts, at = [], 0
    for name, start, end in groups:
        if name in ("pict", "objdata", "fonttbl", "deleted") and start >= at:
            parts.append(rtf[at:start])
            at = end
    rest = "".join([*parts, rtf[at:]])
    # an unfinished table of fonts is none: as a table of colours it is left out all the same
    return rest.replace("{\\field{", "{\\field\n{").replace("\\fonttbl", "\\colortbl")


def _fonts(tables: Iterable[str]) -> str:
    """Return a font table with nothing but each font's number and character set."""
    fonts: dict[str, str] = {}
    number = ""
    for table in tables:
        for match in _FONT.finditer(table):
            if match[1]:
                number = match[1]
            elif number:
                fonts.setdefault(number, match[2])
    entries = "".join(f"{{\\f{number}\\fcharset{charset} F;}}" for number, charset in fonts.items())
    return f"{{\\fonttbl{entries}}}" if entries else ""
