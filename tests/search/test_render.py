from hypothesis import given
from hypothesis import strategies as st

from semsearch import render


@given(st.text(alphabet="ab \n", max_size=900), st.data())
def test_an_excerpt_is_short_and_begins_its_highlight(text, data):
    first = data.draw(st.integers(0, len(text)))
    last = data.draw(st.integers(first, len(text)))
    start, end = render.excerpt(text, (first, last))
    assert 0 <= start <= end <= len(text)
    assert end - start <= render.WIDTH
    assert text[start:end].count("\n") <= render.EXCERPT
    if end < len(text) or start > 0:
        assert start <= first


def test_short_passages_are_shown_whole():
    assert render.excerpt("one\ntwo", None) == (0, 7)


def test_durations_and_sizes():
    seconds = (0.04, 9.96, 59.6, 200, 7500)
    assert [render.duration(s) for s in seconds] == ["0.0 s", "10.0 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]
    assert [render.size(n) for n in (1, 999, 1000, 92_871_040, 5e12)] == [
        "1 bytes",
        "999 bytes",
        "1.0 kB",
        "93 MB",
        "5000 GB",
    ]


def test_bytes_that_are_no_text_are_escaped():
    assert render.dump({"path": "caf\udce9"}) == '{"path": "caf\\udce9"}'
