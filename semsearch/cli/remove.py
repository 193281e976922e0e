"""Take files out of a collection: ``semsearch remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from semsearch.cli import output
from semsearch.cli.options import collection_options, json_option

if TYPE_CHECKING:
    from semsearch.collection import Collection


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@json_option
@collection_options()
def command(docs: Collection, paths: tuple[str, ...], as_json: bool) -> int:
    """Take files, or everything under folders, out of a collection. The files themselves stay."""
    removed = docs.remove(paths)
    output.value({"files": removed}, f"{removed} files removed from {docs.name}", as_json)
    return 0
