"""The walk over files and folders: what there is to read, and what is left out, with the reason."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.corpus.decoding.text import explain, opened, special
from indexer.corpus.folders import ignore
from indexer.corpus.formats import has_binary_name, kind_by_content, kind_of, looks_binary, printable
from indexer.corpus.source import Unpacked
from indexer.errors import ReadError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indexer.corpus.folders.ignore import IgnoreFile
    from indexer.types import FileStatus

MANIFEST = "manifest.json"
"""File by which a collection of ours, or an export of one, is known."""
MAX_MANIFEST = 1 << 20
_MANIFEST_KEYS = frozenset(("format", "created", "fingerprint", "spec"))
_NOISE = {
    "icon\r": "a folder's icon",
    "thumbs.db": "a folder's pictures in small",
    "desktop.ini": "how Windows shows the folder",
    "ehthumbs.db": "a folder's pictures in small",
}
"""Files of file managers, by their names in lower case."""


@dataclass(frozen=True)
class Found:
    """One entry of the walk: a file to read, or anything that is left out, with the reason."""

    path: str
    """Absolute, links not resolved. Where the name itself is the problem: its printable form."""
    root: str
    """The argument under which it was found, absolute."""
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    """When the entry last changed, which nobody can set back; 0: not known."""
    inode: int = 0
    """Its number within its file system; 0: not known."""
    kind: str | None = None
    """Family of formats by name; None: by its name anything, read as text."""
    problem: tuple[FileStatus, str] | None = None
    """("skipped" | "failed", reason) for what is not to be read."""


def scan(roots: Sequence[str], *, force: bool = False, exclude: Sequence[str] = ()) -> Iterator[Found]:
    """Yield every entry below the roots (files or folders), each once, in an order that depends on nothing but names.

    Ignore files are honoured at every level, for a root inside a git work tree up to its top, and so are git's other
    exclude files. An entry that is ignored, hidden, empty, binary, a link or no regular file comes as a skipped one
    and is not entered; so do collections and exports of ours, and, as a failed one, a folder that cannot be listed
    and a root that does not exist. What a root names itself is read even if it is hidden or ignored; where one root
    lies inside another, its files belong to the inner one.

    Args:
        roots: The folders and files to walk.
        force: Walk the file system's root and the home folder too.
        exclude: Folders that are never entered, such as the one where the collections are.

    Raises:
        UsageError: A root is the file system's root or the home folder, without ``force``.
    """
    paths = sorted({os.path.abspath(root) for root in roots})
    if not force:
        home = os.path.realpath(os.path.expanduser("~"))
        for path in paths:
            real = os.path.realpath(path)
            if real == os.path.dirname(real) or real == home:
                raise UsageError(
                    f"{printable(path)} is {'the home folder' if real == home else 'the whole file system'}: "
                    "name the folders you mean, or add --force"
                )
    return _scan(paths, frozenset(os.path.realpath(folder) for folder in exclude))


def settle(roots: Sequence[str], known: Sequence[str] = ()) -> list[str]:
    """Return the roots as absolute paths, one that leads to a known or earlier one, or into it, under its name there.

    So a link to a folder that is indexed already does not bring its files a second time.

    Args:
        roots: Roots as a person names them.
        known: Absolute roots of the collection.
    """
    settled: list[str] = []
    names = {os.path.abspath(root): None for root in roots}
    for path in names:
        others = [other for other in (*known, *settled) if other != path and os.path.lexists(other)]
        real = os.path.realpath(path)
        same = [] if path in known else [other for other in others if within(real, os.path.realpath(other))]
        direct = any(within(path, other) for other in same)
        if same and not direct:
            owner = max(same, key=lambda other: len(os.path.realpath(other)))
            path = os.path.normpath(os.path.join(owner, os.path.relpath(real, os.path.realpath(owner))))
        if path not in settled:
            settled.append(path)
    return settled


def within(path: str, folder: str) -> bool:
    """Return whether an absolute path is ``folder`` itself or lies below it, by name alone."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def _scan(paths: list[str], exclude: frozenset[str]) -> Iterator[Found]:
    walked: set[tuple[int, int]] = set()
    # an inner root sorts behind the outer one, and must be walked first
    found = [list(_Walk(root, frozenset(paths), walked, exclude).entries()) for root in reversed(paths)]
    for entries in reversed(found):
        yield from entries


