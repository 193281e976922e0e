"""semsearch import"""

from __future__ import annotations

from pathlib import Path

import click

from semsearch import maintenance, render
from semsearch.cli.options import collection_option, home_option, json_option
from semsearch.settings import load_settings


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@home_option
@collection_option
@json_option
def command(folder: Path, home: Path | None, collection: str | None, as_json: bool) -> int:
    """Make a new collection of what `semsearch export` wrote into FOLDER. Nothing is embedded again."""
    settings = load_settings().override({"home": home, "collection": collection})
    passages = maintenance.take_in(settings, folder)
    value = {"collection": settings.collection, "passages": passages}
    click.echo(render.dump(value) if as_json else f"{passages} passages in the new collection {settings.collection}")
    return 0
