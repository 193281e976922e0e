"""Search a collection: ``semsearch query``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from indexer.errors import LockedError
from semsearch import render
from semsearch.cli import output
from semsearch.cli.asked import asked_options
from semsearch.cli.options import SEARCH_OPTIONS, Shown, request_options, show_options
from semsearch.search.asking.request import SearchRequest
from semsearch.search.showing.hits import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from semsearch.cli.asked import Asked


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TEXT...")
@request_options(SearchRequest, SEARCH_OPTIONS)
@show_options
@click.option("--update", is_flag=True, help="First bring the index up to date with the files that it was given.")
@asked_options(encoder=True, index_device=True)
def command(
    docs: Asked, words: tuple[str, ...], request: Callable[[str], SearchRequest], shown: Shown, update: bool
) -> int:
    """The passages that answer TEXT; with - one query a line from standard input, the model staying loaded.

    The encoder is the one that made the index and need not be named; naming another is refused (exit code 3).
    A server of these collections that runs (semsearch serve) is asked where it can answer; the answer is the same.
    Exit code 1 when nothing matches, or with --min-confidence nothing is relevant.
    """
    if update:
        _update(docs)
    if words == ("-",):
        return _stream(docs, request, shown)
    asked = request(" ".join(words))
    if len(words) > 1:
        output.LOG.info("one query: %s; in quotes, no shell changes it", render.quiet(asked.query))
    found = docs.search(asked)
    output.answer(found, shown, asked.min_confidence)
    return 0 if found else 1


def _update(docs: Asked) -> None:
    """Bring the index up to date, and say what was done; standard output is for the answer."""
    from semsearch.cli import summary
    from semsearch.cli.progress import Reporter

    try:
        with Reporter() as progress:
            report = docs.update(progress)
    except LockedError as error:
        output.LOG.warning("the index was not brought up to date, and is asked as it is: %s", error)
        return
    output.LOG.info("%s", render.report(report))
    summary.warn(report)


def _stream(docs: Asked, request: Callable[[str], SearchRequest], shown: Shown) -> int:
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
