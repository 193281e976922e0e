"""Check and mend a collection: ``semsearch doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from semsearch import render
from semsearch.cli import output
from semsearch.cli.options import collection_options, json_option

if TYPE_CHECKING:
    from semsearch.collection import Collection


@click.command()
@click.option("--check-only", is_flag=True, help="Change nothing.")
@click.option("--no-model", is_flag=True, help="Do not embed samples again to compare them.")
@json_option
@collection_options()
def command(docs: Collection, check_only: bool, no_model: bool, as_json: bool) -> int:
    """Check that a collection's catalog, vectors and index agree, and mend what can be mended.

    Exit code 0: healthy. 1: something was wrong, mended or not, as the output says.
    """
    problems = docs.doctor(mend=not check_only, model=not no_model)
    listed = {"collection": docs.name, "healthy": not problems, "problems": [asdict(each) for each in problems]}
    output.value(listed, render.problems(docs.name, problems), as_json)
    return int(bool(problems))
