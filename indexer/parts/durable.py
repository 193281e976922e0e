"""Files that are there whole or not at all, whoever else writes the same ones at the same time."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from indexer.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

ASIDE = ".writing"
"""Ending of files that are being written; what a killed process leaves under it is rubbish."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it into place.

    Raises:
        StoreError: It cannot be written.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{ASIDE}")
    try:
        with aside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; free space or permissions are needed"
        ) from error
