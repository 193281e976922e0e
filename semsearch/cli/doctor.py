"""Check and mend a collection: ``semsearch doctor``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from indexer.errors import SemsearchError
from semsearch import render, stores
from semsearch.cli import output
from semsearch.cli.options import json_option, settings_options
from semsearch.collection import examine

if TYPE_CHECKING:
    from semsearch.settings import Settings


@click.command()
@click.option("--check-only", is_flag=True, help="Change nothing.")
@click.option("--no-model", is_flag=True, help="Do not embed samples again to compare them.")
@json_option
@settings_options
def command(settings: Settings, check_only: bool, no_model: bool, as_json: bool) -> int:
    """Check that a collection's catalog, vectors and index agree, and mend what can be mended.

    The recall of its index is measured again, by other passages than before.

    Exit code 0: healthy. 1: something was wrong, mended or not, as the output says.
    """
    problems = examine(settings, mend=not check_only, model=not no_model)
    listed = {
        "collection": settings.collection,
        "healthy": not problems,
        "problems": [asdict(each) for each in problems],
    }
    output.value(listed, render.problems(settings.collection, problems), as_json)
    with suppress(SemsearchError):  # one that cannot be opened is among the problems
        store = stores.open_collection(settings)
        report = getattr(store, "index_report", lambda: None)()
        store.close()
        if report is not None:
            output.LOG.info("index: %s", render.index(report))
    return int(bool(problems))
