"""SVG pictures → the words in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.corpus.decoding.text import clean
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_WORDS = frozenset(("title", "desc", "text", "foreignObject"))


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield titles, descriptions and texts of the picture as one document; its shapes are no text."""
    from lxml import etree

    parser = etree.XMLParser(
        recover=True, resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(source.data(), parser)
    except (etree.LxmlError, ValueError) as error:
        raise ReadError(f"not a readable SVG: {error}") from error
    if root is None:
        raise ReadError("not a readable SVG: there is no element in it")
    lines: list[str] = []
    title = None
    pictures = 0
    for element in root.iter():
        name = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
        pictures += name == "image"
        above = {parent.tag.rpartition("}")[2] for parent in element.iterancestors() if isinstance(parent.tag, str)}
        if name in _WORDS and not above & _WORDS:
            words = " ".join(" ".join(part for part in element.itertext() if isinstance(part, str)).split())
            lines.append(words)
            title = title or (words if name == "title" else None)
        elif label := next((value for key, value in element.attrib.items() if str(key) == "aria-label"), None):
            lines.append(str(label).strip())
    text = clean("\n".join(filter(None, lines)))
    if not text.strip():
        raise NothingToRead("a picture without text")
    if pictures:
        notes.warnings.append(f"{pictures} picture{'s' * (pictures != 1)} within it left out")
    yield source.document(text, title=title)
