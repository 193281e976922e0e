"""Logging of the command line: one handler, to standard error, and the options -v and -q."""

from __future__ import annotations

import logging

import click

OURS = ("semsearch", "indexer")


class StderrHandler(logging.Handler):
    """Writes remarks as ``semsearch: text``; with -v the time and the logger's name stand before."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            click.echo(self.format(record), err=True)
        except Exception:  # as logging does: a log line that cannot be written ends no command
            self.handleError(record)


def set_up(verbose: int = 0, quiet: bool = False) -> None:
    """Send log records to standard error, through one handler however often this is called.

    Args:
        verbose: 0 shows remarks for a person, 1 the details of our own modules, 2 those of other libraries too.
        quiet: Show errors alone.
    """
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, StderrHandler)]:
        root.removeHandler(handler)
    handler = StderrHandler()
    details = "%(asctime)s %(name)s: %(message)s" if verbose else "semsearch: %(message)s"
    handler.setFormatter(logging.Formatter(details))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose > 1 else logging.WARNING)
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO
    for name in OURS:
        logging.getLogger(name).setLevel(level)


def verbosity_options() -> list[click.Option]:
    """Return the options -v and -q. They set the level and reach no command's function."""

    def verbose(ctx: click.Context, parameter: click.Parameter, value: int) -> None:  # noqa: ARG001 - click's signature
        if value and not ctx.resilient_parsing:
            set_up(verbose=value)

    def quiet(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
        if value and not ctx.resilient_parsing:
            set_up(quiet=True)

    return [
        click.Option(
            ["-v", "--verbose"],
            count=True,
            callback=verbose,
            expose_value=False,
            help="Say more; -vv: also of libraries.",
        ),
        click.Option(["-q", "--quiet"], is_flag=True, callback=quiet, expose_value=False, help="Say errors alone."),
    ]
