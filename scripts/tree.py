"""Write ARCHITECTURE.md's tree: every module with the first sentence of its docstring.

    python scripts/tree.py

A package's line is the first sentence of its ``__init__``; folders that are no packages are described here.
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
START, END = "<!-- tree: python scripts/tree.py -->\n```\n", "```\n<!-- end of tree -->\n"
TOP = ("indexer", "semsearch", "scripts", "tests")
FOLDERS = {
    "indexer": "lower layer: files → passages → vectors → stores; knows nothing of semsearch",
    "indexer/corpus": "files → documents → passages",
    "indexer/storage": "vectors and rows on disk",
    "scripts": "what a person runs: set up, check, test, pages",
    "scripts/bench": "benchmarks: how fast, how small",
    "scripts/gpu": "one command that proves the GPU path",
    "scripts/gpu/parts": "what it runs, each in a process of its own",
    "scripts/research": "what was measured to decide something, with its log",
    "tests": "mirror the packages",
}
CLOSED = {"tests", "migrations", "results", "adapters"}
"""Folders whose files are not listed."""


def tree() -> str:
    """Return the lines of the tree, columns aligned."""
    return "".join(line for folder in TOP for line in _lines(Path(folder), 0))


def replaced(page: str) -> str:
    """Return ``page`` with the tree as it is between its markers."""
    start, end = page.index(START) + len(START), page.index(END)
    return page[:start] + tree() + page[end:]


def _lines(folder: Path, depth: int) -> list[str]:
    entries = sorted((ROOT / folder).iterdir())
    described = _summary(ROOT / folder / "__init__.py") or FOLDERS.get(folder.as_posix(), "")
    lines = [_line(f"{folder.name}/", described, depth)]
    if folder.name in CLOSED:
        return lines
    for path in entries:
        if path.suffix in (".py", ".sh") and path.name not in ("__init__.py", "__main__.py"):
            lines.append(_line(path.name, _summary(path), depth + 1))
    for path in entries:
        known = folder / path.name
        if path.is_dir() and (known.as_posix() in FOLDERS or any(path.glob("*.py"))):
            lines += _lines(known, depth + 1)
    return lines


def _line(name: str, summary: str, depth: int) -> str:
    return f"{'  ' * depth + name:<31} {summary}".rstrip() + "\n"


def _summary(path: Path) -> str:
    """Return the first sentence of a module's docstring, or of a shell script's comment."""
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sh":
        doc = next(line[2:] for line in text.splitlines() if line.startswith("# "))
    else:
        doc = ast.get_docstring(ast.parse(text)) or ""
    first = " ".join(doc.split("\n\n")[0].split())
    return re.split(r"(?<=[.?]) (?=[A-Z`])", first)[0].rstrip(".")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
