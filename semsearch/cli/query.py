"""semsearch query"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from semsearch import filters, render
from semsearch.cli.options import (
    collection_option,
    encoder_options,
    home_option,
    index_device_option,
    json_option,
    take_encoder_flags,
)
from semsearch.collections import Runtime, searcher
from semsearch.settings import load_settings


@click.command()
@click.argument("text")
@home_option
@collection_option
@click.option("-k", default=10, show_default=True, metavar="N", type=int, help="Most hits to show.")
@click.option("--mode", type=click.Choice(["hybrid", "dense", "lexical"]), default="hybrid", show_default=True)
@click.option("--filter", "expressions", multiple=True, metavar="NAME=VALUE", help=f"Search only {filters.HELP}")
@index_device_option
@click.option("--full", is_flag=True, help="Show whole passages.")
@json_option
@click.option("--jsonl", is_flag=True, help="Print one JSON value a line: a hit, or with - a query and its hits.")
@encoder_options
def command(
    text: str,
    home: Path | None,
    collection: str | None,
    k: int,
    mode: str,
    expressions: tuple[str, ...],
    index_device: str,
    full: bool,
    as_json: bool,
    jsonl: bool,
    device: str | None,
    batch_tokens: int | None,
    **encoder: Any,
) -> int:
    """The passages that answer TEXT; with - one query a line from standard input, the model staying loaded.

    The encoder is the one that made the index and need not be named; naming another is refused (exit code 3).
    Exit code 1 when nothing matches.
    """
    settings = load_settings().override({"home": home, "collection": collection})
    console = Console(soft_wrap=False, highlight=False)

    def show(query: str) -> bool:
        engine.refresh()  # a warm process sees what was indexed meanwhile
        found = engine.search(query, k, mode, condition)  # type: ignore[arg-type]
        values = [render.hit_value(hit) for hit in found]
        if text == "-" and (jsonl or as_json):
            click.echo(render.dump({"query": query, "hits": values} if jsonl else values))
        elif jsonl:
            for value in values:
                click.echo(render.dump(value))
        elif as_json:
            click.echo(render.dump(values))
        else:
            if text == "-":
                console.rule(query, align="left")
            render.hits(found, console, full)
            if not found:
                click.echo("semsearch: nothing matches", err=True)
        return bool(found)

    condition = filters.parse(expressions)
    runtime = Runtime(device or settings.device, batch_tokens or settings.batch_tokens, index_device)
    with searcher(settings, flags=take_encoder_flags(encoder), runtime=runtime, note=_note) as engine:
        if text != "-":
            return 0 if show(text) else 1
        answered = [show(line.rstrip("\n")) for line in sys.stdin if line.strip()]
        return 0 if any(answered) else 1


def _note(text: str) -> None:
    click.echo(f"semsearch: {text}", err=True)
