"""Jupyter notebooks → one Markdown-like document: the cells' sources and what they printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from indexer.corpus import headings
from indexer.corpus.decoding import terminal
from indexer.corpus.decoding.text import clean, newlines
from indexer.corpus.texts import plain_text
from indexer.errors import NothingToRead, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_PICTURES = ("image/", "video/", "audio/", "application/pdf")


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield the notebook as one document; code stands within fences, so that its comments are no headings."""
    try:
        notebook = json.loads(plain_text.text_of(source, notes))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"not a readable notebook: {error}") from error
    sheets = [notebook, *_list(notebook, "worksheets")]
    cells = [cell for sheet in sheets for cell in _list(sheet, "cells") if isinstance(cell, dict)]
    if not isinstance(notebook, dict) or ("cells" not in notebook and "worksheets" not in notebook):
        raise ReadError("not a notebook: it has no cells")
    language = _language(notebook)
    parts: list[str] = []
    pictures = 0
    for cell in cells:
        text = newlines(_joined(cell.get("source", cell.get("input")))).strip("\n")
        attachments = cell.get("attachments")
        pictures += len(attachments) if isinstance(attachments, dict) else 0
        if text.strip():
            parts.append(_fenced(text, language) if cell.get("cell_type") == "code" else _heading(cell, text))
        for output in _list(cell, "outputs"):
            said, seen = _output(output)
            pictures += seen
            if said.strip():
                parts.append(_fenced(said.strip("\n"), ""))
    text = clean("\n\n".join(parts))
    if pictures:
        notes.warnings.append(f"{pictures} picture{'s' * (pictures != 1)} left out")
    if not text.strip():
        raise NothingToRead("its cells hold no text")
    yield source.document(text, title=headings.title(text, "markdown"))


def _list(value: object, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _joined(value: object) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    for name, key in (("language_info", "name"), ("kernelspec", "language")):
        info = metadata.get(name) if isinstance(metadata, dict) else None
        if isinstance(info, dict) and isinstance(info.get(key), str) and info[key].isidentifier():
            return str(info[key])
    return ""


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _heading(cell: dict[str, Any], text: str) -> str:
    level = cell.get("level")
    return (
        f"{'#' * level} {text}"
        if cell.get("cell_type") == "heading" and isinstance(level, int) and 0 < level < 7
        else text
    )


def _output(output: object) -> tuple[str, int]:
    """Return what an output says, and how many pictures and the like it holds."""
    if not isinstance(output, dict):
        return "", 0
    data = output.get("data")
    data = data if isinstance(data, dict) else {}
    pictures = sum(str(kind).startswith(_PICTURES) for kind in data) + sum(
        kind in output for kind in ("png", "jpeg", "svg")
    )
    text = _joined(output.get("text"))
    for kind in ("text/markdown", "text/plain", "text/latex"):
        text = text or _joined(data.get(kind))
    if "traceback" in output:
        text = "\n".join(part for part in output.get("traceback") or [] if isinstance(part, str))
        said = f"{output.get('ename', '')}: {output.get('evalue', '')}"
        text = text if str(output.get("evalue", "")) in text else f"{text}\n{said}"
    if pictures and text.startswith("<") and text.endswith(">") and "\n" not in text:
        text = ""  # how an object without text is called: <Figure size 640x480 with 1 Axes>
    return newlines(terminal.plain(text)), pictures
