from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch.search.showing.sentences import sentences, unwrapped


def parts(text):
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["The wing was tested.", "Drag rose with speed (Mach 2.5)!", "Did it stall?", "No one knows"],
        ["J. S. Bach met Dr. Smith at 5 p.m. in St. James.", "He was pleased."],
        ["See No. 12, e.g. the valve.", "Then stop."],
        ['He said "stop."', "She did."],
        ["Wait… what?", "Yes."],
        ["हाँ।", "नहीं।"],
        ["هل تعرف؟", "نعم۔"],
    ],
)
def test_sentences_of_a_line(expected):
    assert parts(" ".join(expected)) == expected


def test_sentences_of_scripts_without_spaces():
    assert parts("双方同意。「下周起草。」真的吗？好！") == ["双方同意。", "「下周起草。」", "真的吗？", "好！"]


WRAPPED = (
    "This paragraph was written by someone whose editor breaks\n"
    "lines at sixty columns, so that a sentence goes on. And\n"
    "this is another."
)


def test_a_wrapped_paragraph_is_put_together():
    assert len(parts(WRAPPED)) == 2
    assert unwrapped(WRAPPED) == WRAPPED.replace("\n", " ")


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"step {i} compiled unit {i} of the program without a warning\n" for i in range(5)),
        "def read():\n    first_value = port.take(1, timeout=20, blocking=True)\n    walrus(v1)\n    return v1\n",
        "- a list item that is long enough to look like a line of prose\n- another item of the same list\n",
        "name,town,year of birth,profession of the father\nAda,London,1815,poet and politician of note\n",
        "| left column of a table | right column of it |\n| a cell that is wide  | and another wide cell |\n",
        "2026-01-01 12:00:00 INFO the server has been started\n2026-01-01 12:00:01 WARN the disk is nearly full\n",
        "First line of verse\nSecond line of it\n",
        "A title of the note\n\nA paragraph under it.\n",
    ],
)
def test_lines_that_were_not_wrapped_are_sentences(text):
    assert parts(text) == [line.strip() for line in text.splitlines() if line.strip()]
    assert unwrapped(text) == text


@given(st.text(alphabet="ab .!?\n\"'),;|-1。", max_size=200))
def test_sentences_hold_every_character_but_white_space_once(text):
    spans = sentences(text)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
    assert len(unwrapped(text)) == len(text)
    assert unwrapped(text).split() == text.split()
