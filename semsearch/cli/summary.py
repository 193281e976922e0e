"""What the summary of a run warns of, and the exit code that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semsearch.cli import output

if TYPE_CHECKING:
    from indexer.pipeline import Report
    from semsearch.results import Merged

MAX_WARNINGS = 5
"""Files read in part that a run names; ``semsearch status`` names all."""


def warn(report: Report) -> int:
    """Say what a person should know of a run. Return its exit code."""
    for root in report.vanished:
        output.LOG.warning("%s is gone or empty: its passages are kept; to drop them: semsearch remove %s", root, root)
    for path, said in sorted(report.warnings.items())[:MAX_WARNINGS]:
        output.LOG.warning("%s: %s", path, "; ".join(said))
    if len(report.warnings) > MAX_WARNINGS:
        output.LOG.warning(
            "%d more files were read in part; see: semsearch status", len(report.warnings) - MAX_WARNINGS
        )
    if report.failed:
        output.LOG.warning("%d files could not be read; see: semsearch status", report.failed)
    return 4 if report.failed or report.vanished else 0


def warn_of_merge(merged: Merged) -> int:
    """Say what a person should know of a merge. Return its exit code."""
    if merged.unfinished:
        output.LOG.warning(
            "parts %s are not finished: make them (semsearch index --shard I/N) and merge again; until then nothing "
            "that is gone leaves the collection",
            ", ".join(map(str, merged.unfinished)),
        )
    if merged.pending:
        output.LOG.warning("%d passages of other runs wait for vectors; finish with: semsearch index", merged.pending)
    return warn(merged.report) or (4 if merged.unfinished else 0)
