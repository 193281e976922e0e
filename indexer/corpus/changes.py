"""What is there, and what changed since: the walk over files and folders, and its comparison with a collection."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from pathspec import GitIgnoreSpec

from indexer.corpus.formats import has_binary_name, kind_of, looks_binary, printable
from indexer.corpus.text import explain, opened, special
from indexer.errors import ReadError, UsageError
from indexer.types import FileRecord, FileStatus

IGNORE_FILES = (".gitignore", ".semsearchignore")
"""In the order in which they are asked; the later one wins."""


@dataclass(frozen=True)
class Found:
    """One entry of the walk: a file to read, or anything that is left out, with the reason."""

    path: str
    """Absolute, links not resolved. Where the name itself is the problem: its printable form."""
    root: str
    """The argument under which it was found, absolute."""
    size: int = 0
    mtime_ns: int = 0
    kind: str | None = None
    """Family of formats by name; None: by its name anything, read as text."""
    problem: tuple[FileStatus, str] | None = None
    """("skipped" | "failed", reason) for what is not to be read."""


@dataclass(frozen=True)
class Changes:
    """A walk compared with what a collection knows. Every found entry is in exactly one of the first four."""

    new: list[Found] = field(default_factory=list)
    changed: list[Found] = field(default_factory=list)
    """Size or time differ (compare the digest before any work), or it could not be read the last time."""
    unchanged: list[Found] = field(default_factory=list)
    problems: list[Found] = field(default_factory=list)
    """Left out: ``Found.problem`` says why."""
    gone: list[FileRecord] = field(default_factory=list)
    """Known under a root of this run and no longer found."""
    lost: list[str] = field(default_factory=list)
    """Roots that vanished, or that held files and suddenly hold none: nothing of theirs is in ``gone``."""


def scan(roots: Sequence[str], *, force: bool = False) -> Iterator[Found]:
    """Every entry below the roots (files or folders), each once, in an order that depends on nothing but names.

    Ignore files are honoured at every level, for a root inside a git work tree up to its top. An entry that is
    ignored, hidden, binary, a link or no regular file comes as a skipped one and is not entered; so does a folder
    that cannot be listed, as a failed one, and a root that does not exist. What a root names itself is read even if
    it is hidden or ignored; where one root lies inside another, its files belong to the inner one.

    Raises UsageError for the file system's root and the home folder, unless ``force``.
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
    return _scan(paths)


def _scan(paths: list[str]) -> Iterator[Found]:
    walked: set[tuple[int, int]] = set()
    # an inner root sorts behind the outer one, and must be walked first
    found = [list(_Walk(root, frozenset(paths), walked).entries()) for root in reversed(paths)]
    for entries in reversed(found):
        yield from entries


