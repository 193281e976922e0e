"""Make a collection of an export: ``semsearch import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch.cli import output
from semsearch.cli.options import json_option, settings_options
from semsearch.collection import Collection

if TYPE_CHECKING:
    from semsearch.settings import Settings


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@settings_options
@json_option
def command(folder: Path, settings: Settings, as_json: bool) -> int:
    """Make a new collection of what `semsearch export` wrote into FOLDER. Nothing is embedded again."""
    with Collection.import_(folder, settings=settings) as docs:
        passages = docs.status().counts.passages
        value = {"collection": docs.name, "passages": passages}
        output.value(value, f"{passages} passages in the new collection {docs.name}", as_json)
    return 0
