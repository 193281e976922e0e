"""Print what commands answer: results on standard output, remarks through logging."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import click

from semsearch import render
from semsearch.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from semsearch.cli.options import Shown
    from semsearch.search.showing.hits import Answer, Hit

LOG = logging.getLogger("semsearch.cli")


def value(result: Any, text: str, as_json: bool) -> None:
    """Print a result as one JSON value, or as text."""
    click.echo(json_text(result) if as_json else text)


def json_text(result: Any) -> str:
    """Return one line of JSON; escapes stand for what standard output's encoding may lack."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    return render.dump(result, ascii_only=encoding != "utf8")


def answer(found: Answer, shown: Shown, min_confidence: float | None) -> None:
    """Print the hits of one query, and say so where there are none."""
    remarks(found)
    values = [render.hit_value(hit) for hit in found]
    if shown.jsonl:
        for each in values:
            click.echo(json_text(each))
    elif shown.as_json:
        click.echo(json_text(values))
    else:
        hits(found, shown.full)
    if not found and min_confidence is not None:
        LOG.info("nothing relevant: no passage found is more similar than %g of random pairs", min_confidence)
    elif not found and not (shown.jsonl or shown.as_json):
        LOG.info("nothing matches")


def hits(found: Sequence[Hit], full: bool) -> None:
    """Print hits for a person."""
    styled = terminal.has_styles()
    text = render.hits(found, terminal.width(), styled=styled, full=full)
    click.echo(text, sys.stdout, nl=False, color=styled)  # by name: click takes ASCII for a mistake and writes UTF-8


def heading(query: str) -> None:
    """Print a query above its hits, where there are several."""
    click.echo(terminal.rule(render.quiet(query)), sys.stdout)


def remarks(found: Answer, said: set[str] | None = None) -> None:
    """Say what there is to know about an answer, each remark once where ``said`` remembers them."""
    for note in found.notes:
        if said is None or note not in said:
            LOG.info("%s", note)
        if said is not None:
            said.add(note)
