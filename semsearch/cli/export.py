"""semsearch export"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from semsearch import maintenance, render
from semsearch.cli.options import collection_option, home_option, json_option
from semsearch.settings import load_settings


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "safetensors"]),
    default="parquet",
    show_default=True,
    help="One table with everything, or JSON lines beside safetensors files of vectors.",
)
@home_option
@collection_option
@json_option
def command(
    folder: Path, form: Literal["parquet", "safetensors"], home: Path | None, collection: str | None, as_json: bool
) -> int:
    """Write a collection's passages and vectors into a new FOLDER, for other programs or `semsearch import`."""
    settings = load_settings().override({"home": home, "collection": collection})
    passages = maintenance.export(settings, folder, form)
    value = {"folder": str(folder.absolute()), "passages": passages}
    click.echo(render.dump(value) if as_json else f"{passages} passages with their vectors written to {folder}")
    return 0
