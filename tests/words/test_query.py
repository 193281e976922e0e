import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.storage.local.words.fts import TermWords
from indexer.words import MAX_WORDS, find, indexed, occurrences, query
from tests.words.helpers import matching

SHAPES = st.text(
    st.one_of(st.characters(), st.sampled_from("aBcD12 -_.+#'\"*/@:(){}^\u201c東京カタかなไทย한국 ANDORNOT")),
    max_size=40,
)


def said(text: str) -> list[str]:
    return [wanted.text for wanted in query(text).wanted]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("what is the speed of light", ["speed", "light"]),
        ("to be or not to be", ["to", "be", "or", "not", "to", "be"]),
        ("WHO guidelines for water", ["WHO", "guidelines", "water"]),
        ("the CAN bus", ["CAN", "bus"]),
        ("IT department", ["IT", "department"]),
        ("WHO CAN FIX IT", ["FIX"]),
        ("Who can fix it", ["fix"]),
        ("vitamin A deficiency", ["vitamin", "A", "deficiency"]),
        ("A boat", ["boat"]),
        ("what do I need", ["need"]),
        ("World War I", ["World", "War", "I"]),
        ("WHO", ["WHO"]),
        ("with statement", ["with", "statement"]),
        ("if clause", ["if", "clause"]),
        ("with a red boat", ["red", "boat"]),
        ("what is it", ["what", "is", "it"]),
        ('"to be" king', ['"to be"', "king"]),
        ("\u201cto be\u201d king", ['"to be"', "king"]),
        ('an open "quote', ["open", "quote"]),
        ("boat boats boat", ["boat", "boats", "boat"]),
        ("run* a* b*x", ["run*", "b", "x"]),
        ("I don't pay", ["pay"]),
        ("don't", ["don't"]),
        ("Alzheimer's disease", ["Alzheimer", "disease"]),
        ("C", ["C"]),
        ("NOT AND OR (x) NEAR", ["x", "NEAR"]),
    ],
)
def test_what_a_query_looks_for(text, wanted):
    assert said(text) == wanted


def test_each_thing_once():
    assert [wanted.text for wanted in query("boat sail Boats sail").distinct] == ["boat", "sail"]


