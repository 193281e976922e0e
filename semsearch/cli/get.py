"""Print what is indexed: ``semsearch get``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from semsearch import render
from semsearch.cli import output
from semsearch.cli.asked import asked_options
from semsearch.cli.options import json_option

if TYPE_CHECKING:
    from semsearch.cli.asked import Asked


@click.command()
@click.argument("place", metavar="PATH[:LINE[-LINE]]|ID")
@click.option("--context", "-C", type=click.IntRange(min=0), default=0, metavar="N", help="Give N lines around it too.")
@json_option
@asked_options()
def command(docs: Asked, place: str, context: int, as_json: bool) -> int:
    """Print an indexed document, or some lines of it, from the collection: the file itself is not read.

    PATH is as hits show it, or relative to the working folder. ID is that of a hit (``passage`` in --json).
    """
    found = docs.get(place, context=context)
    text = render.quiet(found.text) if sys.stdout.isatty() else found.text
    output.value(asdict(found), text, as_json)
    return 0
