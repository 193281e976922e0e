"""semsearch index"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from indexer.corpus.readers import ReadOptions
from indexer.pipeline import Observer, Report
from semsearch import render
from semsearch.cli.options import (
    collection_option,
    encoder_options,
    home_option,
    index_device_option,
    json_option,
    take_encoder_flags,
)
from semsearch.collections import Runtime, update
from semsearch.settings import load_settings

LOG_SECONDS = 10.0


class Reporter(Observer):
    """Progress on stderr: a bar when it is a terminal, a plain line now and then otherwise."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._passages = self._tokens = self._files = 0
        self._total = 0
        self._started = self._logged = time.monotonic()

    def note(self, text: str) -> None:
        click.echo(f"semsearch: {text}", err=True)

    def read(self, path: str, files: int) -> None:
        self._files = files
        if self._due():
            self.note(f"{files} files read")

    def planned(self, report: Report) -> None:
        self._total = report.to_embed
        self._started = self._logged = time.monotonic()
        if report.estimate is not None:
            self.note(
                f"{report.to_embed} passages, {report.tokens} tokens to embed: about "
                f"{render.duration(report.estimate)}. Ctrl-C keeps what is done; the next run goes on from there."
            )
        if report.to_embed and self._console.is_terminal:
            columns = (
                TextColumn("embedding"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} passages"),
                TextColumn("{task.fields[rate]} tokens/s"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=report.to_embed, rate="…")
            self._bar.start()

    def embedded(self, passages: int, tokens: int) -> None:
        self._passages += passages
        self._tokens += tokens
        elapsed = max(time.monotonic() - self._started, 1e-9)
        rate = self._tokens / elapsed
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._passages, rate=f"{rate:,.0f}")
        elif self._due():
            left = render.duration((self._total - self._passages) * elapsed / self._passages)
            self.note(f"{self._passages}/{self._total} passages, {rate:,.0f} tokens/s, {left} left")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _due(self) -> bool:
        due = time.monotonic() - self._logged > LOG_SECONDS
        if due:
            self._logged = time.monotonic()
        return due


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@home_option
@collection_option
@click.option("--text-field", multiple=True, metavar="NAME", help="Record field to search; repeat for several.")
@click.option("--title-field", metavar="NAME", help="Record field that is the title.")
@click.option("--id-field", metavar="NAME", help="Record field that identifies the record.")
@click.option("--max-bytes", type=click.IntRange(min=1), help="Largest file read as one document [default: 64 MiB].")
@click.option("--max-record-bytes", type=click.IntRange(min=1), help="Longest line of a record file [default: 16 MiB].")
@click.option("--name", default="stdin", show_default=True, help="What standard input (PATH -) is called in the index.")
@click.option("--passage-tokens", type=click.IntRange(min=8), help="Most tokens of a passage [default: 128].")
@click.option("--sparse", is_flag=True, help="Make the collection with a sparse index of the model's terms too.")
@index_device_option
@click.option("--force", is_flag=True, help="Index / or the home folder all the same.")
@click.option("--dry-run", is_flag=True, help="Read and split only: passages, tokens and the time it would take.")
@json_option
@encoder_options
def command(
    paths: tuple[str, ...],
    home: Path | None,
    collection: str | None,
    text_field: tuple[str, ...],
    title_field: str | None,
    id_field: str | None,
    max_bytes: int | None,
    max_record_bytes: int | None,
    name: str,
    passage_tokens: int | None,
    sparse: bool,
    index_device: str,
    force: bool,
    dry_run: bool,
    as_json: bool,
    device: str | None,
    batch_tokens: int | None,
    **encoder: Any,
) -> int:
    """Read files and folders into a collection, or bring it up to date.

    Only what is new or changed is embedded; what is gone from a PATH named here leaves the index. Without PATH all
    that the collection has been given before is looked at again. PATH - reads standard input.
    """
    flags = take_encoder_flags(encoder)
    settings = load_settings().override({"home": home, "collection": collection})
    options = {
        "text_fields": text_field or None,
        "title_field": title_field,
        "id_field": id_field,
        "max_bytes": max_bytes,
        "max_record_bytes": max_record_bytes,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if "-" in paths and len(paths) > 1:
        raise click.UsageError("standard input (-) is indexed alone; name files and folders in another run")
    reporter = Reporter()
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: what is done is kept
    try:
        report = update(
            settings,
            [] if paths == ("-",) else list(paths),
            flags=flags,
            runtime=Runtime(device or settings.device, batch_tokens or settings.batch_tokens, index_device),
            passage_tokens=passage_tokens,
            sparse=sparse,
            options=ReadOptions.from_dict(given) if given else None,
            stream=sys.stdin.buffer if paths == ("-",) else None,
            name=name,
            force=force,
            dry_run=dry_run,
            observer=reporter,
            note=reporter.note,
        )
    finally:
        reporter.close()
        signal.signal(signal.SIGTERM, previous)
    for root in report.vanished:
        reporter.note(f"{root} is gone or empty: its passages are kept; to drop them: semsearch remove {root}")
    if as_json:
        click.echo(render.dump(render.report_value(report, dry_run)))
    elif dry_run:
        estimate = f", about {render.duration(report.estimate)}" if report.estimate is not None else ""
        click.echo(f"{report.to_embed} passages, {report.tokens} tokens to embed{estimate}; nothing was changed")
    else:
        click.echo(render.report(report))
    if report.failed:
        reporter.note(f"{report.failed} files could not be read; see: semsearch status")
    return 4 if report.failed or report.vanished else 0
