"""Embed a collection anew: ``semsearch reindex``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from semsearch.cli import output
from semsearch.cli.options import encoder_options, json_option, settings_options
from semsearch.cli.progress import Reporter

if TYPE_CHECKING:
    from semsearch.encoders import EncoderOverrides
    from semsearch.results import Reindexed
    from semsearch.settings import Settings


@click.command()
@settings_options
@json_option
@encoder_options
def command(settings: Settings, overrides: EncoderOverrides, as_json: bool) -> int:
    """Embed a collection anew with another encoder, and put the result in its place in one step.

    The passages come from the collection itself: no file is read, and what has vanished stays. Searching works
    meanwhile; killed or stopped, the old collection stays and the next run goes on. The old one is kept as
    NAME-before. Without options the encoder is the one that a new collection would get.
    """
    from semsearch.collection import Collection

    with (
        Collection(settings=settings, device=overrides.device, batch_tokens=overrides.batch_tokens) as docs,
        Reporter() as progress,
    ):
        done = docs.reindex(overrides, progress=progress)
    if done is None:
        output.LOG.info("collection %r is of this encoder already", settings.collection)
        return 0
    show(done, as_json)
    return 0


def show(done: Reindexed, as_json: bool) -> None:
    """Say what was done, and how to undo it or make it final."""
    value = {"collection": done.name, "encoder": done.spec.fingerprint, "before": done.before_place}
    text = f"collection {done.name!r} is now of encoder {done.spec.fingerprint}"
    output.value({"event": "swapped", **value}, text, as_json)
    if done.spec.adapter is not None and Path(done.spec.adapter).is_dir():
        output.LOG.info("it needs the adapter's folder, keep it: %s", done.spec.adapter)
    if done.weights_left:
        output.LOG.info(
            "the weights tuned for the old one stay with it (%s): they suit its encoder; tune anew with semsearch eval "
            "tune --save",
            done.before,
        )
    output.LOG.info(
        "the old one is collection %r; to remove it: semsearch collection remove %s", done.before, done.before
    )
