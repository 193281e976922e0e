"""One folder in the place of another, in one step."""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from typing import TYPE_CHECKING

from indexer.errors import StoreError
from indexer.storage.local.on_disk.files import sync_folder

if TYPE_CHECKING:
    from pathlib import Path


def exchange(live: Path, new: Path) -> Path:
    """Put the collection ``new`` in the place of ``live``; return the folder where the old one lies now, whole.

    The caller holds the writer's lock of both. Readers that have the old one open keep its files (they never write or
    remove one), readers that are just opening it notice and begin again. Whenever the process dies, ``live`` is a
    whole collection. Where the system cannot exchange two folders in one step, as Linux and macOS do on their own file
    systems, there is a moment without one.

    Raises:
        StoreError: The system refuses.
    """
    before = free_name(live, "before")
    try:
        if _swap_names(live, new):
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
    return before


def free_name(path: Path, ending: str) -> Path:
    """Return the first of ``NAME-ending``, ``NAME-ending-2``, … that is not taken, beside ``path``."""
    names = itertools.chain([f"{path.name}-{ending}"], (f"{path.name}-{ending}-{n}" for n in itertools.count(2)))
    return next(place for place in map(path.with_name, names) if not os.path.lexists(place))


def _swap_names(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; return False where the system or file system cannot."""
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one.absolute()), os.fsencode(other.absolute())
    if sys.platform.startswith("linux") and hasattr(libc, "renameat2"):
        here, exchange_flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        return bool(libc.renameat2(here, first, here, second, exchange_flag) == 0)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return bool(libc.renamex_np(first, second, 2) == 0)  # RENAME_SWAP
    return False
