"""Write two parts of COMMANDS.md: the help of every command, as ``--help`` prints it, and the table of formats.

python scripts/commands.py
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "COMMANDS.md"
START, END = "<!-- reference: python scripts/commands.py -->\n", "<!-- end of reference -->\n"
FORMATS_START, FORMATS_END = "<!-- formats: python scripts/commands.py -->\n", "<!-- end of formats -->\n"
WIDTH = 100


def reference() -> str:
    """Return one section for each command, and one below it for each command of a group."""
    from semsearch.cli import cli

    return "\n".join(_sections(cli, "semsearch", None, 2))


def replaced(page: str) -> str:
    """Return ``page`` with the reference and the table of formats as they are, between their markers."""
    from indexer.corpus.format_notes import formats_table

    return _between(_between(page, START, END, reference()), FORMATS_START, FORMATS_END, formats_table())


def _between(page: str, start: str, end: str, text: str) -> str:
    at, until = page.index(start) + len(start), page.index(end)
    return page[:at] + "\n" + text.rstrip("\n") + "\n\n" + page[until:]


def _sections(command: click.Command, name: str, parent: click.Context | None, level: int) -> Iterator[str]:
    sizes = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, parent=parent, info_name=name, **sizes, **command.context_settings)
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"{'#' * level} {context.command_path}\n\n```text\n{text}\n```\n"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            inner = command.get_command(context, each)
            if inner is not None and not inner.hidden:
                yield from _sections(inner, each, context, level + 1)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for variable in [name for name in os.environ if name.startswith("SEMSEARCH_")]:
        del os.environ[variable]
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