class _Walk:
    """The walk below one root."""

    def __init__(self, root: str, named: frozenset[str], walked: set[tuple[int, int]], exclude: frozenset[str]) -> None:
        self.root = root
        self.named = named
        """All roots of this run."""
        self.walked = walked
        """(device, inode) of each folder listed so far, below any root."""
        self.exclude = exclude
        """Real paths of folders that are never entered."""
        self.real_root = os.path.realpath(root)

    def left_out(self, path: str, status: FileStatus, reason: str, info: os.stat_result | None = None) -> Found:
        shown = printable(path)
        if info is None:
            return Found(shown, self.root, kind=kind_of(path), problem=(status, reason))
        return Found(shown, self.root, *_times(info), kind=kind_of(path), problem=(status, reason))

    def entries(self) -> Iterator[Found]:
        if printable(self.root) != self.root:
            yield self.left_out(self.root, "failed", _bad_name("its path"))
            return
        try:
            info = os.stat(self.root)
        except FileNotFoundError:
            yield self.left_out(self.root, "failed", "it does not exist")
            return
        except OSError as error:
            yield self.left_out(self.root, "failed", explain(error))
            return
        if stat.S_ISDIR(info.st_mode):
            yield from self.folder(self.root, info, ignore.above(self.root))
        else:
            yield self.file(self.root, info)

    def folder(self, path: str, info: os.stat_result, files: list[IgnoreFile]) -> Iterator[Found]:
        """Yield what lies below, depth first, without recursion: a tree may be deeper than Python's stack."""
        stack: list[Iterator[Found | tuple[str, os.stat_result, list[IgnoreFile]]]] = []
        stack.append(self.listing(path, info, files))
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif isinstance(entry, Found):
                yield entry
            else:
                stack.append(self.listing(*entry))

    def listing(
        self, folder: str, info: os.stat_result, files: list[IgnoreFile]
    ) -> Iterator[Found | tuple[str, os.stat_result, list[IgnoreFile]]]:
        """Yield a folder's entries: files and what is left out, and (path, stat, ignore files) of folders to enter."""
        if reason := self.ours(folder):
            yield self.left_out(folder, "skipped", reason, info)
            return
        key = (info.st_dev, info.st_ino)
        if key in self.walked:  # another root lies here, or the same folder is mounted twice
            return
        self.walked.add(key)
        try:
            with os.scandir(folder) as listed:
                names = sorted(entry.name for entry in listed)
        except OSError as error:
            yield self.left_out(folder, "failed", f"its content cannot be listed: {explain(error)}", info)
            return
        if ".git" in names:  # a work tree of its own: git's rules from outside end here
            files = [file for file in files if not file.of_git or file.folder == folder]
            if not any(file.folder == folder for file in files):
                files = files + ignore.excludes(folder)
        files = files + ignore.in_folder(folder, frozenset(names))
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except OSError as error:
                yield self.left_out(path, "failed", explain(error))
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if reason := _noise(name, is_folder):
                yield self.left_out(path, "skipped", reason, status)
            elif printable(name) != name:
                yield self.left_out(path, "failed", _bad_name("its name"), status)
            elif name.startswith("."):
                yield self.left_out(path, "skipped", "hidden", status)
            elif reason := ignore.reason(path, is_folder, files):
                yield self.left_out(path, "skipped", reason, status)
            elif stat.S_ISLNK(status.st_mode):
                yield self.left_out(path, *self.link(path), status)
            elif is_folder:
                yield path, status, files
            elif path not in self.named:
                yield self.file(path, status)

    def ours(self, folder: str) -> str | None:
        """Return why a folder of ours is not entered: collections are no documents."""
        if self.exclude and any(within(os.path.realpath(folder), real) for real in self.exclude):
            return "where collections are kept: never indexed"
        return "a collection, or an export of one: never indexed" if _is_collection(folder) else None

    def link(self, path: str) -> tuple[FileStatus, str]:
        """Return why a link is left out: it leads to something that is read, or left out, at its own place."""
        target = os.path.realpath(path)
        try:
            os.stat(path)
        except FileNotFoundError:
            return "skipped", f"a link to {printable(target)}, which does not exist"
        except OSError:
            return "skipped", "a link loop: it leads back to itself"
        if not within(target, self.real_root):
            return "skipped", f"a link out of the root, to {printable(target)}: index that by its own name"
        if within(os.path.realpath(os.path.dirname(path)), target):
            return "skipped", f"a link loop: it leads to {printable(target)}, the folder it lies in"
        return "skipped", f"a link to {printable(target)}, which lies under the same root"

    def file(self, path: str, info: os.stat_result) -> Found:
        if name := special(info.st_mode):
            return self.left_out(path, "skipped", f"{name}, not a file", info)
        kind = kind_of(path)
        if has_binary_name(path):
            return self.left_out(path, "skipped", "binary (by its name)", info)
        if not info.st_size:  # as __init__.py often is
            return self.left_out(path, "skipped", "it is empty", info)
        if kind is None:
            try:
                with opened(path) as stream:
                    head = (Unpacked(stream) if path.lower().endswith(".gz") else stream).read(8192) or b""
                    if kind_by_content(head) is None and looks_binary(head):
                        return self.left_out(path, "skipped", "binary (by its first bytes)", info)
            except ReadError as error:
                return self.left_out(path, "failed", str(error), info)
        return Found(path, self.root, *_times(info), kind=kind)


def _bad_name(what: str) -> str:
    return f"{what} holds control characters or bytes that are not UTF-8: rename it"


def _times(info: os.stat_result) -> tuple[int, int, int, int]:
    """Return size, modification time, change time and inode, in the order of ``Found``'s fields."""
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino


def _noise(name: str, is_folder: bool) -> str | None:
    """Return why a name stands for something that only programs need."""
    if is_folder:
        return None
    if name.startswith("~$"):
        return "a lock file of an office program"
    if name.startswith("~WRL") and name.endswith(".tmp"):
        return "a scratch file of Word"
    return _NOISE.get(name.lower())


def _is_collection(folder: str) -> bool:
    """Return whether a folder is a collection of ours or an export of one, by its manifest."""
    path = Path(folder, MANIFEST)
    try:
        if not path.is_file() or path.stat().st_size > MAX_MANIFEST:
            return False
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and set(values) >= _MANIFEST_KEYS
