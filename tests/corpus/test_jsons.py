import json
import re

import pytest

from indexer.corpus.readers import ReadOptions
from indexer.errors import NothingToRead, ReadError
from tests.corpus.readings import reading, texts

PARTS = {"role": "user", "content": [{"type": "text", "text": "The barometer fell"}]}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (PARTS, "barometer"),
        ({"id": 1, "source": "shop", "body": {"plain": "The capstan squeaks"}}, "capstan"),
        ({"id": 2, "comments": [{"by": "A", "text": "grease the pawl"}]}, "pawl"),
        ({"id": 3, "text": "", "summary": "zucchini glut"}, "zucchini"),
        ({"id": 3, "text": None, "answers": ["medlar", "quince"]}, "quince"),
        ({"a": {"b": {"c": [{"d": ["deep words"]}]}}}, "deep words"),
        ({"Text": "  ", "Abstract": "anemone"}, "anemone"),
        (["a list of", "strings alone"], "strings alone"),
        ("one text", "one text"),
        ([PARTS, PARTS], "barometer"),
    ],
)
def test_texts_at_any_depth_are_found(record: object, words: str) -> None:
    line = json.dumps(record) + "\n"
    assert words in texts("a.jsonl", line * 2)[1]
    assert words in "".join(texts("a.json", json.dumps([record, record])))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("messages.content", "descale the boiler\nat once"),
        ("meta.author.name", "Jane"),
        ("a.b", "a name with a dot"),
        ("META.author.name", None),
    ],
)
def test_dotted_paths(name: str, text: str | None) -> None:
    record = {
        "id": 4,
        "messages": [{"role": "user", "content": "descale the boiler"}, {"role": "bot", "content": "at once"}],
        "meta": {"author": {"name": "Jane"}},
        "a.b": "a name with a dot",
    }
    options = ReadOptions(text_fields=(name,))
    if text is None:
        with pytest.raises(ReadError, match="no record has the field"):
            reading("a.jsonl", json.dumps(record), options)
    else:
        assert texts("a.jsonl", json.dumps(record), options) == [text]


def test_dotted_paths_for_title_and_identifier() -> None:
    record = {"meta": {"key": "k7", "name": "Tides"}, "body": "ebb and flow"}
    options = ReadOptions(text_fields=("body",), title_field="meta.name", id_field="meta.key")
    (document,), notes = reading("a.jsonl", json.dumps(record), options)
    assert (document.record, document.title, document.text) == ("k7", "Tides", "Tides\nebb and flow")
    assert notes.warnings == []


def test_values_within_objects_can_be_filtered_by() -> None:
    record = {"text": "words", "meta": {"lang": "en", "n": 3}, "tags": ["a", "b"]}
    assert reading("a.jsonl", json.dumps(record))[0][0].fields == {"meta.lang": "en", "meta.n": "3", "tags": "a, b"}


def test_fields_that_are_lost_are_told() -> None:
    _, notes = reading("a.jsonl", json.dumps({"text": "words", "long": "x y" * 500, "notes": [{"t": "u"}]}) * 1)
    assert notes.warnings == [
        "fields neither searched nor kept to filter by: long (1), notes (1); name them with --text-field"
    ]


def test_a_record_without_text_is_a_warning() -> None:
    found, notes = reading("a.jsonl", '{"text": "a"}\n{"n": 1}\n{"text": " "}\n')
    assert [d.text for d in found] == ["a"]
    assert notes.problems == []
    assert [w.partition(":")[0] for w in notes.warnings] == ["line 2 left out", "line 3 left out"]
    with pytest.raises(NothingToRead, match="no record holds text"):
        reading("a.jsonl", '{"n": 1}\n')


@pytest.mark.parametrize(
    "text",
    [
        '[{"t": "one x"}, {"t": "two x"}]',
        '[\n  {"t": "one x"},\n  {"t": "two x"}\n]\n',
        '{"t": "one x"}\n{"t": "two x"}\n',
        '{\n"t": "one x"\n}\n{\n"t": "two x"\n}\n',
        '\x1e{"t": "one x"}\n\x1e{"t": "two x"}\n',
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_records_however_they_are_written(name: str, text: str) -> None:
    found, notes = reading(name, text)
    assert [(d.text, d.record) for d in found] == [("one x", "1"), ("two x", "2")]
    starts = [match.start() for match in re.finditer("{", text)]
    assert [d.line_start for d in found] == [1 + text.count("\n", 0, start) for start in starts]
    assert notes.problems == notes.warnings == []


def test_an_object_that_wraps_records() -> None:
    value = {"version": "1.1", "data": [{"id": 7, "title": "A", "text": "heron"}, {"id": 8, "text": "egret"}]}
    found, _ = reading("a.json", json.dumps(value, indent=1))
    assert [(d.record, d.text) for d in found] == [("1", "1.1"), ("7", "A\nheron"), ("8", "egret")]


def test_a_record_that_holds_a_list_is_one_document() -> None:
    value = {"_id": "x", "title": "T", "sections": [{"heading": "h", "paragraphs": ["one", "two"]}, {"heading": "i"}]}
    (document,), _ = reading("a.json", json.dumps(value))
    assert (document.record, document.text) == ("x", "T\nh\none\ntwo\ni")


def test_one_object_with_prose_is_one_document() -> None:
    (document,), _ = reading("a.json", json.dumps({"title": "Tides", "body": "They rise.", "n": 3}, indent=2))
    assert (document.kind, document.title, document.text, document.record) == (
        "json",
        "Tides",
        "Tides\nThey rise.",
        None,
    )


@pytest.mark.parametrize(
    "text",
    [
        '{\n  "name": "x",\n  "scripts": {"test": "jest --coverage"},\n  "version": "1.0.0"\n}\n',
        '{"compilerOptions": {"strict": true, "target": "es2020"}}',
        '{"editor.fontSize": 13, "files.exclude": {"**/.git": true}}',
        '{"a": 1, // not JSON\n "b": 2}',
        "[1, 2, 3]",
    ],
)
def test_settings_stay_as_they_are_written(text: str) -> None:
    (document,), _ = reading("a.json", text)
    assert (document.kind, document.text) == ("code", text)


def test_escaped_letters_in_settings_can_be_found() -> None:
    (document,), _ = reading("a.json", '{"name": "Caf\\u00e9 \\ud83e\\udd8a\\u0041\\n\\\\u00e9"}')
    assert document.text == '{"name": "Café 🦊\\u0041\\n\\\\u00e9"}'
