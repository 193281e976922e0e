"""Packages of Office Open XML (DOCX, PPTX, XLSX): parts and their relationships, transitional and strict alike.

Namespaces are not compared: strict files name the same elements in other namespaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.corpus.office.container import Container, attribute, children, descendants, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lxml.etree import _Element


@dataclass(frozen=True)
class Relationship:
    """One relationship of a part."""

    id: str
    type: str
    """Last word of its address, in lower case: "footnotes", "officedocument"."""
    target: str
    """Name of the part; an address where ``external``."""
    external: bool


class Package:
    """An OOXML file. A relationship whose part is missing counts as none, as for Word."""

    def __init__(self, data: bytes, what: str) -> None:
        """Open the package; ``what`` names the format in messages.

        Raises:
            ReadError: It is no zip file, encrypted, damaged or a bomb.
        """
        self.container = Container(data, what)

    def relationships(self, part: str) -> list[Relationship]:
        """Return the relationships of a part ("" for the whole package) whose targets exist or lie outside."""
        folder, _, name = part.rpartition("/")
        root = self.container.optional_xml(f"{folder}/_rels/{name}.rels" if folder else f"_rels/{name}.rels")
        found = []
        for element in () if root is None else children(root, "Relationship"):
            external = attribute(element, "TargetMode").lower() == "external"
            target = attribute(element, "Target")
            if not external:
                target = resolve(part, target)
                if target not in self.container:
                    continue
            kind = attribute(element, "Type").rpartition("/")[2].lower()
            found.append(Relationship(attribute(element, "Id"), kind, target, external))
        return found

    def main(self, *guesses: str) -> str | None:
        """Return the name of the main part: by relationship, by content type, or one of the usual names."""
        for relation in self.relationships(""):
            if relation.type == "officedocument":
                return relation.target
        types = self.container.optional_xml("[Content_Types].xml")
        for element in () if types is None else children(types, "Override"):
            name = attribute(element, "PartName").lstrip("/")
            if ".main+xml" in attribute(element, "ContentType") and name in self.container:
                return name
        return next((name for name in guesses if name in self.container), None)

    def title(self) -> str | None:
        """Return the title in the package's properties."""
        names = [r.target for r in self.relationships("") if r.type == "core-properties"]
        root = self.container.optional_xml((names or ["docProps/core.xml"])[0])
        for element in () if root is None else descendants(root, "title"):
            return element.text
        return None

    def left_out(self) -> list[str]:
        """Return what the package holds beside text, counted, for a warning."""
        files: dict[str, int] = {}
        macros = False
        for name in self.container.names():
            folder = name.rpartition("/")[0].rpartition("/")[2]
            if name.endswith("vbaproject.bin"):
                macros = True
            elif folder == "embeddings":
                files["embedded file"] = files.get("embedded file", 0) + 1
            elif folder == "media" and name.endswith((".mp3", ".mp4", ".wav", ".m4a", ".avi", ".mov", ".wmv", ".m4v")):
                files["recording"] = files.get("recording", 0) + 1
        return ["macros"] * macros + [plural(count, name) for name, count in files.items()]


def drawing_text(root: _Element) -> str:
    """Return the words of a chart or diagram: titles, categories, labels, one a line."""
    lines: list[str] = []
    for node in root.iter():
        name = node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""
        if name == "p":
            text = "".join(part.text or "" for part in descendants(node, "t"))
        elif name == "v" and not _is_number(node.text or ""):
            text = node.text or ""
        else:
            continue
        if text.strip() and text not in lines[-1:]:
            lines.append(text.strip())
    return "\n".join(dict.fromkeys(lines))


def drawings(package: Package, relations: Iterable[Relationship]) -> Iterator[str]:
    """Yield the words of the charts and diagrams among relationships."""
    for relation in relations:
        if relation.type in ("chart", "chartex", "diagramdata") and not relation.external:
            root = package.container.xml(relation.target)
            if root is not None and (text := drawing_text(root)):
                yield text


def plural(count: int, name: str) -> str:
    """Return "1 picture" or "3 pictures"."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
