"""A folder with every format, and a nasty file of each kind, from end to end."""

import json
import os
import sys

import pytest

from tests.corpus.files import make_docx, make_pdf, make_zip_bomb


@pytest.fixture
def good(tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    contents = {
        "plain.txt": "alpha plain words",
        "notes.md": "# Notes\n\nalpha markdown words",
        "guide.rst": "Guide\n=====\n\nalpha restructured words",
        "page.html": "<html><head><title>Page</title></head><body><p>alpha hypertext words</p></body></html>",
        "tool.py": 'def alpha():\n    """alpha source words"""\n',
        "table.csv": "id,title,text\nc1,First,alpha comma words\nc2,Second,other\n",
        "table.tsv": "id\ttext\nt1\talpha tabbed words\n",
        "rows.jsonl": json.dumps({"id": "j1", "text": "alpha jsonline words"}) + "\n",
    }
    for name, text in contents.items():
        (folder / name).write_text(text)
    (folder / "paper.pdf").write_bytes(make_pdf(["first page", "alpha portable words"]))
    (folder / "letter.docx").write_bytes(make_docx())
    return folder


def test_every_format_is_found_where_it_stands(good, index, run):
    report = index(good)
    assert report.code == 0
    assert report.json["files"]["new"] == 10
    hits = run("query", "--json", "--mode", "lexical", "-k", 50, "alpha").json
    found = {os.path.basename(hit["path"]): hit for hit in hits}
    assert set(found) == {path.name for path in good.iterdir()} - {"letter.docx"}
    assert {name: hit["document"] for name, hit in found.items() if hit["document"]} == {
        "table.csv": "c1",
        "table.tsv": "t1",
        "rows.jsonl": "j1",
    }
    assert found["paper.pdf"]["page"] == 2
    assert found["notes.md"]["page"] is None
    assert (found["table.csv"]["line_start"], found["tool.py"]["line_start"]) == (2, 1)
    kinds = {hit["kind"] for hit in hits}
    assert kinds == {"text", "markdown", "rst", "html", "code", "csv", "tsv", "jsonl", "pdf"}
    [docx] = run("query", "--json", "-k", 1, "--filter", "type=docx", "words").json
    assert docx["path"].endswith("letter.docx")


NASTY = {
    "cut.pdf": (make_pdf(["text"])[:120], "cut off"),
    "locked.pdf": (make_pdf(["secret"], encrypted=True), "encrypted"),
    "letter.docx": (b"not a zip", "no zip file"),
    "bomb.docx": (make_zip_bomb, "zip bomb"),
    "rows.jsonl": (b'{"text": "kept row"}\n{"text": \n', "line 2"),
}
"""Name → content that cannot be read, or not wholly, and a part of the reason."""
WITHOUT_TEXT = {"empty.txt": b"", "blank.rst": b" \n\n ", "table.csv": b""}
IN_PART = {"latin1.txt": (b"caf\xe9", "--encoding"), "nul.md": (b"some\0text", "NUL")}
"""Name → content that is read with a warning, and a part of it."""


def test_a_nasty_file_of_each_kind_becomes_a_status_and_nothing_is_lost(good, index, run):
    before = index(good).json["passages"]["total"]
    for name, (data, _) in NASTY.items():
        path = good / name if not (good / name).exists() else good / f"bad-{name}"
        path.write_bytes(data() if callable(data) else data)
    for name, data in WITHOUT_TEXT.items():
        (good / f"without-{name}").write_bytes(data)
    for name, (data, _) in IN_PART.items():
        (good / name).write_bytes(data)
    (good / "loop").symlink_to(good)
    (good / "out").symlink_to("/etc")
    (good / "dangling").symlink_to("nowhere")
    os.mkfifo(good / "pipe.txt")
    strange = ["new\nline.txt"] + ([os.fsdecode(b"caf\xe9.txt")] if sys.platform == "linux" else [])
    for name in strange:
        (good / name).write_text("alpha")
    (good / "long.txt").write_bytes(b"word " * (14 << 20))  # 70 MiB without a line end

    for first in (True, False):  # what failed stays failed while it stays as it is
        result = index(good)
        assert result.code == 4
        # The good row of the bad record file, and what was read in part.
        assert result.json["passages"]["total"] == before + 1 + len(IN_PART)
        status = run("status", "--json").json[0]
        failed = {os.path.basename(entry["path"]): entry["reason"] for entry in status["failed"]}
        for name, (_, reason) in NASTY.items():
            shown = name if name in failed else f"bad-{name}"
            assert reason in failed[shown], failed[shown]
        assert "large" in failed["long.txt"] or "max" in failed["long.txt"], failed["long.txt"]
        assert len(failed) == len(NASTY) + len(strange) + 1, json.dumps(failed, indent=1)
        skipped = {os.path.basename(entry["path"]) for entry in status["skipped"]}
        assert {"out", "pipe.txt", "loop", "dangling", *(f"without-{name}" for name in WITHOUT_TEXT)} <= skipped
        said = {os.path.basename(entry["path"]): entry["warnings"] for entry in result.json["warnings"]}
        assert set(said) == (set(IN_PART) if first else set())  # of the files that this run has read
        warned = {os.path.basename(entry["path"]): " ".join(entry["warnings"]) for entry in status["warnings"]}
        assert all(part in warned[name] for name, (_, part) in IN_PART.items())
    assert run("query", "--json", "kept row").json[0]["text"] == "kept row"
    assert run("doctor", "--json").code == 0


def test_an_unreadable_file(good, index, run, monkeypatch):
    """Root reads everything, so the refusal is made where the file is opened."""
    index(good)
    path = good / "plain.txt"
    path.write_text("alpha changed words")
    os.utime(path, (1, 1))
    if os.geteuid() == 0:
        real = os.open

        def refuse(name, *arguments, **keywords):
            if os.fspath(name) == str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return real(name, *arguments, **keywords)

        monkeypatch.setattr(os, "open", refuse)
        monkeypatch.setattr("builtins.open", _refusing(open, str(path)))
    else:
        path.chmod(0)
    assert index(good).code == 4
    [failed] = run("status", "--json").json[0]["failed"]
    assert failed["path"] == str(path)
    assert "ermission" in failed["reason"]
    assert run("query", "--json", "alpha plain").json[0]["text"] == "alpha plain words"  # what it held before stays


def _refusing(real, path):
    def refuse(name, *arguments, **keywords):
        if isinstance(name, str | os.PathLike) and os.fspath(name) == path:
            raise PermissionError(13, "Permission denied", path)
        return real(name, *arguments, **keywords)

    return refuse
