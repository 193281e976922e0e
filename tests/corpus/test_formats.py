import gzip
import io

import pytest

from indexer.corpus.format_notes import NOTES, formats_table
from indexer.corpus.formats import KINDS, has_binary_name
from indexer.corpus.readers import ReadOptions, read_stream
from indexer.types import Notes


def test_every_kind_says_what_is_read_and_what_is_left_out() -> None:
    assert set(NOTES) == set(KINDS)
    table = formats_table().splitlines()
    assert len(table) == len(KINDS) + 2
    assert all(line.count(" | ") == 2 for line in table)
    assert all(f".{ending}" in formats_table() for endings in KINDS.values() for ending in endings[:3])


@pytest.mark.parametrize(
    ("name", "binary"),
    [
        ("ls.1.gz", False),
        ("NEWS.gz", False),
        ("changelog.Debian.gz", False),
        ("a.csv.gz", False),
        ("a.docx", False),
        ("a.tar.gz", True),
        ("photo.png.gz", True),
        ("photo.PNG", True),
    ],
)
def test_names_that_promise_no_text(name: str, binary: bool) -> None:
    assert has_binary_name(f"/x/{name}") is binary
    if name.endswith("1.gz"):
        stream = io.BytesIO(gzip.compress(b".TH LS 1"))
        assert [d.text for d in read_stream(stream, name, ReadOptions(), Notes())] == [".TH LS 1"]
