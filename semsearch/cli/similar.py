"""semsearch similar"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from semsearch.cli.options import collection_option, home_option
from semsearch.cli.query import answer_options, note, print_hits
from semsearch.collections import Runtime, searcher
from semsearch.search import filters
from semsearch.settings import load_settings


@click.command()
@click.argument("place", metavar="PATH[:LINE]")
@home_option
@collection_option
@click.option("--itself", is_flag=True, help="Show passages of the same file or record too.")
@answer_options
def command(
    place: str,
    home: Path | None,
    collection: str | None,
    itself: bool,
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
) -> int:
    """More like an indexed file, or like the passage on one of its lines.

    Stored vectors are compared, and no model is loaded unless it is to --explain. The file itself is left out; of a
    file of records (CSV, TSV, JSON lines) with LINE only the record on it.
    Exit code 1 when there is nothing else.
    """
    settings = load_settings().override({"home": home, "collection": collection})
    runtime = Runtime(settings.device, settings.batch_tokens, index_device)
    with searcher(settings, runtime=runtime, note=note) as engine:
        found = engine.similar(
            place,
            None,
            k,
            filters.parse(expressions),
            itself=itself,
            per_document=per_document,
            collapse=collapse,
            explain=explain,
            min_confidence=min_confidence,
        )
        print_hits(found, Console(soft_wrap=False, highlight=False), full, as_json, jsonl, min_confidence)
        return 0 if found else 1
