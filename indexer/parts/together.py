"""Bring a collection up to date with many writers: workers stage and embed, this process keeps account of the files."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from indexer.embedder import COMMIT_SECONDS
from indexer.parsing import Job
from indexer.pipeline import Intake, Report, ended
from indexer.plan import make_plan
from indexer.progress import Progress, ShardWritten, silent

if TYPE_CHECKING:
    from indexer.parts.produce import Workers
    from indexer.plan import Walk
    from indexer.storage.store import Store


def update_together(
    store: Store, walk: Walk, workers: Workers, *, checksum: bool = False, progress: Progress = silent
) -> Report:
    """Index what a walk has found, as ``pipeline.update`` does in one process.

    Args:
        store: The collection; workers write to it too.
        walk: What there is.
        workers: Read, stage and embed.
        checksum: Look at the bytes of every file, whatever its size and times say.
        progress: Hears of every bundle of files.
    """
    started = time.monotonic()
    report = Report()
    with store.writer() as writer:
        with store.snapshot() as snapshot:
            plan = make_plan(snapshot, walk, checksum=checksum)
        intake = Intake(writer, plan, report)
        intake.begin()
        writer.commit()
        asked = {each.file.path: each for each in plan.read}
        done, last = 0, time.monotonic()
        with closing(workers.run([Job(each.file, each.options, each.known) for each in plan.read])) as results:
            for written in results:
                report.embedded += written.texts
                report.reused += written.reused
                for file in written.staged:
                    intake.count(asked[file.path], file)
                for file in written.left_out:
                    intake.leave_out(asked[file.path], file)
                for path in written.same:
                    intake.take(asked[path], None)
                done += len(written.staged) + len(written.left_out) + len(written.same)
                progress(ShardWritten(done, len(asked), written.texts, written.tokens))
                if time.monotonic() - last > COMMIT_SECONDS:
                    writer.commit()
                    last = time.monotonic()
        intake.end()
        writer.finish(progress)
    return ended(report, store, started)
