import gzip
import io
import os
import socket
import zipfile
from contextlib import suppress
from pathlib import Path

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.corpus import docx as docx_reader
from indexer.corpus import readers
from indexer.corpus.readers import ReadOptions, printable, read, read_stream
from indexer.errors import ConfigError, ReadError
from indexer.types import Notes
from tests.corpus.files import documents, make_docx, make_pdf, make_zip_bomb


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
        ("a.md", "intro\n\n# The *title* #\n\nbody", "markdown", "The *title*", None),
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
        ("a.txt", b"ok\nbad \xe9 byte", ["invalid UTF-8", "0xe9", "offset 7", "line 2"]),
        ("b.txt", b"\xef\xbb\xbfbad \xe9", ["0xe9", "offset 7"]),
        ("c.md", b"cut \xe2\x82", ["invalid UTF-8", "0xe2", "offset 4"]),
        ("d.txt", b"\xff\xfea\x00\x00\xd8", ["invalid UTF-16"]),
        ("e.txt", b"one\ntwo\0three", ["NUL", "offset 7", "line 2"]),
        ("f.txt", b"", ["empty"]),
        ("g.md", b" \n\t\n", ["white space"]),
        ("h.txt", b"x" * 101, ["larger than 100 bytes", "--max-bytes"]),
        ("unknown", b"\x7fELF\x02\x01\x01\x00", ["binary"]),
    ],
)
def test_bad_text_has_a_reason(tmp_path: Path, name: str, data: bytes, words: list[str]) -> None:
    message = reason(tmp_path / name, data, ReadOptions(max_bytes=100))
    assert all(word in message for word in words), message


PAGE = """<!doctype html><html><head><title> Bees &amp; honey </title><style>p {color: red}</style></head><body>
<nav><a href=/>Home</a></nav><header>Site</header>
<div><h1>Bees</h1><p>They <b>dan</b>ce
 in the   sun.<br>Often.</p><script>alert("no")</script><ul><li>first<li>second</ul>
<h2>Honey</h2><table><tr><th>kind<th>color<tr><td>acacia<td>pale</table><pre>a
   b <i>c</i></pre><p hidden>secret</p></div><footer>Contact</footer></body></html>"""


def test_html_gives_the_content_in_paragraphs(tmp_path: Path) -> None:
    (document,), _ = documents(write(tmp_path / "a.html", PAGE))
    assert document.title == "Bees & honey"
    assert document.text == (
        "Bees\n\nThey dance in the sun.\nOften.\n\nfirst\nsecond\n\n\nHoney\n\nkind | color\nacacia | pale\n\na\n   b c"
    )


def test_html_main_part_is_preferred(tmp_path: Path) -> None:
    page = "<body><div>menu</div><main><h1>T</h1>content<footer>note</footer></main><div>related</div>"
    (document,), _ = documents(write(tmp_path / "a.htm", page))
    assert (document.title, document.text) == ("T", "T\n\ncontent\n\nnote")


def test_html_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    (document,), _ = documents(write(tmp_path / "a.html", b'<meta charset="iso-8859-1"><p>na\xefve \x93quote\x94'))
    assert document.text == "naïve “quote”"
    assert "invalid UTF-8" in reason(tmp_path / "b.html", b"<p>na\xefve")


def test_html_nested_very_deeply(tmp_path: Path) -> None:
    (document,), _ = documents(write(tmp_path / "a.html", "<div>" * 5_000 + "deep" + "</div>" * 5_000))
    assert document.text == "deep"
    for tag in ("<div>", "<B>"):
        assert "open at once" in reason(tmp_path / "b.html", tag * 10_000_000)
    (document,) = documents(write(tmp_path / "c.html", "<p>x<br><b>y</b>\n" * 30_000))[0]
    assert document.text.count("x\ny") == 30_000


def test_html_without_text(tmp_path: Path) -> None:
    assert "no text" in reason(tmp_path / "a.html", "<title>App</title><body><script>run()</script></body>")


