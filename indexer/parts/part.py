"""Which files belong to which part of a run: by their paths alone, so that every process can tell by itself."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from indexer.errors import UsageError


@dataclass(frozen=True, order=True)
class Part:
    """One of ``of`` parts, the first has the number 1.

    Raises:
        UsageError: There is no such part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 1 <= self.number <= self.of:
            raise UsageError(f"{self} is no part; a part is I/N with I from 1 to N, such as 2/8")

    @classmethod
    def parse(cls, text: str) -> Part:
        """Return the part that a person writes as ``2/8``.

        Raises:
            UsageError: It is none.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if found is None:
            raise UsageError(f"{text!r} is no part; a part is I/N with I from 1 to N, such as 2/8")
        return cls(int(found[1]), int(found[2]))

    def holds(self, path: str) -> bool:
        """Tell whether the file at an absolute path is of this part: a stable hash of the path decides."""
        digest = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Part(1, 1)
"""The only part of a run that is not divided."""
