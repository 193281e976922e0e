"""Standard output as a terminal: how wide it is, whether it shows styles, and a line across it."""

from __future__ import annotations

import os
import sys

from semsearch.wrapping import cells

WIDTH = 80
"""Cells of a line where there is no terminal."""


def width() -> int:
    """Return the cells of a line: what COLUMNS says, or the terminal behind one of the standard streams."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdecimal() and int(said):
        return int(said)
    for stream in range(3):
        try:
            columns = os.get_terminal_size(stream).columns
        except OSError:
            continue
        if columns:
            return columns
    return WIDTH


def has_styles() -> bool:
    """Return whether bold letters and colours are shown: on a terminal, unless NO_COLOR or TERM say otherwise."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def rule(title: str) -> str:
    """Return a title on a line across the terminal."""
    try:
        "─".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeError:
        sign = "-"
    else:
        sign = "─"
    return f"{title} {sign * max(1, width() - cells(title) - 1)}"
