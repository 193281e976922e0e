"""Lines of a terminal's width, beside those that rich breaks."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from semsearch import wrapping


def broken(text, width):
    return [text[start:end] for start, end in wrapping.lines(text, width)]


@given(st.text(alphabet="aZ.é \n双語字", max_size=200), st.integers(2, 40))
def test_lines_are_those_of_rich(text, width):
    console = Console(file=io.StringIO(), width=width)
    theirs = [line.plain.rstrip() for line in Text(text).wrap(console, width)] if text else [""]
    assert broken(text, width) == theirs


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 10, [""]),
        ("a boat\n\nb", 10, ["a boat", "", "b"]),
        ("e\u0301" * 4 + " x", 4, ["e\u0301" * 4, "x"]),
        ("a\tb", 9, ["a", "b"]),
    ],
)
def test_places_at_which_lines_end(text, width, lines):
    assert broken(text, width) == lines


@given(st.text(max_size=200), st.integers(2, 60))
def test_nothing_but_white_space_is_lost_and_no_line_is_too_wide(text, width):
    lines = broken(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(wrapping.cells(line) <= width or len(line) == 1 or "\t" in line for line in lines)