class _Walk:
    """The walk below one root."""

    def __init__(self, root: str, named: frozenset[str], walked: set[tuple[int, int]]):
        self.root = root
        self.named = named
        """All roots of this run."""
        self.walked = walked
        """(device, inode) of each folder listed so far, below any root."""
        self.real_root = os.path.realpath(root)

    def left_out(self, path: str, status: FileStatus, reason: str, info: os.stat_result | None = None) -> Found:
        size, mtime = (info.st_size, info.st_mtime_ns) if info else (0, 0)
        return Found(printable(path), self.root, size, mtime, kind_of(path), (status, reason))

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
            yield from self.folder(self.root, info, _parents(self.root))
        else:
            yield self.file(self.root, info)

    def folder(self, path: str, info: os.stat_result, ignore: list[_IgnoreFile]) -> Iterator[Found]:
        """Depth first, without recursion: a tree may be deeper than Python's stack."""
        stack: list[Iterator[Found | tuple[str, os.stat_result, list[_IgnoreFile]]]] = []
        stack.append(self.listing(path, info, ignore))
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif isinstance(entry, Found):
                yield entry
            else:
                stack.append(self.listing(*entry))

    def listing(
        self, folder: str, info: os.stat_result, ignore: list[_IgnoreFile]
    ) -> Iterator[Found | tuple[str, os.stat_result, list[_IgnoreFile]]]:
        """One folder's entries: files and what is left out, and (path, stat, ignore files) of folders to enter."""
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
        ignore = ignore + [_IgnoreFile(folder, name) for name in IGNORE_FILES if name in names]
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except OSError as error:
                yield self.left_out(path, "failed", explain(error))
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if printable(name) != name:
                yield self.left_out(path, "failed", _bad_name("its name"), status)
            elif name.startswith("."):
                yield self.left_out(path, "skipped", "hidden", status)
            elif reason := _ignored(path, is_folder, ignore):
                yield self.left_out(path, "skipped", reason, status)
            elif stat.S_ISLNK(status.st_mode):
                yield self.left_out(path, *self.link(path), status)
            elif is_folder:
                yield path, status, ignore
            elif path not in self.named:
                yield self.file(path, status)

    def link(self, path: str) -> tuple[FileStatus, str]:
        """Links are never entered: what they lead to is read at its own place, or is left out there for a reason."""
        target = os.path.realpath(path)
        try:
            os.stat(path)
        except FileNotFoundError:
            return "failed", f"a link to {printable(target)}, which does not exist"
        except OSError:
            return "failed", "a link loop: it leads back to itself"
        if not within(target, self.real_root):
            return "skipped", f"a link out of the root, to {printable(target)}: index that by its own name"
        if within(os.path.realpath(os.path.dirname(path)), target):
            return "failed", f"a link loop: it leads to {printable(target)}, the folder it lies in"
        return "skipped", f"a link to {printable(target)}, which lies under the same root"

    def file(self, path: str, info: os.stat_result) -> Found:
        if name := special(info.st_mode):
            return self.left_out(path, "skipped", f"{name}, not a file", info)
        kind = kind_of(path)
        if has_binary_name(path):
            return self.left_out(path, "skipped", "binary (by its name)", info)
        if kind == "code" and not info.st_size:  # as __init__.py often is
            return self.left_out(path, "skipped", "an empty source file", info)
        if kind is None and info.st_size:
            try:
                with opened(path) as stream:
                    if looks_binary(stream.read(8192)):
                        return self.left_out(path, "skipped", "binary (by its first bytes)", info)
            except ReadError as error:
                return self.left_out(path, "failed", str(error), info)
        return Found(path, self.root, info.st_size, info.st_mtime_ns, kind)


def _bad_name(what: str) -> str:
    return f"{what} holds control characters or bytes that are not UTF-8: rename it"


def within(path: str, folder: str) -> bool:
    """Whether an absolute path is ``folder`` itself or lies below it, by name alone."""
    return path == folder or path.startswith(os.path.join(folder, ""))


class _IgnoreFile:
    """One .gitignore or .semsearchignore file."""

    def __init__(self, folder: str, name: str):
        self.folder = folder
        self.path = os.path.join(folder, name)

    @cached_property
    def rules(self) -> list[tuple[str, GitIgnoreSpec]]:
        """(pattern without its marks, matcher) of each line, the deciding last one first. A line that git would not
        accept is passed over, and so is a file that cannot be read."""
        try:
            with opened(self.path) as stream:
                lines = stream.read().decode("utf-8-sig", "surrogateescape").splitlines()
        except ReadError:
            lines = []
        rules = []
        for line in reversed(lines):
            with suppress(ValueError):
                rules.append((line.strip().removeprefix("!").rstrip("/"), GitIgnoreSpec.from_lines([line])))
        return rules

    @cached_property
    def any_rule(self) -> GitIgnoreSpec:
        """Matches what any line matches: most paths are mentioned by none."""
        return GitIgnoreSpec([pattern for _, spec in reversed(self.rules) for pattern in spec.patterns])

    def verdict(self, path: str, is_folder: bool) -> bool | None:
        """True: ignored; False: expressly not; None: not mentioned.

        pathspec lets a pattern that matches a folder decide about all below it. Git does not: an ignored folder is
        never entered, and one that is expressly kept says nothing of its content. So the match must be the
        path's own: of its last name, or over as many folders as the pattern has."""
        relative = os.path.relpath(path, self.folder).replace(os.sep, "/")
        end = "/" * is_folder
        if self.any_rule.check_file(relative + end).include is None:
            return None
        for pattern, spec in self.rules:
            subject = relative
            if "/" not in pattern.removeprefix("**/"):
                subject = os.path.basename(path)
            elif "**" not in pattern:
                if pattern.lstrip("/").count("/") != relative.count("/"):
                    continue
            elif not GitIgnoreSpec.from_lines([pattern.rpartition("/")[2]]).match_file(os.path.basename(path)):
                continue
            # "b/**" is about what lies in b, not about b itself
            include = spec.check_file(subject if pattern.endswith("/**") else subject + end).include
            if include is not None:
                return include
        return None


