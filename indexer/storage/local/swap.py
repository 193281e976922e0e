"""One collection in the place of another, in one step."""

from __future__ import annotations

import ctypes
import itertools
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from indexer.errors import LockedError, StoreError
from indexer.storage.local.files import WriterLock, sync_folder
from indexer.storage.manifest import Manifest
from indexer.storage.local.sql_catalog import NAME as CATALOG
from indexer.storage.local.sql_catalog import SqlCatalog

WAIT = 10.0
"""Seconds that a swap waits for readers to end."""


def swap(live: Path, new: Path, generation: int, wait: float | None = None) -> Path:
    """Put the collection ``new``, made from ``live`` at ``generation``, in its place; the folder where the old one
    lies now, whole.

    Both stores must be closed. Whenever the process dies, ``live`` is a whole collection, the old one or the new one.
    (Where the system cannot exchange two folders in one step, as Linux and macOS do on their own file systems, there
    is a moment without one: the old one then lies beside it under the name that this returns.)

    Raises LockedError where another process writes to either or has the old one open: SQLite, on closing a file,
    removes what lies under the names that the file had when it was opened. StoreError where ``live`` has changed.
    """
    Manifest.load(live), Manifest.load(new)  # collections, both
    before = free_name(live, "before")
    locks = [WriterLock(live), WriterLock(new)]
    for i, lock in enumerate(locks):
        try:
            lock.acquire()
        except LockedError:
            for taken in locks[:i]:
                taken.release()
            raise
    try:
        if _generation(live) != generation:
            raise StoreError(f"{live} has changed since {new} was made from it; make it again, it goes on from there")
        wait = WAIT if wait is None else wait
        with _alone(new / CATALOG, wait), _alone(live / CATALOG, wait):
            try:
                if _exchange(live, new):
                    sync_folder(live.absolute().parent)
                    os.rename(new, before)
                else:
                    os.rename(live, before)
                    try:
                        os.rename(new, live)
                    except OSError:
                        os.rename(before, live)
                        raise
            except OSError as error:
                raise StoreError(f"cannot put {new} in the place of {live}: {error.strerror or error}") from error
            sync_folder(live.absolute().parent)
    finally:
        for lock in locks:
            lock.release()
    return before


def free_name(path: Path, what: str) -> Path:
    """The first of ``NAME-what``, ``NAME-what-2``, … that is not taken, beside ``path``."""
    names = itertools.chain([f"{path.name}-{what}"], (f"{path.name}-{what}-{n}" for n in itertools.count(2)))
    return next(place for place in map(path.with_name, names) if not os.path.lexists(place))


def _generation(folder: Path) -> int:
    catalog = SqlCatalog(folder / CATALOG, writable=False)
    try:
        return catalog.state()[0]
    finally:
        catalog.close()


@contextmanager
def _alone(catalog: Path, wait: float) -> Iterator[None]:
    """No other connection to a database, and no write-ahead log, while this lasts: whoever opens it waits, and then
    finds that the file has moved."""
    with closing(sqlite3.connect(catalog, timeout=0.1, isolation_level=None)) as connection:
        until = time.monotonic() + wait
        while True:
            try:
                connection.execute("PRAGMA journal_mode = DELETE").fetchone()  # refused while others have it open
                connection.execute("BEGIN EXCLUSIVE")
                if connection.execute("PRAGMA journal_mode").fetchone() == ("delete",):  # nobody came in between
                    break
                connection.execute("ROLLBACK")
                reason = "it was opened just now"
            except sqlite3.OperationalError as error:
                reason = str(error)
            if time.monotonic() > until:
                raise LockedError(
                    f"{catalog.parent} is open in another program (a search, a server), so it cannot be replaced "
                    f"({reason}); end that program and try again"
                )
            time.sleep(0.05)
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; False where the system or file system cannot."""
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one.absolute()), os.fsencode(other.absolute())
    if sys.platform.startswith("linux") and hasattr(libc, "renameat2"):
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        return libc.renameat2(here, first, here, second, exchange) == 0
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return libc.renamex_np(first, second, 2) == 0  # RENAME_SWAP
    return False
