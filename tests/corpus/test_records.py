import gzip
import io
import json
from pathlib import Path

import pytest

from indexer.corpus import source
from indexer.corpus.readers import ReadOptions, read_stream
from indexer.corpus.records import lines as record_lines
from indexer.errors import NothingToRead, ReadError
from indexer.types import Document, Notes
from tests.corpus.files import documents


def parse(data: bytes | str, kind: str = "jsonl", **options: object) -> tuple[list[Document], list[str]]:
    notes = Notes()
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    found = list(read_stream(stream, "/f", ReadOptions(**options), notes, kind=kind))  # type: ignore[arg-type]
    return found, notes.problems


def parse_records(*values: object, **options: object) -> list[Document]:
    found, problems = parse("\n".join(map(json.dumps, values)), **options)
    assert not problems
    return found


def test_title_and_text_where_present() -> None:
    a, b, c = parse_records(
        {"id": "x", "title": "T", "text": "body", "year": 1999, "ok": True, "tag": "new", "none": None, "list": [1]},
        {"_id": 7, "text": "only"},
        {"_id": "y", "title": "only title", "text": ""},
    )
    assert (a.text, a.title, a.record) == ("T\nbody", "T", "x")
    assert a.fields == {"year": "1999", "ok": "true", "tag": "new"}
    assert (b.text, b.title, b.record) == ("only", None, "7")
    assert (c.text, c.record, c.fields) == ("only title", "y", {})


def test_else_every_string_field() -> None:
    record = {"id": "x", "question": "why?", "answer": "because", "score": 2, "list": [3]}
    (document,) = parse_records(record)
    assert document.text == "why?\nbecause"
    assert document.fields == {"question": "why?", "answer": "because", "score": "2"}
    assert document.title is None
    (document,) = parse_records({"abstract": "because", "title": "why?", "long": "x" * 2000})
    assert document.text == "why?\nbecause\n" + "x" * 2000
    assert (document.title, document.fields) == ("why?", {"abstract": "because"})
    (document,) = parse_records({"name": "N", "body": "B"}, title_field="name")
    assert (document.title, document.text) == ("N", "N\nB")


def test_chosen_fields() -> None:
    record = {"id": 1, "key": "k", "name": "N", "abstract": ["a", "b"], "note": "n", "title": "T", "text": "unused"}
    (a,) = parse_records(record, text_fields=("note", "abstract"))
    assert (a.text, a.title, a.record) == ("n\na\nb", "T", "1")
    assert a.fields == {"key": "k", "name": "N", "text": "unused"}
    (b,) = parse_records(record, text_fields=("note",), title_field="name", id_field="key")
    assert (b.text, b.title, b.record) == ("N\nn", "N", "k")
    assert b.fields == {"id": "1", "title": "T", "text": "unused", "abstract": "a, b"}


def test_an_option_that_names_no_field() -> None:
    for option in ({"text_fields": ("body",)}, {"title_field": "body"}, {"id_field": "body"}):
        for kind, data in (("jsonl", '{"name": "x", "text": "y"}'), ("csv", "name,text\nx,y")):
            with pytest.raises(ReadError, match="no record has the field 'body': its fields are name, text"):
                parse(data, kind, **option)


def test_records_are_numbered_with_the_bad_ones_and_ids_made_unique() -> None:
    found, problems = parse('{"text": "a"}\n\nnope\n{"text": "b"}\n{"id": 1, "text": "c"}\n{"id": 1, "text": "d"}')
    assert [(d.record, d.line_start) for d in found] == [("1", 1), ("3", 4), ("1#4", 5), ("1#5", 6)]
    assert problems == ["line 3: not JSON: Expecting value at column 1"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[1, 2]", "JSON array"),
        (b"null", "JSON null"),
        (b"3", "JSON number"),
        (b'{"text": "a\0"}', "NUL"),
        (b'{"text": "' + b"x" * 100 + b'"}', "longer than 64 bytes: raise the limit with --max-record-bytes"),
        (b"[" * 60, "JSON"),
        (b'{"text": "cut', "not JSON"),
    ],
)
def test_a_bad_line_is_reported_and_left_out(line: bytes, words: str) -> None:
    found, problems = parse(b'{"text": "a"}\n' + line + b'\n{"text": "b"}', max_record_bytes=64)
    assert [d.text for d in found] == ["a", "b"]
    assert len(problems) == 1
    assert problems[0].startswith("line 2: ")
    assert words in problems[0]


def test_brackets_and_digits_without_end() -> None:
    for line in ("[" * 200_000, '{"text": ' + "1" * 5000 + "}"):
        found, problems = parse(line + '\n{"text": "b"}')
        assert ([d.text for d in found], len(problems)) == (["b"], 1)


def test_nothing_readable_is_a_bad_file() -> None:
    with pytest.raises(ReadError, match="no record could be read: line 1: not JSON"):
        parse("one\ntwo")
    for kind, data in (("jsonl", ""), ("jsonl", "\n\n"), ("csv", "a,b\n")):
        with pytest.raises(ReadError, match="holds no records"):
            parse(data, kind)


def test_many_problems_are_counted() -> None:
    _, problems = parse("nope\n" * 150 + '{"text": "a"}')
    assert len(problems) == record_lines.MAX_REMARKS + 1
    assert problems[-1] == "and 50 more records that could not be read"


def test_unpaired_surrogates_and_nul_escapes_become_storable() -> None:
    (document,) = parse_records({"id": "\ud800", "text": "a\ud800b\x00c 🦊", "k": "\udfff"})
    assert document.text == "a\ufffdb\ufffdc 🦊"
    assert (document.record, document.fields) == ("\ufffd", {"k": "\ufffd"})


