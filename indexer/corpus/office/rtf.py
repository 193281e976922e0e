"""RTF → text, with striprtf; notes, headers and the title that striprtf leaves out are taken from their groups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexer.corpus.blocks import Block, assemble
from indexer.corpus.office.ooxml import plural
from indexer.corpus.titles import best
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_KEPT = ("footnote", "annotation", "shptxt", "header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr")
"""Groups with words that a reader sees and striprtf leaves out."""
_GROUP = re.compile(r"\{(?:\\\*)?\\(" + "|".join((*_KEPT, "title", "pict", "object")) + r")(?![a-z])")
_TOKEN = re.compile(r"\\bin(\d+) ?|\\[\s\S]|[{}]")
_CODEPAGE = re.compile(r"\\ansicpg(\d+)")
_COUNTED = (("pict", "picture"), ("object", "embedded object"))
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
    prologue = _prologue(text)
    page = _CODEPAGE.search(text)
    encoding = f"cp{page[1]}" if page and page[1] not in ("0", "65001") else "cp1252"

    def plain(rtf: str) -> str:
        try:
            return str(rtf_to_text(rtf, encoding=encoding, errors="replace"))  # type: ignore[no-untyped-call]
        except Exception as error:  # striprtf lets errors of many kinds through
            message = " ".join(str(error).split())[:200] or type(error).__name__
            raise ReadError(f"not a readable RTF: {message}") from error

    blocks = [Block("paragraph", part) for part in re.split(r"\n\s*\n", plain(text))]
    seen: set[str] = set()
    for name, content in groups:
        if name in _KEPT:
            words = plain(prologue + content + "}").strip()
            if words not in seen and any(char.isalnum() for char in words):
                seen.add(words)
                blocks.append(Block("paragraph", words))
    assembled = assemble(blocks)
    counts = [plural(sum(name == kind for name, _ in groups), what) for kind, what in _COUNTED]
    left_out = [count for count in counts if not count.startswith("0 ")]
    if left_out:
        notes.warnings.append(f"not read: {', '.join(left_out)}")
    if not assembled.text:
        raise NothingToRead(f"no text in it: {'only ' + ', '.join(left_out) if left_out else 'nothing at all'}")
    title = next((plain(prologue + content + "}") for name, content in groups if name == "title"), None)
    yield source.document(assembled.text, title=best((title,)))


def _groups(rtf: str) -> list[tuple[str, str]]:
    """Return (name, content) of each group that is looked at."""
    found = []
    for match in _GROUP.finditer(rtf):
        depth, end = 1, len(rtf)
        at = match.end()
        while token := _TOKEN.search(rtf, at):
            at = token.end() + int(token[1] or 0)
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            if depth == 0:
                end = token.start()
                break
        found.append((match[1], rtf[match.end() : end]))
    return found


def _prologue(rtf: str) -> str:
    """Return the beginning of an RTF file that reads like this one: its code page and fonts."""
    fonts = re.search(r"\{\\fonttbl", rtf)
    table = ""
    if fonts:
        depth, at = 1, fonts.end()
        while depth and (token := _TOKEN.search(rtf, at)):
            at = token.end()
            depth += {"{": 1, "}": -1}.get(token[0], 0)
        table = rtf[fonts.start() : at]
    return "{\\rtf1" + "".join(match[0] for match in _PROLOGUE.finditer(rtf[:2000])) + table + " "
