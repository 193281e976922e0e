"""Write README's tree: every module with the first sentence of its docstring. `python scripts/tree.py` updates it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- tree: python scripts/tree.py -->\n```\n", "```\n<!-- end of tree -->\n"
PACKAGES = ("indexer", "semsearch", "scripts", "tests")
FOLDERS = {
    "indexer": "lower layer: files → passages → vectors → stores; knows nothing of semsearch",
    "indexer/corpus": "files → documents → passages",
    "indexer/embedding": "texts → vectors",
    "indexer/storage": "vectors and rows on disk",
    "semsearch": "upper layer: search, evaluation, training, command line",
    "semsearch/evaluation": "STS, transfer and retrieval scores, and the gate on them",
    "semsearch/search": "one collection: a query's text → ranked passages → hits",
    "semsearch/training": "contrastive fine-tuning with (Q)LoRA",
    "semsearch/cli": "one file a command: parse → one library call → render",
    "scripts": "set-up, tests, benchmarks, recorded results",
    "tests": "mirror the packages",
}


def tree() -> str:
    """The lines of the tree, columns aligned."""
    return "".join(line for package in PACKAGES for line in _lines(Path(package), 0))


def replaced(readme: str) -> str:
    """``readme`` with the tree of today between its markers."""
    start, end = readme.index(START) + len(START), readme.index(END)
    return readme[:start] + tree() + readme[end:]


def _lines(folder: Path, depth: int) -> list[str]:
    lines = [_line(f"{folder.name}/", FOLDERS[str(folder)], depth)]
    if str(folder) == "tests":
        return lines
    entries = sorted((ROOT / folder).iterdir())
    for path in entries:
        if path.suffix in (".py", ".sh") and path.name not in ("__init__.py", "__main__.py"):
            lines.append(_line(path.name, _summary(path), depth + 1))
    for path in entries:
        if path.is_dir() and str(folder / path.name) in FOLDERS:
            lines += _lines(folder / path.name, depth + 1)
    return lines


def _line(name: str, summary: str, depth: int) -> str:
    return f"{'  ' * depth + name:<28}{summary}".rstrip() + "\n"


def _summary(path: Path) -> str:
    """First sentence of a module's docstring, or of a shell script's comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sh":
        doc = next(line[2:] for line in text.splitlines() if line.startswith("# "))
    else:
        doc = ast.get_docstring(ast.parse(text)) or ""
    first = " ".join(doc.split("\n\n")[0].split())
    return re.split(r"(?<=[.?]) (?=[A-Z`])", first)[0].rstrip(".")


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(replaced(path.read_text(encoding="utf-8")), encoding="utf-8")
