"""Show how far an indexing run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from indexer.progress import Event, FileRead, IndexBuilt, IndexPlanned, Planned, ShardWritten
from semsearch import render

if TYPE_CHECKING:
    from types import TracebackType

LOG_SECONDS = 10.0
QUICK_SECONDS = 1.0
"""Predicted time of building an index below which nothing is said of it."""
LOG = logging.getLogger("semsearch.cli")


class Reporter:
    """Hears of progress, and shows it on standard error."""

    def __init__(self) -> None:
        """Begin to count."""
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._passages = self._tokens = 0
        self._total = 0
        self._index_level = logging.DEBUG
        self._started = self._logged = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Show what happened."""
        if isinstance(event, FileRead):
            LOG.debug("read %s", event.path)
            if self._due():
                LOG.info("%d files read", event.files)
        elif isinstance(event, Planned):
            self._planned(event)
        elif isinstance(event, ShardWritten):
            self._written(event)
        elif isinstance(event, IndexPlanned):
            self._index_planned(event)
        elif isinstance(event, IndexBuilt):
            LOG.log(self._index_level, "index: %s, built in %s", render.index(event.report),
                    render.duration(event.report.seconds))  # fmt: skip
        else:
            self._embedded(event.texts, event.tokens)

    def _index_planned(self, plan: IndexPlanned) -> None:
        """Say which index will be built; of one that is there at once only a person who wants to hear everything."""
        self._index_level = logging.INFO if plan.seconds >= QUICK_SECONDS else logging.DEBUG
        LOG.log(self._index_level, "index: building %s of %d passages, about %s and %s: %s", plan.factory, plan.rows,
                render.size(plan.bytes), render.duration(plan.seconds), plan.why)  # fmt: skip

    def _planned(self, plan: Planned) -> None:
        """Say how long a long run will take, and begin to show how far it is."""
        self._total = plan.texts
        self._started = self._logged = time.monotonic()
        if plan.seconds is not None:
            LOG.info(
                "%d passages, %d tokens to embed: about %s. Ctrl-C keeps what is done; the next run goes on from "
                "there.",
                plan.texts,
                plan.tokens,
                render.duration(plan.seconds),
            )
        if plan.texts and self._console.is_terminal and LOG.isEnabledFor(logging.INFO):
            columns = (
                TextColumn("embedding"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} passages"),
                TextColumn("{task.fields[rate]} tokens/s"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=plan.texts, rate="…")
            self._bar.start()

    def _written(self, event: ShardWritten) -> None:
        """Say how far a part is."""
        self._passages += event.texts
        self._tokens += event.tokens
        if self._due():
            rate = self._tokens / max(time.monotonic() - self._started, 1e-9)
            LOG.info("%d/%d files, %d passages, %s tokens/s", event.files, event.of, self._passages, f"{rate:,.0f}")

    def _embedded(self, passages: int, tokens: int) -> None:
        """Show that so many more passages are done."""
        self._passages += passages
        self._tokens += tokens
        elapsed = max(time.monotonic() - self._started, 1e-9)
        rate = self._tokens / elapsed
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._passages, rate=f"{rate:,.0f}")
        elif self._due():
            left = render.duration((self._total - self._passages) * elapsed / max(1, self._passages))
            LOG.info("%d/%d passages, %s tokens/s, %s left", self._passages, self._total, f"{rate:,.0f}", left)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def _due(self) -> bool:
        due = time.monotonic() - self._logged > LOG_SECONDS
        if due:
            self._logged = time.monotonic()
        return due
