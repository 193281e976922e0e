import gzip
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.corpus.folders import ignore
from indexer.corpus.folders.changes import compare, digest, scan, settle
from indexer.corpus.readers import ReadOptions, read
from indexer.types import FileRecord, Notes
from tests.corpus.test_changes import make, walk


def git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return run.stdout


@pytest.fixture(autouse=True)
def person(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without any configuration of git."""
    for name in ("GIT_DIR", "GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("person")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = make(tmp_path, "repo/src.md", "repo/secrets.txt", "repo/src.md.orig", "repo/sub/a.tmp") / "repo"
    git(folder, "init", "-q")
    return folder


def as_git(folder: Path) -> list[str]:
    return sorted(git(folder, "ls-files", "-o", "--exclude-standard").split())


@pytest.mark.parametrize("with_git", [True, False])
@pytest.mark.parametrize("where", ["local", "global", "default", "xdg"])
def test_gits_other_exclude_files(
    tmp_path: Path, repository: Path, person: Path, monkeypatch: pytest.MonkeyPatch, where: str, with_git: bool
) -> None:
    (repository / ".git/info/exclude").write_text("secrets.txt\n")
    patterns = tmp_path / "patterns"
    if where == "local":
        git(repository, "config", "core.excludesFile", str(patterns))
    elif where == "global":
        git(repository, "config", "--global", "core.excludesFile", "~/patterns")
        patterns = person / "patterns"
    elif where == "default":
        patterns = make(person, ".config/git/") / ".config/git/ignore"
    else:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
        patterns = make(tmp_path, "xdg/git/") / "xdg/git/ignore"
    patterns.write_text("*.orig\n/sub/\n")
    assert as_git(repository) == ["src.md"]
    if not with_git:
        monkeypatch.setattr(ignore.shutil, "which", lambda _: None)
    assert walk(repository)[0] == ["src.md"]
    (repository / ".gitignore").write_text("!secrets.txt\n!*.orig\n")
    assert (
        walk(repository)[0]
        == sorted(set(as_git(repository)) - {".gitignore"})
        == ["secrets.txt", "src.md", "src.md.orig"]
    )


def test_git_excludes_count_for_a_root_within_the_work_tree(repository: Path) -> None:
    (repository / ".git/info/exclude").write_text("/sub/*.tmp\nb.md\n")
    make(repository, "sub/b.md", "sub/c.md")
    assert as_git(repository / "sub") == ["c.md"]
    assert walk(repository / "sub")[0] == ["c.md"]


def test_excludes_of_a_second_work_tree_are_the_repositorys(tmp_path: Path, repository: Path) -> None:
    git(repository, "add", "src.md")
    git(repository, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x")
    git(repository, "worktree", "add", "-q", str(tmp_path / "second"))
    (repository / ".git/info/exclude").write_text("secrets.txt\n")
    make(tmp_path, "second/secrets.txt", "second/other.txt")
    assert walk(tmp_path / "second")[0] == ["other.txt", "src.md"]


def test_a_repository_within_another_or_within_a_plain_folder_has_its_own_rules(
    tmp_path: Path, repository: Path
) -> None:
    (repository / ".gitignore").write_text("*.orig\n*.tmp\n")
    (repository / ".semsearchignore").write_text("sub/b.md\n")
    make(repository, "sub/a.orig", "sub/b.md")
    git(repository / "sub", "init", "-q")
    (repository / "sub/.git/info/exclude").write_text("*.tmp\n")
    assert as_git(repository / "sub") == ["a.orig", "b.md"]
    for root in (repository, tmp_path):
        found = [os.path.basename(name) for name in walk(root)[0]]
        assert found == ["secrets.txt", "src.md", "a.orig"], "our own ignore file counts everywhere"


def test_noise_of_programs_is_skipped_and_nothing_fails(tmp_path: Path) -> None:
    make(tmp_path, "Garden.md", "~$report.docx", "Thumbs.db", "Desktop.ini", "~WRL0001.tmp")
    for name in ("Untitled.md", "Icon\r", "empty.csv", "empty.pdf"):
        (tmp_path / name).touch()
    (tmp_path / "old").symlink_to("/nowhere/away")
    files, left = walk(tmp_path)
    assert files == ["Garden.md"]
    assert {status for status, _ in left.values()} == {"skipped"}
    assert all(reason for _, reason in left.values())


def test_packed_files_are_judged_by_what_is_in_them(tmp_path: Path) -> None:
    packed = {"changelog.gz": b"words", "a.md.gz": b"# A", "b.gz": bytes(range(256)), "c.tar.gz": b"x"}
    for name, data in packed.items():
        (tmp_path / name).write_bytes(gzip.compress(data))
    (tmp_path / "d.gz").write_bytes(b"no gzip")
    files, left = walk(tmp_path)
    assert files == ["a.md.gz", "changelog.gz"]
    assert left["b.gz"] == ("skipped", "binary (by its first bytes)")
    assert left["c.tar.gz"] == ("skipped", "binary (by its name)")
    assert left["d.gz"][0] == "failed"
    assert [len(list(read(str(tmp_path / name), ReadOptions(), Notes()))) for name in files] == [1, 1]


def manifest(folder: Path) -> None:
    make(folder, "catalog.sqlite", "lock.json", "passages.jsonl")
    values = {"format": 2, "created": "2026-01-01", "fingerprint": "ab", "spec": {}}
    (folder / "manifest.json").write_text(json.dumps(values))


def test_collections_and_exports_are_never_entered(tmp_path: Path) -> None:
    make(tmp_path, "note.md", "index/default/", "backup/", "app/manifest.json", "app/readme.md", "bad/manifest.json")
    manifest(tmp_path / "index" / "default")
    manifest(tmp_path / "backup")
    (tmp_path / "bad" / "manifest.json").write_text("{")
    files, left = walk(tmp_path)
    assert files == ["app/manifest.json", "app/readme.md", "bad/manifest.json", "note.md"]
    assert set(left) == {"index/default", "backup"}
    assert walk(tmp_path / "backup")[0] == [], "not even by its own name"


def test_excluded_folders_are_never_entered(tmp_path: Path) -> None:
    make(tmp_path, "note.md", "home/default/x.md", "homes/y.md")
    (tmp_path / "link").symlink_to("home")
    for exclude in (tmp_path / "home", tmp_path / "link"):
        found = [e for e in scan([str(tmp_path)], exclude=[str(exclude)]) if not e.problem]
        assert [os.path.relpath(e.path, tmp_path) for e in found] == ["homes/y.md", "note.md"]
    for root in (tmp_path / "home", tmp_path / "home" / "default"):
        entries = list(scan([str(root)], exclude=[str(tmp_path / "home")]))
        assert [e.problem for e in entries] == [("skipped", "where collections are kept: never indexed")]


def test_a_root_that_leads_to_another_gets_its_name(tmp_path: Path) -> None:
    make(tmp_path, "real/sub/a.md", "other/")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "deep").symlink_to("real/sub")
    real, link, deep, other = (str(tmp_path / name) for name in ("real", "link", "deep", "other"))
    assert settle([link], [real]) == [real]
    assert settle([deep], [real]) == [os.path.join(real, "sub")]
    assert settle([link + "/sub"], [real]) == [os.path.join(real, "sub")]
    assert settle([real, link]) == [real]
    assert settle([link, real], [link]) == [link]
    assert settle([real + "/sub", real]) == [real + "/sub", real], "a root within a root keeps its name"
    assert settle([link]) == [link], "alone it is what the person called it"
    assert settle([other, real], []) == [other, real]


def records(folder: Path) -> dict[str, FileRecord]:
    return {
        e.path: FileRecord(e.path, e.root, e.size, e.mtime_ns, digest(e.path), ctime_ns=e.ctime_ns, inode=e.inode)
        for e in scan([str(folder)])
    }


def changed(before: dict[str, FileRecord], folder: Path, **how: bool) -> list[str]:
    found = compare(scan([str(folder)]), before, [str(folder)], **how)
    assert not found.new
    assert not found.gone
    return [os.path.basename(entry.path) for entry in found.changed]


def put(path: Path, text: str) -> None:
    """Replace a file by one of the same time, as an unpacked image does."""
    new = path.with_name("new")
    new.write_text(text)
    os.utime(new, ns=(1, 1))
    new.replace(path)


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        put(tmp_path / name, f"port 808{name}")
    before = records(tmp_path)
    assert changed(before, tmp_path) == []
    put(tmp_path / "a", "port 9443")  # another file in its place
    (tmp_path / "b").write_text("port 9444")  # the same file, its time set back
    os.utime(tmp_path / "b", ns=(1, 1))
    (tmp_path / "c").rename(tmp_path / "t")  # two files swap names
    (tmp_path / "d").rename(tmp_path / "c")
    (tmp_path / "t").rename(tmp_path / "d")
    assert changed(before, tmp_path) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("sign", ["ctime_ns", "inode"])
def test_each_sign_alone_tells_a_change(tmp_path: Path, sign: str) -> None:
    put(tmp_path / "a", "port 8080")
    path, record = next(iter(records(tmp_path).items()))
    other = {"ctime_ns": 0, "inode": 0, sign: getattr(record, sign) + 1}
    assert changed({path: replace(record, **other)}, tmp_path) == ["a"]
    assert changed({path: replace(record, ctime_ns=0, inode=0)}, tmp_path) == []


def test_what_an_earlier_version_did_not_know_says_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a", "port 8080")
    before = records(tmp_path)
    path, record = next(iter(before.items()))
    old = {path: FileRecord(path, record.root, record.size, record.mtime_ns, record.digest)}
    assert changed(old, tmp_path) == []
    assert changed(before, tmp_path, checksum=True) == ["a"], "its digest decides"


def test_a_file_without_text_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    make(tmp_path, blank=" \n")
    before = records(tmp_path)
    path, record = next(iter(before.items()))
    times = {"ctime_ns": record.ctime_ns, "inode": record.inode}
    read = FileRecord(path, record.root, record.size, record.mtime_ns, record.digest, "skipped", "blank", **times)
    assert changed({path: read}, tmp_path) == []
    unread = FileRecord(path, record.root, record.size, record.mtime_ns, None, "skipped", "ignored", **times)
    assert changed({path: unread}, tmp_path) == ["blank"]
