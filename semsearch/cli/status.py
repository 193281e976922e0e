"""semsearch status"""

from __future__ import annotations

from pathlib import Path

import click

from semsearch import render
from semsearch.cli.options import home_option, json_option
from semsearch.collections import statuses
from semsearch.settings import load_settings


@click.command()
@click.argument("collections", nargs=-1, metavar="[COLLECTION]...")
@click.option("--collection", "-c", "named", multiple=True, metavar="NAME", help="The same as naming it.")
@home_option
@json_option
def command(collections: tuple[str, ...], named: tuple[str, ...], home: Path | None, as_json: bool) -> int:
    """Collections with their counts, encoder and sizes, and every file that was skipped or failed, with the reason."""
    settings = load_settings().override({"home": home})
    found = statuses(settings, (*collections, *named))
    if as_json:
        click.echo(render.dump([render.status_value(status) for status in found]))
    elif found:
        click.echo(render.statuses(found))
    else:
        click.echo(f"semsearch: no collections in {settings.root}; make one with: semsearch index FOLDER", err=True)
    return 0
