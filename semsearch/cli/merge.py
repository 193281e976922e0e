"""Take the shards of a run in parts into a collection: ``semsearch merge``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch import render
from semsearch.cli import output, summary
from semsearch.cli.options import collection_options, index_plan_option, index_recall_option, json_option
from semsearch.cli.progress import Reporter

if TYPE_CHECKING:
    from semsearch.collection import Collection


@click.command()
@click.argument("shards", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
@index_plan_option
@index_recall_option
@json_option
@collection_options(create=True, index_device=True)
def command(
    docs: Collection, shards: Path | None, index_plan: str | None, index_recall: float | None, as_json: bool
) -> int:
    """Take the shards that `semsearch index --shard` wrote into DIR into a collection.

    The collection is made where there is none, and is then as one run of `semsearch index` would have made it. Do it
    again after more parts are finished, or after a kill; what is gone leaves the collection only with all parts there.
    """
    with Reporter() as progress:
        merged = docs.merge(shards, index_plan=index_plan, index_recall=index_recall, progress=progress)
    value = render.report_value(merged.report, dry_run=False)
    value["unfinished_parts"] = [str(part) for part in merged.unfinished]
    output.value(value, render.report(merged.report, "taken in"), as_json)
    return summary.warn_of_merge(merged)