def _ignored(path: str, is_folder: bool, files: list[_IgnoreFile]) -> str | None:
    """The reason, if the innermost ignore file that mentions the path ignores it."""
    for file in reversed(files):
        verdict = file.verdict(path, is_folder)
        if verdict is not None:
            return f"ignored by {printable(file.path)}" if verdict else None
    return None


def _parents(root: str) -> list[_IgnoreFile]:
    """The ignore files above a root inside a git work tree, outermost first. One that ignores the root itself, or a
    folder above it, says nothing of what lies below, so a root that is named is read all the same."""
    top = root
    while not os.path.lexists(os.path.join(top, ".git")):
        if top == os.path.dirname(top):
            return []
        top = os.path.dirname(top)
    files: list[_IgnoreFile] = []
    folder = root
    while folder != top:
        folder = os.path.dirname(folder)
        files[:0] = [_IgnoreFile(folder, name) for name in IGNORE_FILES if os.path.isfile(os.path.join(folder, name))]
    return files


def digest(path: str) -> str:
    """SHA-256 of a file's bytes, in hex. Raises ReadError where it cannot be read."""
    with opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def compare(found: Iterable[Found], known: Mapping[str, FileRecord], roots: Sequence[str]) -> Changes:
    """What became of the files of ``roots`` (the arguments of ``scan``) since ``known`` was written.

    ``known`` maps paths to records and may hold files of other roots, which are let alone. Nothing is gone that
    lies below a folder that could not be listed.
    """
    result = Changes()
    entries = {entry.path: entry for entry in found}
    for entry in entries.values():
        record = known.get(entry.path)
        if entry.problem:
            result.problems.append(entry)
        elif record is None:
            result.new.append(entry)
        elif record.status == "indexed" and (record.size, record.mtime_ns) == (entry.size, entry.mtime_ns):
            result.unchanged.append(entry)
        else:
            result.changed.append(entry)

    named = sorted({os.path.abspath(root) for root in roots})
    mine = {root: [record for record in known.values() if _belongs(record, root)] for root in named}
    readable = [entry.path for entry in entries.values() if not entry.problem]
    for root in named:
        had = any(record.status == "indexed" for record in mine[root])
        if not os.path.lexists(root) or (had and not any(within(path, root) for path in readable)):
            result.lost.append(root)
    closed = [entry.path for entry in entries.values() if entry.problem and entry.problem[0] == "failed"]
    gone = {record.path: record for records in mine.values() for record in records if record.path not in entries}
    result.gone.extend(
        gone[path] for path in sorted(gone) if not any(within(path, folder) for folder in closed + result.lost)
    )
    return result


def _belongs(record: FileRecord, root: str) -> bool:
    """Whether a run over ``root`` decides what became of the file: found by it, or below it by a wider root."""
    return record.root == root or (within(root, record.root) and within(record.path, root))