def test_pdf_text_and_where_its_pages_begin(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", make_pdf(["The first page", "", "The third"], title="Three pages"))
    (document,), _ = documents(path)
    assert (document.kind, document.title) == ("pdf", "Three pages")
    assert document.text == "The first page\n\n\n\nThe third"
    assert [document.text[start:][:5] for start in document.page_starts] == ["The f", "\n\nThe", "The t"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (make_pdf(["secret"], encrypted=True), "encrypted"),
        (make_pdf(["one", "two"])[:-400], "cut off"),
        (make_pdf(["one", "two"])[:-8], "cut off"),
        (make_pdf(["one", "two"])[:60], "cut off"),
        (make_pdf(["", ""]), "OCR"),
        (b"hello", "not a PDF"),
        (b"%PDF-1.4\n%%EOF\n", "damaged"),
        (b"", "empty"),
    ],
    ids=["encrypted", "half", "end", "begin", "scanned", "text", "hollow", "empty"],
)
def test_bad_pdf_has_a_reason(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in reason(tmp_path / "a.pdf", data)


def test_docx_headings_lists_and_tables(tmp_path: Path) -> None:
    (document,), _ = documents(write(tmp_path / "a.docx", make_docx()))
    assert (document.kind, document.title) == ("docx", "On bees")
    assert document.text == "Bees\n\nThey dance.\n\nfirst\n\n\nHoney\n\nkind | color\nacacia | pale\n\nIt keeps."


def test_docx_insertions_count_and_deletions_do_not(tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("old ")._p
    w = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    for part in (
        f"<w:ins {w}><w:r><w:t>added</w:t></w:r></w:ins>",
        f"<w:del {w}><w:r><w:delText>removed</w:delText></w:r></w:del>",
    ):
        paragraph.append(docx.oxml.parse_xml(part))
    document.save(str(tmp_path / "a.docx"))
    assert documents(tmp_path / "a.docx")[0][0].text == "old added"


def zipped(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"plain text", "no zip file"),
        (make_docx()[:-500], "no zip file"),
        (make_docx()[:200] + b"\0" * 100 + make_docx()[300:], "damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "encrypted or older"),
        (zipped(hello=b"x"), "not a readable DOCX"),
        (make_zip_bomb(130 << 20), "zip bomb"),
    ],
    ids=["text", "truncated", "flipped", "ole", "other zip", "bomb"],
)
def test_bad_docx_has_a_reason(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in reason(tmp_path / "a.docx", data)


def test_docx_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    data = bytearray(make_zip_bomb(2 << 20))
    for marker, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # the size fields of both headers
        place = data.rindex(marker) + at
        data[place : place + 4] = (1000).to_bytes(4, "little")
    assert "not a DOCX" in reason(tmp_path / "a.docx", bytes(data))


def test_docx_of_many_large_parts_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(**{f"p{i}": b" " * 400 for i in range(3)})
    monkeypatch.setattr(docx_reader, "LARGEST_WHOLE", 1000)
    monkeypatch.setattr(docx_reader.zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    assert "zip bomb" in reason(tmp_path / "a.docx", data)


def test_docx_without_text(tmp_path: Path) -> None:
    docx.Document().save(str(tmp_path / "a.docx"))
    assert "no text" in reason(tmp_path / "a.docx")


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


SAMPLES = {
    "txt": "naïve text\n".encode() * 20,
    "md": b"# T\n\nbody\n\n---\n```\ncode\n```\n" * 5,
    "rst": b"T\n=\n\nbody\n\n===\nU\n===\n" * 5,
    "html": PAGE.encode(),
    "pdf": make_pdf(["One page", "Another page"], title="T"),
    "docx": make_docx(),
    "csv": 'id,title,text\n1,"a ""b""",ü\n'.encode() * 20,
    "tsv": b"id\ttext\n1\tb\n" * 20,
    "jsonl": b'{"id": 1, "title": "a", "text": "b \\u00e9", "x": [1]}\n' * 20,
    "jsonl.gz": gzip.compress(b'{"text": "b"}\n' * 200),
}


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
