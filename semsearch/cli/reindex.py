"""semsearch reindex"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from indexer import embedding
from indexer.errors import CollectionNotFound
from indexer.storage.manifest import Manifest
from semsearch import encoders, render
from semsearch.cli.index import Reporter
from semsearch.cli.options import collection_option, encoder_options, home_option, json_option, take_encoder_flags
from semsearch.collections import Runtime
from semsearch.reindex import with_encoder
from semsearch.search.ranking import Weights
from semsearch.settings import Settings, load_settings


@click.command()
@home_option
@collection_option
@json_option
@encoder_options
def command(
    home: Path | None,
    collection: str | None,
    as_json: bool,
    device: str | None,
    batch_tokens: int | None,
    **encoder: Any,
) -> int:
    """Embed a collection anew with another encoder, and put the result in its place in one step.

    The passages come from the collection itself: no file is read, and what has vanished stays. Searching works
    meanwhile; killed or stopped, the old collection stays and the next run goes on. The old one is kept as
    NAME-before. Without options the encoder is the one that a new collection would get.
    """
    flags = take_encoder_flags(encoder)
    settings = load_settings().override({"home": home, "collection": collection})
    path = settings.collection_path()
    try:
        present = Manifest.load(path).spec
    except CollectionNotFound as error:
        raise CollectionNotFound(
            f"there is no collection {settings.collection!r} in {settings.root}; semsearch status shows those there are"
        ) from error
    spec = embedding.resolve(encoders.choose(settings, flags, "search"))
    if spec.fingerprint == present.fingerprint:
        click.echo(f"semsearch: collection {settings.collection!r} is of this encoder already", err=True)
        return 0
    runtime = Runtime(device or settings.device, batch_tokens or settings.batch_tokens)
    reporter = Reporter()
    try:
        before = with_encoder(path, lambda: runtime.open(spec), reporter)
    finally:
        reporter.close()
    show(settings, before, as_json)
    return 0


def show(settings: Settings, before: Path, as_json: bool) -> None:
    """What was done, and how to undo it or make it final."""
    spec = Manifest.load(settings.collection_path()).spec
    if as_json:
        value = {"collection": settings.collection, "encoder": spec.fingerprint, "before": str(before)}
        click.echo(render.dump({"event": "swapped", **value}))
    else:
        click.echo(f"collection {settings.collection!r} is now of encoder {spec.fingerprint}")
    if spec.adapter is not None and Path(spec.adapter).is_dir():
        click.echo(f"semsearch: it needs the adapter's folder, keep it: {spec.adapter}", err=True)
    if Weights.kept(before):
        click.echo(
            f"semsearch: the weights tuned for the old one stay with it ({before.name}): they suit its encoder; "
            "tune anew with semsearch eval tune --save",
            err=True,
        )
    click.echo(
        f"semsearch: the old one is collection {before.name!r}; to remove it: rm -r {shlex.quote(str(before))}",
        err=True,
    )
