"""Write a collection for other programs: ``semsearch export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from semsearch.cli import output
from semsearch.cli.options import Choice, collection_options, json_option

if TYPE_CHECKING:
    from semsearch.collection import Collection


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=Choice(["parquet", "safetensors"]),
    default="parquet",
    show_default=True,
    help="One table with everything, or JSON lines beside safetensors files of vectors.",
)
@json_option
@collection_options()
def command(docs: Collection, folder: Path, form: Literal["parquet", "safetensors"], as_json: bool) -> int:
    """Write a collection's passages and vectors into a new FOLDER, for other programs or `semsearch import`."""
    passages = docs.export(folder, form)
    value = {"folder": str(folder.absolute()), "passages": passages}
    output.value(value, f"{passages} passages with their vectors written to {folder}", as_json)
    return 0
