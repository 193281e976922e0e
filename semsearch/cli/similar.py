"""Find more like an indexed passage: ``semsearch similar``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from semsearch.cli import output
from semsearch.cli.asked import asked_options
from semsearch.cli.options import HIT_OPTIONS, Shown, request_options, show_options
from semsearch.search.asking.request import SimilarRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from semsearch.cli.asked import Asked

OPTIONS = [click.option("--itself", is_flag=True, help="Show passages of the same file or record too."), *HIT_OPTIONS]


@click.command()
@click.argument("place", metavar="PATH[:LINE]|ID")
@request_options(SimilarRequest, OPTIONS)
@show_options
@asked_options(index_device=True)
def command(docs: Asked, place: str, request: Callable[[str], SimilarRequest], shown: Shown) -> int:
    """More like an indexed file, or like the passage on one of its lines; ID is that of a hit (``passage`` in --json).

    Stored vectors are compared, and no model is loaded unless it is to --explain. The file itself is left out; of a
    file of records (CSV, TSV, JSON lines) with LINE only the record on it.
    Exit code 1 when there is nothing else.
    """
    asked = request(place)
    found = docs.similar(asked)
    output.answer(found, shown, asked.min_confidence)
    return 0 if found else 1
