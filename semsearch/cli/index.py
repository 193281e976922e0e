"""Bring a collection up to date: ``semsearch index``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import click

from semsearch import render
from semsearch.cli import output, summary
from semsearch.cli.options import (
    collection_options,
    gather,
    index_plan_option,
    index_recall_option,
    json_option,
    read_options,
    shards_option,
)
from semsearch.cli.progress import Reporter

if TYPE_CHECKING:
    from pathlib import Path

    from indexer.corpus.formats import ReadOptions
    from indexer.pipeline import Report
    from semsearch.collection import Collection


HERE = "here"
"""Value of --ray without an address."""


class _InParts(TypedDict):
    """What ``Collection.index_part`` and ``Collection.index_on_ray`` are told alike."""

    shards: Path | None
    options: ReadOptions | None
    passage_tokens: int | None
    sparse: bool
    force: bool
    checksum: bool


@dataclass(frozen=True)
class _How:
    """How a new collection is made, and what of it is done now."""

    name: str = "stdin"
    passage_tokens: int | None = None
    sparse: bool = False
    force: bool = False
    checksum: bool = False
    dry_run: bool = False
    index_plan: str | None = None
    index_recall: float | None = None
    shard: str | None = None
    shards: Path | None = None
    ray: str | None = None

    def in_parts(self, options: ReadOptions | None) -> _InParts:
        """Return what is said of a run in parts, here or on a cluster."""
        return {
            "shards": self.shards,
            "options": options,
            "passage_tokens": self.passage_tokens,
            "sparse": self.sparse,
            "force": self.force,
            "checksum": self.checksum,
        }


HOW_OPTIONS = [
    click.option(
        "--name", default="stdin", show_default=True, help="What standard input (PATH -) is called in the index."
    ),
    click.option("--passage-tokens", type=click.IntRange(min=8), help="Most tokens of a passage [default: 128]."),
    click.option("--sparse", is_flag=True, help="Make the collection with a sparse index of the model's terms too."),
    click.option("--force", is_flag=True, help="Index / or the home folder all the same."),
    click.option("--checksum", is_flag=True, help="Look at the bytes of every file, whatever size and times say."),
    index_plan_option,
    index_recall_option,
    click.option("--dry-run", is_flag=True, help="Read and split only: passages, tokens and the time it would take."),
    click.option(
        "--shard",
        metavar="I/N",
        help="Read and embed part I of N of the files into shards; `semsearch merge` takes all parts in.",
    ),
    click.option(
        "--ray",
        metavar="[ADDRESS]",
        is_flag=False,
        flag_value=HERE,
        help="Read and embed on a Ray cluster (HOST:PORT, ray://HOST:PORT, auto), or with several processes here.",
    ),
    shards_option,
]


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@read_options
@gather("how", _How, HOW_OPTIONS)
@json_option
@collection_options(create=True, encoder=True, index_device=True)
def command(docs: Collection, paths: tuple[str, ...], options: ReadOptions | None, how: _How, as_json: bool) -> int:
    """Read files and folders into a collection, or bring it up to date.

    Only what is new or changed is embedded; what is gone from a PATH named here leaves the index. Without PATH all
    that the collection has been given before is looked at again. PATH - reads standard input.
    """
    _check(paths, how)
    if how.shard is not None:
        return _part(docs, paths, options, how, how.shard, as_json)
    if how.ray is not None:
        return _on_ray(docs, paths, options, how, None if how.ray == HERE else how.ray, as_json)
    if "-" in paths and len(paths) > 1:
        raise click.UsageError("standard input (-) is indexed alone; name files and folders in another run")
    with Reporter() as progress:
        report = _run(docs, paths, options, how, progress)
    text = render.dry_run(report) if how.dry_run else render.report(report)
    output.value(render.report_value(report, how.dry_run), text, as_json)
    return summary.warn(report)


def _check(paths: tuple[str, ...], how: _How) -> None:
    """Refuse options that do not go together."""
    if how.shard is not None and how.ray is not None:
        raise click.UsageError("--shard makes one part in this process, --ray all of them on a cluster: give one")
    if how.shard is not None and (how.index_plan is not None or how.index_recall is not None):
        raise click.UsageError(
            "the index is built of all parts: give --index-plan and --index-recall to semsearch merge"
        )
    if how.shard is None and how.ray is None:
        if how.shards is not None:
            raise click.UsageError("--shards is the folder of shards; make some with --shard I/N or --ray")
        return
    if how.dry_run or "-" in paths:
        raise click.UsageError("--shard and --ray go neither with --dry-run nor with standard input (-)")
    if how.ray not in (None, HERE, "auto") and ":" not in str(how.ray):
        raise click.UsageError(
            f"{how.ray!r} is no address of a Ray cluster (HOST:PORT, ray://HOST:PORT, auto); to use this machine "
            "alone, put --ray behind the paths"
        )


def _part(
    docs: Collection, paths: tuple[str, ...], options: ReadOptions | None, how: _How, part: str, as_json: bool
) -> int:
    """Make one part of a run."""
    with Reporter() as progress:
        report = docs.index_part(paths, part, progress=progress, **how.in_parts(options))
    output.value(render.part_value(report), render.part(report), as_json)
    if report.failed:
        output.LOG.warning(
            "%d files could not be read, or not wholly; after the merge see: semsearch status", report.failed
        )
    return 4 if report.failed else 0


def _on_ray(
    docs: Collection, paths: tuple[str, ...], options: ReadOptions | None, how: _How, address: str | None, as_json: bool
) -> int:
    """Do everything on a cluster."""
    with Reporter() as progress:
        merged = docs.index_on_ray(
            paths,
            address,
            index_plan=how.index_plan,
            index_recall=how.index_recall,
            progress=progress,
            **how.in_parts(options),
        )
    output.value(render.report_value(merged.report, dry_run=False), render.report(merged.report), as_json)
    return summary.warn_of_merge(merged)


def _run(
    docs: Collection, paths: tuple[str, ...], options: ReadOptions | None, how: _How, progress: Reporter
) -> Report:
    if paths == ("-",):
        return docs.index_stream(
            sys.stdin.buffer,
            how.name,
            options=options,
            passage_tokens=how.passage_tokens,
            sparse=how.sparse,
            index_plan=how.index_plan,
            index_recall=how.index_recall,
            progress=progress,
        )
    return docs.index(
        paths,
        options=options,
        passage_tokens=how.passage_tokens,
        sparse=how.sparse,
        force=how.force,
        checksum=how.checksum,
        dry_run=how.dry_run,
        index_plan=how.index_plan,
        index_recall=how.index_recall,
        progress=progress,
    )
