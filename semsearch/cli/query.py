"""semsearch query"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from rich.console import Console
from rich.text import Text

from semsearch import render
from semsearch.cli.options import (
    collection_option,
    encoder_options,
    home_option,
    index_device_option,
    json_option,
    take_encoder_flags,
)
from semsearch.collections import Runtime, searcher
from semsearch.search import filters
from semsearch.search.hits import Hit
from semsearch.search.ranking import Fusion, Mode
from semsearch.search.rerank import CrossEncoderReranker
from semsearch.settings import load_settings

F = TypeVar("F", bound=Callable[..., Any])


def answer_options(function: F) -> F:
    """What ``query`` and ``similar`` share: which hits there are, and what is shown of them."""
    options = [
        click.option("-k", default=10, show_default=True, metavar="N", type=int, help="Most hits to show."),
        click.option("--filter", "expressions", multiple=True, metavar="NAME=VALUE", help=f"Only {filters.HELP}"),
        click.option(
            "--per-document", type=int, metavar="N", help="Most hits from one document: a file, or a record of one."
        ),
        click.option(
            "--no-collapse",
            "collapse",
            flag_value=False,
            default=True,
            type=bool,
            help="Show near-duplicates of a better hit as hits of their own.",
        ),
        click.option("--explain", is_flag=True, help="Say why each hit was found: scores, words, and what it means."),
        click.option(
            "--min-confidence",
            type=float,
            metavar="P",
            help="Drop hits that are less similar than this share of random pairs of passages, 0 to 1 (try 0.99).",
        ),
        index_device_option,
        click.option("--full", is_flag=True, help="Show whole passages."),
        json_option,
        click.option("--jsonl", is_flag=True, help="Print one JSON value a line: a hit, or with - a query and hits."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@click.argument("text")
@home_option
@collection_option
@click.option("--mode", type=click.Choice(get_args(Mode)), default="hybrid", show_default=True)
@click.option(
    "--fusion", type=click.Choice(get_args(Fusion)), default="convex", show_default=True, help="Of mode hybrid."
)
@click.option(
    "--rerank", metavar="NAME|PATH", help="A cross-encoder that reads the best 50 again (extra: semsearch[rerank])."
)
@answer_options
@encoder_options
def command(
    text: str,
    home: Path | None,
    collection: str | None,
    mode: Mode,
    fusion: Fusion,
    rerank: str | None,
    k: int,
    expressions: tuple[str, ...],
    per_document: int | None,
    collapse: bool,
    explain: bool,
    min_confidence: float | None,
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
    Exit code 1 when nothing matches, or with --min-confidence nothing is relevant.
    """
    settings = load_settings().override({"home": home, "collection": collection})
    console = Console(soft_wrap=False, highlight=False)
    condition = filters.parse(expressions)
    runtime = Runtime(device or settings.device, batch_tokens or settings.batch_tokens, index_device)
    reranker = CrossEncoderReranker(rerank, runtime.device) if rerank is not None else None

    def show(query: str) -> bool:
        engine.refresh()  # a warm process sees what was indexed meanwhile
        found = engine.search(
            query,
            k,
            mode,
            condition,
            fusion=fusion,
            per_document=per_document,
            collapse=collapse,
            explain=explain,
            min_confidence=min_confidence,
            rerank=reranker,
        )
        if text != "-":
            print_hits(found, console, full, as_json, jsonl, min_confidence)
        elif jsonl or as_json:
            values = [render.hit_value(hit) for hit in found]
            click.echo(render.dump({"query": query, "hits": values} if jsonl else values))
        else:
            console.rule(Text(render.quiet(query)), align="left")
            print_hits(found, console, full, as_json, jsonl, min_confidence)
        return bool(found)

    with searcher(settings, flags=take_encoder_flags(encoder), runtime=runtime, note=note) as engine:
        if text != "-":
            return 0 if show(text) else 1
        lines = (line.decode("utf-8", "replace").strip("\r\n") for line in sys.stdin.buffer)
        answered = [show(line) for line in lines if line.strip("\0 \t")]
        return 0 if any(answered) else 1


def print_hits(
    found: Sequence[Hit], console: Console, full: bool, as_json: bool, jsonl: bool, min_confidence: float | None
) -> None:
    """The answer to one query: hits on stdout, that there are none on stderr."""
    values = [render.hit_value(hit) for hit in found]
    if jsonl:
        for value in values:
            click.echo(render.dump(value))
    elif as_json:
        click.echo(render.dump(values))
    else:
        render.hits(found, console, full)
    if not found and min_confidence is not None:
        note(f"nothing relevant: no passage found is more similar than {min_confidence:g} of random pairs")
    elif not found and not (jsonl or as_json):
        note("nothing matches")


def note(text: str) -> None:
    click.echo(f"semsearch: {text}", err=True)
