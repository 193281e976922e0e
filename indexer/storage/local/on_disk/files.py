"""Files that survive a kill: written aside, flushed, renamed, their folder flushed. And the writer's lock."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from indexer.errors import LockedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASIDE = ".part"
"""Ending of files that are being written; what a killed process leaves under it is rubbish."""


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file under another name, then put it at ``path`` in one durable step.

    Raises StoreError where the disk refuses (full, read-only).
    """
    aside = path.with_name(path.name + ASIDE)
    try:
        write(aside)
        with open(aside, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror or error}; free space or permissions needed") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file durably, in one step."""
    write_aside(path, lambda aside: aside.write_bytes(content))


def sync_folder(path: Path) -> None:
    """Make renames and removals in the folder durable (a no-op where folders cannot be opened, as on Windows)."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"cannot flush {path}: {error.strerror or error}; look at the disk") from error


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unchanged(path: Path, size: int, mtime_ns: int, digest: str) -> bool:
    """Whether a file is the one that was written: trusted where size and time are as noted then, else read whole."""
    try:
        stat = path.stat()
        if stat.st_size != size:
            return False
        return stat.st_mtime_ns == mtime_ns or sha256(path) == digest
    except OSError:
        return False


class WriterLock:
    """One writer at a time. The operating system holds the lock, so it dies with its process.

    ``lock`` is the locked file, ``lock.json`` names the holder for the message that another writer gets.
    """

    def __init__(self, folder: Path):
        self._holder = folder / "lock.json"
        self._lock = FileLock(folder / "lock", timeout=0, thread_local=False)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockedError: Another process, or another writer of this one, has it.
            StoreError: The folder cannot be written.
        """
        try:
            self._lock.acquire()
        except Timeout as error:
            raise LockedError(
                f"{self._holder.parent} is being written by {self._name()}; "
                "searching it works meanwhile, another write has to wait until that one has ended"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot lock {self._holder.parent}: {error.strerror or error}") from error
        # Only for the message, so neither durable nor fatal when the disk is full.
        with suppress(OSError):
            self._holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def _name(self) -> str:
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            return f"process {holder['pid']} on {holder['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
