import inspect
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from indexer.corpus.folders import walk as walking
from indexer.corpus.folders.changes import Found, compare, digest, scan
from indexer.errors import ReadError, UsageError
from indexer.types import FileRecord


def make(folder: Path, *names: str, **contents: str) -> Path:
    """Files with their own name as content; a name that ends in a slash gives a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.write_text(name)
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def walk(*roots: Path) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """(files to read, {left out: problem}), by their path below the first root."""
    entries = list(scan([str(root) for root in roots]))
    assert len({entry.path for entry in entries}) == len(entries), "an entry came twice"

    def name(entry: Found) -> str:
        return os.path.relpath(entry.path, roots[0])

    return [name(e) for e in entries if not e.problem], {name(e): e.problem for e in entries if e.problem}


def test_files_come_once_in_order_with_their_stat_and_kind(tmp_path: Path) -> None:
    make(tmp_path, "b.md", "a/z.py", "a/b/c.csv", "c")
    entries = list(scan([str(tmp_path)]))
    assert [os.path.relpath(e.path, tmp_path) for e in entries] == ["a/b/c.csv", "a/z.py", "b.md", "c"]
    assert [e.kind for e in entries] == ["csv", "code", "markdown", None]
    info = (tmp_path / "b.md").stat()
    times = (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
    assert entries[2] == Found(str(tmp_path / "b.md"), str(tmp_path), *times, kind="markdown")


def test_ignore_files_at_every_level(tmp_path: Path) -> None:
    make(tmp_path, "keep.txt", "a.log", "sub/b.log", "sub/c.log", "sub/d.txt", "build/x", "deep/build/y")
    make(tmp_path, "only/a", "only/b")
    (tmp_path / ".gitignore").write_text("# comment\n*.log\n/build/\nonly/*\n!only/b\n!\n")
    (tmp_path / "sub" / ".gitignore").write_text("!c.log\nd.txt\n")
    (tmp_path / "sub" / ".semsearchignore").write_text("!d.txt\n")
    files, left = walk(tmp_path)
    assert files == ["deep/build/y", "keep.txt", "only/b", "sub/c.log", "sub/d.txt"]
    del left[".gitignore"], left["sub/.gitignore"], left["sub/.semsearchignore"]
    assert set(left) == {"a.log", "build", "only/a", "sub/b.log"}, "an ignored folder is reported, not its content"
    assert left["build"] == ("skipped", f"ignored by {tmp_path / '.gitignore'}")


def test_ignore_files_above_the_root_count_up_to_the_top_of_the_work_tree(tmp_path: Path) -> None:
    make(tmp_path, "repo/.git/config", "repo/docs/a.txt", "repo/docs/b.tmp", "repo/docs/out/c.txt", "repo/build/d.txt")
    make(tmp_path, __gitignore="*.txt\n")
    (tmp_path / "repo" / ".gitignore").write_text("*.tmp\n/docs/out/\nbuild/\n")
    assert walk(tmp_path / "repo" / "docs")[0] == ["a.txt"]
    assert walk(tmp_path / "repo" / "build")[0] == ["d.txt"], "a root named itself is read though it is ignored"
    assert walk(tmp_path / "repo" / "docs" / "out")[0] == ["c.txt"]
    assert walk(tmp_path / "repo" / "docs" / "b.tmp")[0] == ["."]


names = st.sampled_from(["a", "b", "a.log", "b.txt"])
RULES = "a b/ /a *.log !a.log !a a/* !a/b **/b b/** !b/ * !*.txt /b/a !**/a a/b/ !/b/ a/**/b */ !/*/ **/b/a".split()
rules = st.lists(st.sampled_from(RULES), max_size=5)


@example(paths={"a/b/a"}, top=["**/b/a"], inner=[])
@example(paths={"b/b.txt"}, top=["b/**", "!*.txt"], inner=[])
@example(paths={"a/b/a"}, top=["a/**/b"], inner=["!b/"])
@example(paths={"a.log/b/a"}, top=["b/", "!a.log"], inner=[])
@given(
    paths=st.sets(st.lists(names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8),
    top=rules,
    inner=rules,
)
@settings(max_examples=40, deadline=None)
def test_the_same_files_as_git(tmp_path_factory: pytest.TempPathFactory, paths: set, top: list, inner: list) -> None:
    folder = tmp_path_factory.mktemp("repo")
    for path in sorted(paths, key=len, reverse=True):
        if (folder / path).exists():
            continue
        if not any((folder / part).is_file() for part in (os.path.dirname(path), path.split("/")[0])):
            make(folder, path)
    (folder / ".gitignore").write_text("\n".join(top))
    if (folder / "a").is_dir():
        (folder / "a" / ".gitignore").write_text("\n".join(inner))
    run = ["git", "-C", str(folder), "-c", "core.excludesFile="]
    subprocess.run([*run, "init", "-q"], check=True)
    listed = subprocess.run(
        [*run, "ls-files", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    ).stdout.split("\n")
    assert sorted(walk(folder)[0]) == sorted(path for path in listed if path and not path.endswith(".gitignore"))


def test_hidden_entries_are_left_out_unless_named(tmp_path: Path) -> None:
    make(tmp_path, ".git/HEAD", ".hidden/a.txt", ".env", "b.txt")
    files, left = walk(tmp_path)
    assert files == ["b.txt"]
    assert left == dict.fromkeys((".git", ".hidden", ".env"), ("skipped", "hidden"))
    assert walk(tmp_path / ".hidden")[0] == ["a.txt"]
    assert walk(tmp_path / ".env")[0] == ["."]


def test_links(tmp_path: Path) -> None:
    root = make(tmp_path, "root/a/real.txt", "outside.txt") / "root"
    (root / "a" / "up").symlink_to(root)
    (root / "again.txt").symlink_to("a/real.txt")
    (root / "a2").symlink_to("a")
    (root / "dangling").symlink_to("nowhere")
    (root / "out.txt").symlink_to(tmp_path / "outside.txt")
    (root / "outer").symlink_to(tmp_path)
    (root / "self").symlink_to("self")
    files, left = walk(root)
    assert files == ["a/real.txt"]
    status = {name: status for name, (status, _) in left.items()}
    links = ("again.txt", "a2", "out.txt", "outer", "a/up", "self", "dangling")
    assert status == dict.fromkeys(links, "skipped")
    assert "link loop" in left["a/up"][1]
    assert "link loop" in left["self"][1]
    assert "does not exist" in left["dangling"][1]
    assert "out of the root" in left["out.txt"][1]
    assert "out of the root" in left["outer"][1]


def test_a_root_that_is_a_link_is_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/a.txt", "real/b/")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "b" / "loop").symlink_to(tmp_path / "link")
    files, left = walk(tmp_path / "link")
    assert files == ["a.txt"]
    assert "link loop" in left["b/loop"][1]


def test_overlapping_roots_give_each_file_once_to_the_inner_one(tmp_path: Path) -> None:
    make(tmp_path, "a/b/c.txt", "a/d.txt", "a/b.txt", "a-b/e.txt", "a/.h/f.txt")
    a = tmp_path / "a"
    roots = [a, a / "b", a / "d.txt", tmp_path / "a-b", a / ".h", a]

    def owners(roots: list[Path]) -> dict[str, str]:
        entries = list(scan([str(root) for root in roots]))
        assert len({entry.path for entry in entries}) == len(entries), "an entry came twice"
        return {os.path.relpath(e.path, tmp_path): os.path.relpath(e.root, tmp_path) for e in entries}

    assert owners(roots) == {
        "a/.h": "a",  # as hidden
        "a/.h/f.txt": "a/.h",
        "a/b/c.txt": "a/b",
        "a/b.txt": "a",
        "a/d.txt": "a/d.txt",
        "a-b/e.txt": "a-b",
    }
    assert owners(roots[::-1]) == owners(roots)
    (tmp_path / "link").symlink_to("a")
    assert len(walk(a, tmp_path / "link")[0]) == 3, "one folder by two names"


def test_binaries_by_name_and_by_content(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.zip", "README", "d.weird")
    for name in ("empty", "empty.txt", "__init__.py"):
        (tmp_path / name).touch()
    (tmp_path / "elf").write_bytes(b"\x7fELF" + bytes(100))
    (tmp_path / "noise").write_bytes(bytes(range(1, 256)))
    (tmp_path / "wide").write_bytes("text".encode("utf-16"))
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    files, left = walk(tmp_path)
    assert files == ["README", "d.weird", "nul.txt", "wide"]
    for name in ("empty", "empty.txt", "__init__.py"):
        assert left.pop(name) == ("skipped", "it is empty")
    assert left == dict.fromkeys(("a.png", "b.zip"), ("skipped", "binary (by its name)")) | dict.fromkeys(
        ("elf", "noise"), ("skipped", "binary (by its first bytes)")
    )


def test_special_files_are_not_touched(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        assert walk(tmp_path) == (
            [],
            {
                "pipe": ("skipped", "a named pipe, not a file"),
                "pipe.txt": ("skipped", "a named pipe, not a file"),
                "socket": ("skipped", "a socket, not a file"),
            },
        )


def test_names_that_cannot_be_shown(tmp_path: Path) -> None:
    make(tmp_path, "two\nlines.txt", "esc\x1b[31m.txt", "folder\n/a.txt", "fine ü.txt")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "wb"):
        pass
    files, left = walk(tmp_path)
    assert files == ["fine ü.txt"]
    assert set(left) == {"two\\nlines.txt", "esc\\x1b[31m.txt", "folder\\n", "caf\\xe9.txt"}
    assert all(status == "failed" and "rename it" in reason for status, reason in left.values())
    assert walk(tmp_path / "folder\n")[1]["../folder\\n"][0] == "failed"


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "open/a.txt", "closed/b.txt", "c")
    listing, opening = os.scandir, os.open

    def refuse(path: str, *rest: int) -> object:  # chmod does not hold back root
        if os.path.basename(path) in ("closed", "c"):
            raise PermissionError(13, "Permission denied", path)
        return opening(path, *rest) if rest else listing(path)

    monkeypatch.setattr(walking.os, "scandir", refuse)
    monkeypatch.setattr(walking.os, "open", refuse)
    files, left = walk(tmp_path)
    assert files == ["open/a.txt"]
    assert {name: status for name, (status, _) in left.items()} == {"closed": "failed", "c": "failed"}
    assert "permission denied" in left["closed"][1]


def test_a_tree_deeper_than_pythons_stack(tmp_path: Path) -> None:
    make(tmp_path, "d/" * 250 + "a.txt")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        files, _ = walk(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert files == ["d/" * 250 + "a.txt"]


def test_the_whole_disk_and_the_home_folder_need_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(tmp_path, "home/a.txt") / "home"
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "link").symlink_to(home)
    for root in ("/", str(home), str(home / "x" / ".."), str(tmp_path / "link")):
        with pytest.raises(UsageError, match="--force"):
            scan([root])
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    with pytest.raises(UsageError, match="home folder"):
        scan([str(home)])
    assert len(list(scan([str(home)], force=True))) == len(list(scan([str(home / "a.txt")]))) == 1


def test_a_root_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    assert walk(tmp_path / "none") == ([], {".": ("failed", "it does not exist")})


def test_digest(tmp_path: Path) -> None:
    make(tmp_path, a="abc")
    assert digest(str(tmp_path / "a")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ReadError, match="vanished"):
        digest(str(tmp_path / "b"))


def known(folder: Path, *roots: Path) -> dict[str, FileRecord]:
    """What a collection holds after indexing the roots."""
    return {
        e.path: FileRecord(
            e.path, e.root, e.size, e.mtime_ns, None if e.problem else "d", *(e.problem or ("indexed", None))
        )
        for e in scan([str(root) for root in roots or (folder,)])
    }


def difference(before: dict[str, FileRecord], *roots: Path) -> dict[str, list[str]]:
    arguments = [str(root) for root in roots]
    result = compare(scan(arguments), before, arguments)
    names = {
        name: sorted(os.path.basename(e if isinstance(e, str) else e.path) for e in getattr(result, name))
        for name in ("new", "changed", "unchanged", "problems", "gone", "lost")
    }
    return {name: found for name, found in names.items() if found}


def test_new_changed_unchanged_and_gone(tmp_path: Path) -> None:
    make(tmp_path, "same", "edited", "touched", "deleted", "x.png", "deleted.png")
    before = known(tmp_path)
    make(tmp_path, "new", edited="longer than it was")
    os.utime(tmp_path / "touched", ns=(1, 1))
    (tmp_path / "deleted").unlink()
    (tmp_path / "deleted.png").unlink()
    assert difference(before, tmp_path) == {
        "new": ["new"],
        "changed": ["edited", "touched"],
        "unchanged": ["same"],
        "problems": ["x.png"],
        "gone": ["deleted", "deleted.png"],
    }
    assert difference({}, tmp_path)["new"] == ["edited", "new", "same", "touched"]


def test_a_failed_file_is_tried_again_and_a_newly_ignored_one_is_gone(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "sub/c")
    before = known(tmp_path)
    path = str(tmp_path / "a")
    before[path] = FileRecord(path, str(tmp_path), 1, before[path].mtime_ns, None, "failed", "why")
    make(tmp_path, __semsearchignore="sub/\n")
    assert difference(before, tmp_path) == {
        "changed": ["a"],
        "unchanged": ["b"],
        "gone": ["c"],
        "problems": [".semsearchignore", "sub"],
    }


def test_a_root_that_vanished_or_is_suddenly_empty_is_not_pruned(tmp_path: Path) -> None:
    make(tmp_path, "a/x", "b/y", "c/z", "d")
    roots = [tmp_path / name for name in "abcd"]
    before = known(tmp_path, *roots)
    (tmp_path / "a" / "x").unlink()
    (tmp_path / "b" / "y").unlink()
    (tmp_path / "b").rmdir()
    (tmp_path / "d").unlink()
    found = difference(before, *roots)
    assert (found["lost"], found["unchanged"], "gone" in found) == (["a", "b", "d"], ["z"], False)


def test_an_empty_root_that_never_held_anything_is_not_lost(tmp_path: Path) -> None:
    assert difference({}, tmp_path) == {}
    assert difference({}, tmp_path / "none") == {"problems": ["none"], "lost": ["none"]}


def test_only_roots_of_this_run_are_compared(tmp_path: Path) -> None:
    make(tmp_path, "a/x", "a/y", "b/z", "b/.h/w", "a/sub/v", "a/sub/u")
    hidden = tmp_path / "b" / ".h"
    before = known(tmp_path, tmp_path / "a", tmp_path / "b", hidden)
    for name in ("a/x", "b/z", "a/sub/v"):
        (tmp_path / name).unlink()
    make(tmp_path, "b/new")
    assert difference(before, tmp_path / "a") == {"unchanged": ["u", "y"], "gone": ["v", "x"]}
    assert difference(before, tmp_path / "b") == {"new": ["new"], "problems": [".h"], "gone": ["z"]}
    assert difference(before, tmp_path / "a" / "sub") == {"unchanged": ["u"], "gone": ["v"]}


def test_nothing_is_gone_below_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/x", "b/y")
    before = known(tmp_path)
    listing = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return listing(path)

    monkeypatch.setattr(walking.os, "scandir", refuse)
    assert difference(before, tmp_path) == {"unchanged": ["y"], "problems": ["a"]}
