"""Give back the space of deleted passages: ``semsearch compact``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from semsearch import render
from semsearch.cli import output
from semsearch.cli.options import collection_options, json_option

if TYPE_CHECKING:
    from semsearch.collection import Collection


@click.command()
@json_option
@collection_options()
def command(docs: Collection, as_json: bool) -> int:
    """Drop deleted passages from a collection's files and give their space back to the disk.

    Indexing does so by itself once a quarter of the passages is deleted.
    """
    done = docs.compact()
    before, after = render.size(done.before), render.size(done.after)
    output.value(
        {"dropped": done.dropped, "bytes": {"before": done.before, "after": done.after}},
        f"{done.dropped} deleted passages dropped from {docs.name}: {before} before, {after} now",
        as_json,
    )
    return 0
