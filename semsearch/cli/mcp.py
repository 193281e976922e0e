"""Answer agents over the Model Context Protocol: ``semsearch mcp``."""

from __future__ import annotations

import os
import threading
from importlib.resources import files
from typing import TYPE_CHECKING

import click

from indexer.errors import UsageError
from semsearch.cli.options import complete_collection, home_settings

if TYPE_CHECKING:
    from semsearch.settings import Settings

GRACE = 4.0
"""Seconds after the end of input for what is under way: a model may have to be loaded."""


@click.command()
@click.option("--collection", "-c", "allowed", multiple=True, metavar="NAME", shell_complete=complete_collection,
              help="Collection that may be asked; repeat for several [default: all].")  # fmt: skip
@click.option("--rerank", metavar="NAME|PATH", help="The cross-encoder that searches may ask for.")
@click.option("--skill", is_flag=True, help="Print a skill file, which teaches an agent to use the tools, and end.")
@home_settings
def command(allowed: tuple[str, ...], rerank: str | None, skill: bool, settings: Settings) -> int:
    """Answer agents on standard input and output (Model Context Protocol), until standard input ends.

    Its tools search, similar, get and status only read. A program that starts servers is given this command; a server
    that runs (semsearch serve) has the same tools at /mcp, and is asked for answers, so that no model is loaded twice.
    COMMANDS.md shows how the common programs are told.
    """
    if skill:
        click.echo(files("semsearch.service.agents").joinpath("SKILL.md").read_text("utf-8"), nl=False)
        return 0
    try:
        from semsearch.service.agents.protocol import serve_stdio
    except ModuleNotFoundError as error:
        raise UsageError(f"this needs {error.name}; install it with: pip install 'semsearch[server]'") from error
    from semsearch.service.first import ServedFirst
    from semsearch.service.service import Service

    with Service(settings, allowed, reranker=rerank, asked=ServedFirst) as service:
        serve_stdio(service, _end_soon)
    return 0


def _end_soon() -> None:
    """End the process shortly, whatever still runs: whoever has closed its input waits for that. Nothing is written."""
    timer = threading.Timer(GRACE, os._exit, (0,))
    timer.daemon = True
    timer.start()
