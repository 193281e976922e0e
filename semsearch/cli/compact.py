"""semsearch compact"""

from __future__ import annotations

from pathlib import Path

import click

from semsearch import maintenance, render
from semsearch.cli.options import collection_option, home_option, json_option
from semsearch.settings import load_settings


@click.command()
@home_option
@collection_option
@json_option
def command(home: Path | None, collection: str | None, as_json: bool) -> int:
    """Drop deleted passages from a collection's files and give their space back to the disk.

    Indexing does so by itself once a quarter of the passages is deleted.
    """
    settings = load_settings().override({"home": home, "collection": collection})
    done = maintenance.compact(settings)
    if as_json:
        click.echo(render.dump({"dropped": done.dropped, "bytes": {"before": done.before, "after": done.after}}))
    else:
        before, after = (f"{size / 1e6:.1f} MB" for size in (done.before, done.after))
        click.echo(f"{done.dropped} deleted passages dropped from {settings.collection}: {before} before, {after} now")
    return 0
