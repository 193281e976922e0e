"""Standard output as rich writes it, for answers that a person reads; rich is imported with this module."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class Terminal(Console):
    """Standard output. A reader that has gone is an error, not an exit with code 1."""

    def __init__(self) -> None:
        """Write to standard output."""
        super().__init__(soft_wrap=False, highlight=False)

    def on_broken_pipe(self) -> NoReturn:
        """Let the error through to where the exit code is decided."""
        raise BrokenPipeError
