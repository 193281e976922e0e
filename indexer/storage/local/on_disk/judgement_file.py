"""judgements.jsonl: what people said of a collection's answers, a line each, appended and flushed.

An append-only file of its own, not a table of the catalog: SQLite lets one write at a time, and a run that indexes may
hold it for minutes, while a person who judges waits for the answer. A line is written whole by one call and flushed
before the call returns; a line that a kill left torn has no end, was never acknowledged, and is dropped by the next
append. Superseded lines stay, as they are few and say what was thought before.

A lock beside the file, held for milliseconds, puts appends in order and keeps a folder from being put in this one's
place between opening and writing.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from indexer.errors import CorruptError, LockedError, StoreError
from indexer.judgements import FILE, judgement_of, line
from indexer.storage.local.on_disk.files import sync_folder, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from indexer.types import Judgement

PATIENCE_SECONDS = 30.0
"""How long an append waits for others; each takes milliseconds."""


class JudgementFile:
    """The judgements of the collection in a folder."""

    def __init__(self, folder: Path):
        """Name the file; there may be none yet."""
        self._path = folder / FILE
        self._lock = FileLock(folder / "judgements.lock", timeout=PATIENCE_SECONDS, thread_local=False)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            LockedError: Others hold it for longer than can be.
            StoreError: The folder cannot be written.
        """
        try:
            self._lock.acquire()
        except Timeout as error:
            raise LockedError(f"{self._path} is being written for {PATIENCE_SECONDS:g} s; look for a stopped process "
                              "that has it open, and judge again") from error  # fmt: skip
        except OSError as error:
            raise StoreError(f"cannot lock {self._path.parent}: {error.strerror or error}") from error
        try:
            yield
        finally:
            self._lock.release()

    def append(self, judgements: Iterable[Judgement]) -> None:
        """Add lines, durably. The caller holds the lock.

        Raises:
            StoreError: The disk refuses; nothing was added.
        """
        content = "".join(map(line, judgements)).encode()
        fresh = not self._path.exists()
        try:
            with self._path.open("ab+", buffering=0) as stream:
                end = _whole(stream.fileno())
                try:
                    stream.truncate(end)
                    written = stream.write(content)
                    if written != len(content):
                        raise OSError(None, "no space left for the whole of it")
                    os.fsync(stream.fileno())
                except OSError:
                    with suppress(OSError):
                        stream.truncate(end)
                    raise
            if fresh:
                sync_folder(self._path.parent)
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror or error}; free space or permissions needed"
            ) from error

    def read(self) -> Iterator[Judgement]:
        """Yield every line, superseded ones too, without one that was torn.

        Raises:
            CorruptError: A line is damaged.
            StoreError: The file cannot be read.
        """
        for number, content in enumerate(self._content().split(b"\n")[:-1], 1):
            try:
                yield judgement_of(content.decode("utf-8"))
            except ValueError as error:
                raise CorruptError(
                    f"{self._path} line {number} is damaged: {error}; restore the file from a copy, or delete the line"
                ) from error

    def copy_to(self, folder: Path) -> None:
        """Write the file into another folder, in place of one there. The caller holds the lock."""
        content = self._content()
        if content or (folder / FILE).exists():
            write_bytes(folder / FILE, content[: content.rfind(b"\n") + 1])

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StoreError(f"cannot read {self._path}: {error.strerror or error}; look at its permissions") from error


def _whole(descriptor: int) -> int:
    """Return the length of a file up to the end of its last whole line."""
    content = b""
    position = os.lseek(descriptor, 0, os.SEEK_END)
    while position and b"\n" not in content:
        start = max(0, position - 65_536)
        os.lseek(descriptor, start, os.SEEK_SET)
        content = os.read(descriptor, position - start)
        position = start
    return position + content.rfind(b"\n") + 1
