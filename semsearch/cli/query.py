"""Search a collection: ``semsearch query``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from semsearch import render
from semsearch.cli import output
from semsearch.cli.options import SEARCH_OPTIONS, Shown, collection_options, request_options, show_options
from semsearch.search.hits import Answer
from semsearch.search.request import SearchRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from semsearch.collection import Collection


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TEXT...")
@request_options(SearchRequest, SEARCH_OPTIONS)
@show_options
@collection_options(encoder=True, index_device=True)
def command(docs: Collection, words: tuple[str, ...], request: Callable[[str], SearchRequest], shown: Shown) -> int:
    """The passages that answer TEXT; with - one query a line from standard input, the model staying loaded.

    The encoder is the one that made the index and need not be named; naming another is refused (exit code 3).
    Exit code 1 when nothing matches, or with --min-confidence nothing is relevant.
    """
    if words == ("-",):
        return _stream(docs, request, shown)
    asked = request(" ".join(words))
    if len(words) > 1:
        output.LOG.info("one query: %s; in quotes, no shell changes it", render.quiet(asked.query))
    found = docs.search(asked)
    output.answer(found, shown, asked.min_confidence)
    return 0 if found else 1


def _stream(docs: Collection, request: Callable[[str], SearchRequest], shown: Shown) -> int:
    """Answer the queries on standard input, one a line, as they come."""
    answered, said = False, set[str]()
    for line in _lines():
        asked = request(line)
        found = docs.search(asked)
        answered |= bool(found)
        values = [render.hit_value(hit) for hit in found]
        if shown.jsonl or shown.as_json:
            output.remarks(found, said)
            click.echo(output.json_text({"query": line, "hits": values} if shown.jsonl else values))
        else:
            output.heading(line)
            output.answer(
                Answer(found.hits, tuple(n for n in found.notes if n not in said)), shown, asked.min_confidence
            )
            said |= set(found.notes)
    return 0 if answered else 1


def _lines() -> Iterator[str]:
    """Yield the lines of standard input that say something."""
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "replace").strip("\r\n")
        if text.strip("\0 \t"):
            yield text
