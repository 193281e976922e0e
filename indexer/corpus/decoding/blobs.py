"""Runs of base64 and other encoded bytes in text: they are no language, and are never embedded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexer.corpus.formats import human

if TYPE_CHECKING:
    from indexer.types import Notes

MIN_RUN = 160
"""Characters from which a run of base64's letters can be encoded bytes; words and names are shorter."""

_DATA_URI = re.compile(
    r"(data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[\w.+\"-]+)*)(;base64,[A-Za-z0-9+/=_%-]{64,}|,[^\s\"'<>)\]]{160,})", re.I
)
_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{{MIN_RUN},}}={{0,2}}")
_HEX = re.compile(rf"[0-9A-Fa-f]{{{MIN_RUN},}}")
_LINES = re.compile(
    r"(?:^[ \t>\"'#/*|]*[A-Za-z0-9+/]{48,128}={0,2}[\"',;)\\]*(?:\\n)?[\"',;)\\+ \t]*$\n?){3,}"
    r"(?:^[ \t>\"'#/*|]*[A-Za-z0-9+/]{2,128}={0,2}[\"',;)\\]*[ \t]*$\n?)?",
    re.MULTILINE,
)
_HEX_LINES = re.compile(
    r"(?:^[ \t>]*(?:[0-9A-Fa-f]{32,}|(?:[0-9A-Fa-f]{2}[ :]){15,}[0-9A-Fa-f]{0,2})[ \t]*$\n?){8,}", re.MULTILINE
)
_UUENCODED = re.compile(r"^begin(?:-base64)? [0-7]{3,4} [^\n]+\n(?:[^\n]{1,80}\n)+?(?:`\n)?(?:end|====)$", re.M)
_GIT_BINARY = re.compile(r"^(?:literal|delta) \d+\n(?:[A-Za-z][^\s]{5,66}\n)+", re.M)


class Blobs:
    """Takes encoded bytes out of the texts of one file and counts them."""

    def __init__(self) -> None:
        """Begin to count."""
        self.count = 0
        self.size = 0

    def remove(self, text: str) -> str:
        """Return text without encoded bytes; an ellipsis stands where they were, and every line keeps its number.

        Found are data: URIs, long runs of base64 and of hexadecimal digits in one line or wrapped over several,
        uuencoded files and git's binary patches.
        """
        if len(text) < MIN_RUN:
            return text
        if "data:" in text or "DATA:" in text:
            text = _DATA_URI.sub(lambda match: self._drop(match, match[1]), text)
        text = _RUN.sub(lambda match: self._drop(match) if _encoded(match[0]) else match[0], text)
        text = _LINES.sub(lambda match: self._drop(match) if _encoded(re.sub(r"\W+", "", match[0])) else match[0], text)
        text = _HEX_LINES.sub(self._drop, text)
        text = _HEX.sub(self._drop, text)
        if "begin" in text:
            text = _UUENCODED.sub(self._drop, text)
        if "GIT binary patch" in text:
            text = _GIT_BINARY.sub(self._drop, text)
        return text

    def note(self, notes: Notes) -> None:
        """Add a warning that says how much was left out, if anything was."""
        if self.count:
            runs = f"{self.count} run{'s' * (self.count != 1)}"
            notes.warnings.append(f"{runs} of encoded bytes (base64 and the like) left out: {human(self.size)}")

    def _drop(self, match: re.Match[str], kept: str = "") -> str:
        self.size += len(match[0]) - len(kept)
        self.count += 1
        return kept + "…" + "\n" * match[0].count("\n")


def _encoded(run: str) -> bool:
    """Return whether a run mixes letters of both cases and digits as encoded bytes do, and paths and names do not."""
    run = run[:4096]
    size = len(run)
    upper = sum("A" <= char <= "Z" for char in run) / size
    lower = sum("a" <= char <= "z" for char in run) / size
    digits = sum("0" <= char <= "9" for char in run) / size
    if run.count("_") + run.count("-") > 0.1 * size or run.count("/") > 0.08 * size:
        return False
    return (upper > 0.15 and lower > 0.15 and digits > 0.03) or run.count("A") > 0.9 * size