class Endless(io.RawIOBase):
    """One line of ``size`` bytes, then a good record; remembers the most that was asked for at once."""

    def __init__(self, size: int):
        self.left, self.most = size, 0
        self.tail = io.BytesIO(b'\n{"text": "after"}\n')

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        self.most = max(self.most, len(buffer))
        if not self.left:
            return self.tail.readinto(buffer)
        count = min(len(buffer), self.left)
        buffer[:count] = b"x" * count
        self.left -= count
        return count


def test_an_enormous_line_is_passed_over_in_pieces() -> None:
    stream, notes = Endless(200 << 20), Notes()
    options = ReadOptions(max_record_bytes=1 << 20)
    found = list(read_stream(stream, "/f.jsonl", options, notes))  # type: ignore[arg-type]
    assert [(d.text, d.line_start) for d in found] == [("after", 2)]
    assert notes.problems == ["line 1: longer than 1 MiB: raise the limit with --max-record-bytes"]
    assert stream.most <= 1 << 20


def test_csv() -> None:
    found, problems = parse('id,title,text,year\r\n1,T,"a ""b"", c\nd",1999\r\n\r\n2,,e\n', "csv")
    assert [(d.record, d.text, d.title, d.fields, d.line_start) for d in found] == [
        ("1", 'T\na "b", c\nd', "T", {"year": "1999"}, 2),
        ("2", "e", None, {}, 5),
    ]
    assert problems == []


def test_tsv_and_semicolons_and_odd_headers() -> None:
    assert parse("text\tn\na, b; c\t1\n", "tsv")[0][0].text == "a, b; c"
    assert parse("text;n\na, b;1\n", "csv")[0][0].text == "a, b"
    assert parse("text\n1;2\n", "csv")[0][0].text == "1;2"
    assert parse("text,,x,x\na,b,c,d\n", "csv")[0][0].fields == {"column 2": "b", "x": "c", "x 4": "d"}


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        ('1\t"a\tb"\tz\n', ["a\tb"]),
        ('1\t"two\nlines"\tz\n2\tb\tz\n', ["two\nlines", "b"]),
        ('1\t"two\n5"" lines"\t"z\n"\n2\tb\tz\n', ['two\n5" lines', "b"]),
        ('1\t"No," he said.\tz\n2\t5" disk\tz\n', ['"No," he said.', '5" disk']),
        ('1\t"Never closed\tz\n2\tb\t"z"\n', ['"Never closed', "b"]),
        ('"1"\t"a ""b"""\tz\r\n2\t""\ty\r\n3\tc', ['a "b"', "y", "c"]),
    ],
)
def test_quotes_in_tsv_that_quote_and_that_do_not(rows: str, texts: list[str]) -> None:
    assert [d.text for d in parse("id\ttext\tz\n" + rows, "tsv")[0]] == texts


def test_bad_csv_records_are_left_out() -> None:
    data = "text,n\nà,1\n".encode() + b'"c"d,4\n"e\n\xe9\nf",5\n\xff,6\ng,7\n'
    found, problems = parse(data, "csv")
    assert [(d.text, d.line_start, d.record) for d in found] == [("à", 2, "1"), ("g", 8, "5")]
    assert [p.partition(":")[0] for p in problems] == ["line 3", "line 5", "line 7"]


@pytest.mark.parametrize("lines", [2, 20_000], ids=["to the end", "beyond the limit"])
def test_a_quote_that_is_never_closed(lines: int) -> None:
    found, problems = parse('text\na\n"b\n' + "c, and so on\n" * lines, "csv", max_record_bytes=1000)
    assert [d.text for d in found] == ["a"]
    assert problems == ["line 3: a quote is opened and not closed: nothing after it was read"]


def test_a_cell_larger_than_pythons_default_limit() -> None:
    assert len(parse("text\n" + "x" * 500_000, "csv")[0][0].text) == 500_000


def test_a_header_that_is_none() -> None:
    with pytest.raises(NothingToRead, match="holds no records"):
        parse("\na,b\n", "csv")
    with pytest.raises(ReadError, match="its first line, which names the columns, cannot be read"):
        parse(b"id,\0\na,b\n", "csv")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(encoding: str) -> None:
    assert parse('{"text": "naïve 🦊"}\n{"text": "b"}'.encode(encoding))[0][0].text == "naïve 🦊"
    (document,), _ = parse("id,text\n1,naïve".encode(encoding), "csv")
    assert (document.record, document.text) == ("1", "naïve")


def test_damaged_utf_16() -> None:
    with pytest.raises(ReadError, match="invalid UTF-16 after line 1"):
        parse('{"text": "a"}\n'.encode("utf-16") + b"\x00\xd8")


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = gzip.compress(b"".join(b'{"text": "line %d"}\n' % i for i in range(1000)))
    path.write_bytes(packed)
    assert len(documents(path)[0]) == 1000
    for data in (packed[:-300], b"no gzip", packed[:-8] + bytes(8)):
        path.write_bytes(data)
        with pytest.raises(ReadError, match="not a whole gzip file"):
            documents(path)


def test_gzip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "GZIP_SAFE", 1 << 16)
    for line in (b"\n", b"x"):  # as many lines, and as one
        (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line * (2 << 20)))
        with pytest.raises(ReadError, match="gzip bomb"):
            documents(tmp_path / "a.jsonl.gz")


def test_a_stream_is_read_as_it_is_asked_for() -> None:
    class Counting(io.BytesIO):
        asked = 0

        def readinto(self, buffer: memoryview) -> int:
            Counting.asked += 1
            return super().readinto(buffer)

    reading = read_stream(Counting(b'{"text": "a"}\n' * 1_000_000), "/f.jsonl", ReadOptions(), Notes())
    next(reading)
    assert Counting.asked < 5
