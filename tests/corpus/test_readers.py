import io
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.corpus import readers
from indexer.corpus.formats import read_differently
from indexer.corpus.readers import ReadOptions, printable, read, read_stream
from indexer.errors import ConfigError, ReadError
from indexer.types import Notes
from tests.corpus.files import documents
from tests.corpus.samples import SAMPLES


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def reason(path: Path, data: bytes | str | None = None, options: ReadOptions | None = None) -> str:
    """Why the file cannot be read."""
    if data is not None:
        write(path, data)
    with pytest.raises(ReadError) as caught:
        documents(path, options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "kind", "title", "text"),
    [
        ("a.txt", "one\r\ntwo\rthree\n", "text", None, "one\ntwo\nthree\n"),
        ("README", "no ending", "text", None, "no ending"),
        ("a.md", "intro\n\n# The *title* #\n\nbody", "markdown", "The title", None),
        ("c.md", "---\ntitle: 'Front'\n# no: x\n---\n# Heading\n", "markdown", "Front", None),
        ("d.md", "```\n# code\n```\n## Heading ##\n", "markdown", "Heading", None),
        ("e.md", "no heading", "markdown", None, None),
        ("b.markdown", "Title\n=====\n\nbody", "markdown", "Title", None),
        ("a.rst", "Title\n-----\n\nbody", "rst", "Title", None),
        ("b.rst", ".. note\n\n=====\n Over\n=====\n\nbody", "rst", "Over", None),
        ("a.py", "x = 1\n", "code", None, "x = 1\n"),
        ("bom.txt", b"\xef\xbb\xbfna\xc3\xafve", "text", None, "naïve"),
        ("le.txt", "naïve 🦊".encode("utf-16"), "text", None, "naïve 🦊"),
        ("be.txt", b"\xfe\xff" + "naïve".encode("utf-16-be"), "text", None, "naïve"),
    ],
)
def test_text(tmp_path: Path, name: str, data: bytes | str, kind: str, title: str | None, text: str | None) -> None:
    path = write(tmp_path / name, data)
    (document,), problems = documents(path)
    assert (document.path, document.kind, document.title, problems) == (str(path), kind, title, [])
    assert document.text == (data if text is None else text)
    assert document.record is None


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"ok\n\x80\x81\xfe\xff\x90", ["invalid UTF-8", "0x80", "offset 3", "line 2", "--encoding"]),
        ("d.txt", b"\xff\xfea\x00\x00\xd8", ["invalid UTF-16"]),
        ("f.txt", b"", ["empty"]),
        ("g.md", b" \n\t\n", ["white space"]),
        ("h.txt", b"x" * 101, ["larger than 100 bytes", "--max-bytes"]),
        ("unknown", b"\x7fELF\x02\x01\x01\x00", ["binary"]),
    ],
)
def test_bad_text_has_a_reason(tmp_path: Path, name: str, data: bytes, words: list[str]) -> None:
    message = reason(tmp_path / name, data, ReadOptions(max_bytes=100))
    assert all(word in message for word in words), message


def test_missing_and_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "vanished" in reason(tmp_path / "gone.txt")
    write(tmp_path / "a.txt", "x")

    def refuse(*_: object) -> int:  # chmod does not hold back root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert "permission denied" in reason(tmp_path / "a.txt")


def test_a_pipe_or_folder_in_a_files_place_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    assert "named pipe" in reason(tmp_path / "a.txt")  # a blocking open would wait for a writer
    (tmp_path / "b.txt").mkdir()
    assert "folder" in reason(tmp_path / "b.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "c.txt"))  # names of sockets must be short
        assert reason(tmp_path / "c.txt")


@pytest.mark.parametrize(("name", "data"), [("a.txt", "one\n"), ("a.jsonl", '{"text": "one"}\n' * 3)])
def test_a_file_that_is_written_to_meanwhile(tmp_path: Path, name: str, data: str) -> None:
    path = write(tmp_path / name, data)
    reading = read(str(path), ReadOptions(), Notes())
    next(reading)
    with open(path, "a") as file:
        file.write(data)
    with pytest.raises(ReadError, match="changed while it was read"):
        list(reading)


def test_standard_input() -> None:
    (document,) = read_stream(io.BytesIO(b"# T"), "-", ReadOptions(), Notes())
    assert (document.path, document.kind, document.text) == ("-", "text", "# T")
    found = list(read_stream(io.BytesIO(b'{"text": "a"}\n{"text": "b"}'), "-", ReadOptions(), Notes(), kind="jsonl"))
    assert [d.text for d in found] == ["a", "b"]
    with pytest.raises(ReadError, match="it is empty"):
        list(read_stream(io.BytesIO(), "-", ReadOptions(), Notes()))


def test_options_survive_a_round_trip_and_reject_what_they_do_not_know() -> None:
    options = ReadOptions(text_fields=("a", "b"), title_field="t", max_bytes=7)
    assert ReadOptions.from_dict(options.to_dict()) == options
    with pytest.raises(ConfigError, match="unknown field max_byte; fields are text_fields"):
        ReadOptions.from_dict({"max_byte": 7})
    with pytest.raises(ConfigError, match="max_bytes is 0"):
        ReadOptions(max_bytes=0)
    with pytest.raises(ConfigError, match="list of field names"):
        ReadOptions(text_fields="abc")  # type: ignore[arg-type]


def test_which_files_other_options_concern() -> None:
    plain = ReadOptions()
    fields, encoding, size = ReadOptions(id_field="x"), ReadOptions(encoding="cp1252"), ReadOptions(max_bytes=9)
    kinds = ("csv", "json", "text", "mail", "pdf", None)
    assert [read_differently(kind, plain, fields) for kind in kinds] == [True, True, False, False, False, False]
    assert [read_differently(kind, plain, encoding) for kind in kinds] == [True, True, True, True, False, True]
    assert not any(read_differently(kind, plain, size) for kind in kinds)


def test_printable_paths() -> None:
    assert printable("/a b/ü.txt") == "/a b/ü.txt"
    assert printable("a\nb\x1b[31m\u2028") == "a\\nb\\x1b[31m\\u2028"
    assert printable(os.fsdecode(b"caf\xe9")) == "caf\\xe9"
    printable(os.fsdecode(b"\xff\xfe")).encode()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("A.TXT", "text"), ("x.JSONL.gz", "jsonl"), ("x.tsv", "tsv"), ("x.tar.gz", None), (".gz", None), ("Make", None)],
)
def test_kind_by_name(name: str, kind: str | None) -> None:
    assert readers.kind_of("/some.csv/" + name) == kind


@pytest.mark.parametrize("ending", SAMPLES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_damage_of_any_kind_gives_documents_or_a_reason(ending: str, data: st.DataObject) -> None:
    content = bytearray(SAMPLES[ending])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=8))
    with suppress(ReadError):  # and nothing else
        for document in read_stream(io.BytesIO(content), f"/f.{ending}", ReadOptions(), Notes()):
            assert document.text.strip()
            document.text.encode()
