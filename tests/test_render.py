import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from semsearch import render
from semsearch.search.showing.explain import Explanation
from semsearch.search.showing.hits import Duplicate, Hit

TEXT = "A boat. It crossed the bay."
HIT = Hit(1, 0.5, "/a.txt", 3, 3, None, TEXT, None, 7, None, "text", {}, (8, 27), ((11, 18), (23, 26)))
WHY = Explanation(
    scores={"dense": 0.25, "lexical": None},
    parts={"dense": 0.5},
    fused=0.5,
    rerank=None,
    percentile=0.9996,
    terms=("bay",),
    query_means=(("sea", 0.5), ("ship", 0.1)),
    passage_means=(("sea", 0.25),),
    shared=("sea",),
)


def shown(hit, width=100):
    return render.hits([hit], width, styled=True)


def test_the_sentence_is_bold_and_its_matches_are_underlined_too():
    assert "\x1b[1;33mIt \x1b[0m\x1b[1;4;33mcrossed\x1b[0m\x1b[1;33m the \x1b[0m\x1b[1;4;33mbay\x1b[0m" in shown(HIT)


def test_a_text_cannot_steer_the_terminal_nor_shift_the_marks():
    text = shown(replace(HIT, text="\x07\r\x1b[2J A boat\x9b", highlight=(7, 8), matches=((9, 13),)))
    assert "\x1b[2J" not in text
    assert "\x9b" not in text
    assert "\x1b[1;33mA\x1b[0m" in text
    assert "\x1b[4mboat\x1b[0m" in text


def test_duplicates_and_reasons_follow_the_text():
    twins = (Duplicate("/b.pdf", 1, 2, 9, None, 8, "pdf"), Duplicate("/c.csv", 4, 5, None, "x1", 9, "csv"))
    text = shown(replace(HIT, duplicates=twins, explanation=WHY))
    assert "also: /b.pdf page 9" in text
    assert "also: /c.csv:4-5 record x1" in text
    assert "scores: dense 0.250 (+0.500), lexical none, fused 0.500" in text
    assert "99.9% of random pairs" in text
    assert "words found: bay" in text
    assert "query sea 50%, ship 10%" in text
    assert "both sea" in text


def test_tiny_scores_are_not_shown_as_nothing():
    assert render.why(replace(WHY, scores={"lexical": 2e-6, "dense": 0.0}))[0].startswith(
        "scores: lexical 2e-06, dense 0.000"
    )


def test_what_is_not_known_is_not_explained():
    lines = render.why(replace(WHY, percentile=None, terms=(), query_means=(), passage_means=(), fused=None, parts={}))
    assert lines == ["scores: dense 0.250, lexical none"]


def test_many_words_found_are_not_all_shown():
    lines = render.why(replace(WHY, terms=tuple(f"w{i}" for i in range(14))))
    assert f"words found: {', '.join(f'w{i}' for i in range(12))} and 2 more" in lines


def test_json_keeps_its_keys_and_is_strict():
    value = json.loads(render.dump(render.hit_value(replace(HIT, explanation=WHY))), parse_constant=str)
    assert value["highlight"] == [8, 27]
    assert value["matches"] == [[11, 18], [23, 26]]
    assert value["explanation"]["scores"] == {"dense": 0.25, "lexical": None}
    assert value["explanation"]["query_means"] == [["sea", 0.5], ["ship", 0.1]]


def test_percentages_are_never_rounded_up_to_all():
    assert [render.percent(x) for x in (0.0, 0.876, 0.99, 0.99999, 1.0)] == ["0%", "87%", "99.0%", "99.9%", "100.0%"]


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
