"""Show collections: ``semsearch status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from semsearch import render
from semsearch.cli import output
from semsearch.cli.options import complete_collection, home_settings, json_option
from semsearch.status import Unreadable, statuses

if TYPE_CHECKING:
    from semsearch.settings import Settings


@click.command()
@click.argument("collections", nargs=-1, metavar="[COLLECTION]...", shell_complete=complete_collection)
@click.option("--collection", "-c", "named", multiple=True, metavar="NAME", shell_complete=complete_collection,
              help="The same as naming it.")  # fmt: skip
@click.option("--files", is_flag=True, help="Name every file that was skipped, failed or read in part.")
@home_settings
@json_option
def command(
    collections: tuple[str, ...], named: tuple[str, ...], files: bool, settings: Settings, as_json: bool
) -> int:
    """Collections with their counts, encoder and sizes, and what was skipped or failed, with the reasons.

    Exit code 2 where one of them cannot be opened; it is listed with the reason.
    """
    found = statuses(settings, (*collections, *named))
    if as_json:
        click.echo(output.json_text([render.status_value(each) for each in found]))
    elif found:
        click.echo(render.statuses(found, every_file=files))
    else:
        output.LOG.info("no collections in %s; make one with: semsearch index FOLDER", settings.shown_home)
    return 2 if any(isinstance(each, Unreadable) for each in found) else 0
