"""semsearch remove"""

from __future__ import annotations

from pathlib import Path

import click

from semsearch import collections, render
from semsearch.cli.options import collection_option, home_option, json_option
from semsearch.settings import load_settings


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@home_option
@collection_option
@json_option
def command(paths: tuple[str, ...], home: Path | None, collection: str | None, as_json: bool) -> int:
    """Take files, or everything under folders, out of a collection. The files themselves stay."""
    settings = load_settings().override({"home": home, "collection": collection})
    removed = collections.remove(settings, paths)
    click.echo(render.dump({"files": removed}) if as_json else f"{removed} files removed from {settings.collection}")
    return 0