def test_a_pasted_page_is_cut():
    assert len(query("word " * 1000).wanted) == MAX_WORDS
    assert len(query('"' + "word " * 1000 + '"').wanted[0].alternatives[0]) == MAX_WORDS


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("C++", "In C++ we name constants"),
        ("C#", "In C# we name"),
        ("C", "In C++ we name"),
        (".NET", "on .NET 8"),
        (".NET", "an ASP.NET page"),
        ("NET", "on .NET 8"),
        ("bashrc", "edit .bashrc"),
        (".bashrc", "edit ~/.bashrc"),
        ("node.js", "runs on Node.js"),
        ("nodejs", "runs on Node.js"),
        ("pool day data", "function poolDayData()"),
        ("poolDayData", "function poolDayData()"),
        ("poolDayData", "pool_day_data = 1"),
        ("pool_day_data", "poolDayData"),
        ("pool-day-data", "poolDayData"),
        ("server", "class HTTPServer:"),
        ("HTTPServer", "httpserver"),
        ("case", "snake_case"),
        ("email", "by e-mail"),
        ("e-mail", "an Email"),
        ("3.11.7", "Python 3.11.7 of today"),
        ("v2.0", "since v2.0"),
        ("E0308", "error[E0308]: mismatched types"),
        ("0x80070005", "failed with 0x80070005."),
        ("ORA-00942", "ORA-00942: table or view does not exist"),
        ("00942", "ORA-00942: table"),
        ("bob@example.com", "write to bob@example.com"),
        ("example", "write to bob@example.com"),
        ("/usr/lib/python3", "see /usr/lib/python3/dist-packages"),
        ("don't", "they don\u2019t"),
        ("dont", "they don't"),
        ("user's", "of a user"),
        ("covid19", "COVID-19"),
        ("COVID-19", "covid19"),
        ("押金", "把押金退还期限"),
        ("押金退还", "把押金退还期限"),
        ("期", "把押金退还期限"),
        ("限", "把押金退还期限"),
        ("霧笛", "昨夜は霧笛の圧縮機が止まった。"),
        ("ピュー", "コンピュータ"),
        ("운항시간표", "연락선운항시간표를변경했다."),
        ("นาฬิกา", "ช่างซ่อมนาฬิกาที่ท่าเรือ"),
        ("ໂມງ", "ຊ່າງແປງໂມງຢູ່ທ່າເຮືອ"),
        ("នាឡិកា", "ជាងជួសជុលនាឡិកានៅកំពង់ផែ"),
        ("itgc", "重跑gen-itgc后清零。"),
        ("東京の天気はどうですか", "東京は今日も天気がよい"),
        ("resum*", "two résumés"),
        ('"clean water"', "for clean water only"),
        ('"押金退还"', "把押金退还期限"),
        ('"金"', "把押金退还期限"),
        ("ｇａｔｅｗａｙ", "gateway"),
    ],
)
def test_found_by_the_index_and_marked_in_the_text(asked, text):
    other = "Nothing of the kind stands here 无关 관계 ไม่เกี่ยว ບໍ່ ទេ"
    assert matching(asked, other, text) == [1]
    [nothing, found] = find(query(asked), [other, text])
    assert not nothing
    assert found


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("C++", "In C we name"),
        ("C#", "In C++ we name"),
        ("C++", "C#"),
        (".NET", "a net of rope"),
        ("3.11.7", "3.11.8 and 7"),
        ("東京", "京都の東"),
        ("ピュータ", "ピュア"),
        ('"water clean"', "clean water"),
        ("snake_case", "a case of a snake"),
        ("poolDayData", "a day of data by the pool"),
        ("押金", "金押"),
    ],
)
def test_not_found_where_something_else_stands(asked, text):
    assert matching(asked, text) == []
    assert find(query(asked), [text]) == [{}]


def test_the_exact_name_is_better_than_a_part_of_another():
    assert matching("style guide C", "Style guide C++", "Style guide C#", "Style guide C")[0] == 2
    assert matching("server", "class HTTPServer", "the server")[0] == 1


@given(SHAPES)
def test_no_query_is_syntax(text):
    matching(text, "a text", text)


@given(SHAPES, st.lists(SHAPES, max_size=3))
def test_what_the_index_finds_is_marked(asked, texts):
    wanted = query(asked)
    marked = [number for number, found in enumerate(find(wanted, texts)) if found]
    assert sorted(matching(asked, *texts)) == marked
    for text, found in zip(texts, find(wanted, texts), strict=True):
        assert all(0 <= start < end <= len(text) for start, end in found)
        terms, parts = (column.split() for column in indexed(text))
        count = sum(
            occurrences(phrase, terms, each.prefix) + (occurrences(phrase, parts, each.prefix) if each.anywhere else 0)
            for each in wanted.distinct
            for phrase in each.alternatives
        )
        assert bool(count) == bool(found)


def test_spans_are_those_of_the_text_as_written():
    text = "Sat\u00adzung. He runs; poolDayData 猫猫 e-mail"
    [found] = find(query("satzung run day 猫 email"), [text])
    assert [text[slice(*span)] for span in sorted(found)] == ["Sat\u00adzung", "runs", "Day", "猫", "猫", "e-mail"]


def test_occurrences_count_each_place():
    assert occurrences(("a", "b"), "a b a b b".split()) == 2
    assert occurrences(("a",), "a b ab".split(), prefix=True) == 2
    assert occurrences(("b", "a"), "b ab b c".split(), prefix=True) == 1
    assert occurrences(("a", "b"), ["a"]) == 0


def test_a_repeated_word_counts_as_often_as_it_stands_there():
    assert TermWords().expressions("boat sail boat") == ['("boat")', '("sail")', '("boat")']
