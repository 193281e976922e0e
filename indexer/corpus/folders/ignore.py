"""Which entries of a folder count, by git's ignore files and our own."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from pathspec import GitIgnoreSpec

from indexer.corpus.decoding.text import opened
from indexer.corpus.formats import printable
from indexer.errors import ReadError

IGNORE_FILES = (".gitignore", ".semsearchignore")
"""In the order in which they are asked; the later one wins."""
GIT_SECONDS = 10
"""Longest wait for git to say where its exclude file is."""


class IgnoreFile:
    """One file of ignore patterns, such as .gitignore, .semsearchignore or git's info/exclude."""

    def __init__(self, folder: str, path: str, *, of_git: bool = False) -> None:
        """Take the patterns of ``path`` as said about what lies below ``folder``."""
        self.folder = folder
        self.path = path
        self.of_git = of_git
        """Whether it says nothing about what lies in another work tree further down."""

    @cached_property
    def rules(self) -> list[tuple[str, GitIgnoreSpec]]:
        """Pattern without its marks, and matcher, of each line, the deciding last one first.

        A line that git would not accept is passed over, and so is a file that cannot be read.
        """
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
        """Matcher of what any line matches: most paths are mentioned by none."""
        return GitIgnoreSpec([pattern for _, spec in reversed(self.rules) for pattern in spec.patterns])

    def verdict(self, path: str, is_folder: bool) -> bool | None:
        """Return True for a path that is ignored, False for one that expressly is not, None for one not mentioned.

        pathspec lets a pattern that matches a folder decide about all below it. Git does not: an ignored folder is
        never entered, and one that is expressly kept says nothing of its content. So the match must be the
        path's own: of its last name, or over as many folders as the pattern has.
        """
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


def in_folder(folder: str, names: frozenset[str]) -> list[IgnoreFile]:
    """Return the ignore files among the names of a folder, in the order in which they are asked."""
    return [
        IgnoreFile(folder, os.path.join(folder, name), of_git=name == ".gitignore")
        for name in IGNORE_FILES
        if name in names
    ]


def reason(path: str, is_folder: bool, files: list[IgnoreFile]) -> str | None:
    """Return why an entry is ignored, if the last of the files that mentions it ignores it."""
    for file in reversed(files):
        verdict = file.verdict(path, is_folder)
        if verdict is not None:
            return f"ignored by {printable(file.path)}" if verdict else None
    return None


def above(root: str) -> list[IgnoreFile]:
    """Return what git and the ignore files above a root say about it, outermost first.

    That is, inside a git work tree: git's exclude files and the ignore files of the folders from its top down to the
    root. One that ignores the root itself, or a folder above it, says nothing of what lies below, so a root that is
    named is read all the same.
    """
    top = root
    while not os.path.lexists(os.path.join(top, ".git")):
        if top == os.path.dirname(top):
            return []
        top = os.path.dirname(top)
    files: list[IgnoreFile] = []
    folder = root
    while folder != top:
        folder = os.path.dirname(folder)
        files[:0] = in_folder(folder, frozenset(n for n in IGNORE_FILES if os.path.isfile(os.path.join(folder, n))))
    return excludes(top) + files


def excludes(top: str) -> list[IgnoreFile]:
    """Return git's exclude files for the work tree at ``top``: the person's own, then the repository's."""
    paths = [_global_excludes(top), os.path.join(_git_folder(top), "info", "exclude")]
    return [IgnoreFile(top, path, of_git=True) for path in paths if path and os.path.isfile(path)]


def _git_folder(top: str) -> str:
    """Return the folder of the repository that a work tree belongs to: its .git, or what a file there names."""
    path = os.path.join(top, ".git")
    if os.path.isfile(path):
        with suppress(OSError, UnicodeDecodeError):
            said = Path(path).read_text(encoding="utf-8").strip()
            if said.startswith("gitdir:"):
                path = os.path.normpath(os.path.join(top, said.removeprefix("gitdir:").strip()))
    with suppress(OSError, UnicodeDecodeError):  # a second work tree shares the first one's
        common = Path(path, "commondir").read_text(encoding="utf-8").strip()
        path = os.path.normpath(os.path.join(path, common))
    return path


def _global_excludes(top: str) -> str | None:
    """Return the file that core.excludesFile names, by git itself where it is installed, else by its two main files."""
    home = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    named: str | None = None
    if git := shutil.which("git"):
        with suppress(OSError, subprocess.SubprocessError):
            run = subprocess.run(
                [git, "-C", top, "config", "--type=path", "--get", "core.excludesFile"],
                capture_output=True,
                timeout=GIT_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            named = os.fsdecode(run.stdout).rstrip("\n") if run.returncode == 0 else None
    else:
        places = (
            os.path.join(config, "git", "config"),
            os.path.join(home, ".gitconfig"),
            os.path.join(_git_folder(top), "config"),
        )
        for place in places:
            named = _configured(place) or named
    if named is None:
        return os.path.join(config, "git", "ignore")
    return os.path.join(top, os.path.expanduser(named)) if named else None


def _configured(path: str) -> str | None:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
        parser.read_string("\n".join(line.strip() for line in text.splitlines()))
    except (OSError, configparser.Error):
        return None
    value = parser.get("core", "excludesfile", fallback=None)
    return value.strip('"') if value is not None else None
