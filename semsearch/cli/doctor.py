"""semsearch doctor"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from semsearch import maintenance, render
from semsearch.cli.options import collection_option, home_option, json_option
from semsearch.settings import load_settings


@click.command()
@home_option
@collection_option
@click.option("--check-only", is_flag=True, help="Change nothing.")
@click.option("--no-model", is_flag=True, help="Do not embed samples again to compare them.")
@json_option
def command(home: Path | None, collection: str | None, check_only: bool, no_model: bool, as_json: bool) -> int:
    """Check that a collection's catalog, vectors and index agree, and mend what can be mended.

    Exit code 0: healthy. 1: something was wrong, mended or not, as the output says.
    """
    settings = load_settings().override({"home": home, "collection": collection})
    problems = maintenance.examine(settings, mend=not check_only, model=not no_model)
    if as_json:
        listed = [asdict(problem) for problem in problems]
        click.echo(render.dump({"collection": settings.collection, "healthy": not problems, "problems": listed}))
        return int(bool(problems))
    for problem in problems:
        state = "mended" if problem.mended else "not mended"
        click.echo(f"{problem.part}: {problem.found} ({state}{': ' if problem.remedy else ''}{problem.remedy})")
    if not problems:
        click.echo(f"{settings.collection} is healthy")
    return int(bool(problems))
