"""Where the running server of a home is: a file that ``serve`` leaves there and commands look for.

It is read before every question, so that nothing heavy is imported here.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import semsearch

if TYPE_CHECKING:
    from pathlib import Path

    from semsearch.settings import Settings

FILE = ".server.json"
"""Its name in the folder of the collections."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server that listens."""

    host: str
    """Address to connect to; where a server listens on all, that of the machine itself."""
    port: int
    token: str
    """What it wants to be shown; empty: nothing."""
    pid: int
    version: str = semsearch.__version__
    collections: tuple[str, ...] | None = None
    """Names of those that may be asked; None: all of the home."""
    reranker: str | None = None
    """The one cross-encoder that it lets hits be read again by."""
    store: str | None = None
    """The database that keeps its collections, without a password; None: the home itself."""
    device: str | None = None
    """What it was told of where models run; None: nothing."""
    batch_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check every value: the file may be another's, or of another version."""
        texts = (self.host, self.token, self.version)
        optional = (self.reranker, self.store, self.device)
        named = self.collections
        if (
            not all(isinstance(each, str) for each in texts)
            or not all(each is None or isinstance(each, str) for each in optional)
            or not all(isinstance(each, int) for each in (self.port, self.pid))
            or not 0 < self.port < 2**16
            or self.pid < 1
            or not (self.batch_tokens is None or isinstance(self.batch_tokens, int))
            or not (named is None or all(isinstance(each, str) for each in named))
        ):
            raise ValueError("no description of a running server")
        object.__setattr__(self, "host", _EVERYWHERE.get(self.host, self.host))
        object.__setattr__(self, "collections", None if named is None else tuple(named))

    def serves(self, collection: str) -> bool:
        """Return whether a collection may be asked."""
        return self.collections is None or collection in self.collections


def announce(home: Path, server: Running) -> bool:
    """Leave the file that says where a server is, readable for its owner alone. Return whether that was possible.

    A home that cannot be written to is no error: commands then answer by themselves.
    """
    aside = home / f"{FILE}.{os.getpid()}"
    try:
        with suppress(FileNotFoundError):  # of a process of the same number that was killed here
            aside.unlink()
        private = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(private, "w", encoding="utf-8") as file:
            json.dump(asdict(server), file)
        aside.replace(home / FILE)
    except OSError as error:
        _LOG.debug("%s cannot be written: %s; commands will not find this server", home / FILE, error)
        return False
    return True


def withdraw(home: Path, server: Running) -> None:
    """Take the file away again, unless it speaks of another server by now."""
    if os.name == "posix" and _read(home) == server:
        with suppress(OSError):
            (home / FILE).unlink()


def find(home: Path) -> Running | None:
    """Return the server that the file of a home speaks of, where it may be one: of our version, its process alive.

    Whether it is still the one that answers there, only asking it tells.
    """
    server = _read(home) if os.name == "posix" else None  # elsewhere neither owners nor signals mean the same
    if server is None or server.version != semsearch.__version__ or not _is_alive(server.pid):
        return None
    return server


def serving(settings: Settings) -> Running | None:
    """Return the server that would answer for the settings' collection as this process does; None: there is none."""
    server = find(settings.root)
    if server is None or server.store != settings.shown_store or not server.serves(settings.collection):
        return None
    told = ((settings.device, server.device), (settings.batch_tokens, server.batch_tokens))
    return server if all(said in (None, its) for said, its in told) else None


def _read(home: Path) -> Running | None:
    """Return what the file says; None where there is none, or anybody else could have written or read it."""
    try:
        with (home / FILE).open(encoding="utf-8") as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
                return None
            return Running(**json.load(file))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):  # gone, or by now another person's
        return False
    return True
