import pytest

from indexer.corpus.decoding.encodings import declared, decode, lookup
from indexer.corpus.readers import ReadOptions
from indexer.errors import ConfigError, ReadError
from indexer.types import Notes
from tests.corpus.readings import reading

FRENCH = "Café crème à la réception. L'élève a été reçu à l'école après la fête, où il mangea une pâtisserie."
GERMAN = "Die Straße über den Fluß ist gesperrt. Wir müssen übermorgen zurück nach Köln fahren."
POLISH = "Zażółć gęślą jaźń. Wczoraj byliśmy w Łodzi i kupiliśmy książki, a dziś wracamy do Gdańska."
RUSSIAN = "Вчера мы были в Москве и купили книги о мореплавании. Завтра поедем домой на поезде."
GREEK = "Χθες ήμασταν στην Αθήνα και αγοράσαμε βιβλία. Αύριο επιστρέφουμε στο σπίτι."
JAPANESE = "昨夜は霧笛の圧縮機が止まった。明日は港で修理を行う予定です。"
CHINESE = "双方同意把押金退还期限改为三十天。下周由法务起草补充协议。"
KOREAN = "어제 우리는 부산에서 항해에 관한 책을 샀다. 내일은 기차로 집에 돌아간다."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "cp1252"),
        (GERMAN, "latin-1"),
        (POLISH, "cp1250"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp866"),
        (GREEK, "iso8859-7"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"),
        (CHINESE, "gbk"),
        (KOREAN, "euc_kr"),
        ("Réfection du môle\n", "cp1252"),
        ("Größe;Preis\n7;3,50\nÄpfel;2,20\n", "latin-1"),
        ("He said “it’s fine” – and left.", "cp1252"),
        (FRENCH, "utf-16"),
        (FRENCH, "utf-16-le"),
        (RUSSIAN, "utf-16-be"),
        (FRENCH, "utf-32"),
        (FRENCH, "utf-8-sig"),
    ],
)
def test_what_declares_nothing_is_recognised(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding))[0] == text
    data = ("plain words\n" * 9_000 + text).encode(encoding)
    assert decode(data)[0].endswith(text), "the letters stand far from the file's beginning"


@pytest.mark.parametrize(
    ("name", "head", "encoding"),
    [
        ("a.py", "#!/usr/bin/python\n# -*- coding: koi8-r -*-\n", "koi8-r"),
        ("a.py", "# vim: set fileencoding=cp1251 :\n", "cp1251"),
        ("a.rb", "# encoding: shift_jis\n", "shift_jis"),
        ("a.el", ";; -*- mode: lisp; coding: iso-latin-2-unix -*-\n", "iso8859-2"),
        ("a.xml", "<?xml version='1.0' encoding='windows-1251'?>\n", "cp1251"),
        ("a.css", '@charset "iso-8859-5";\n', "iso8859-5"),
        ("a.po", 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=KOI8-U\\n"\n', "koi8-u"),
        ("a.tex", "\\documentclass{article}\n% a remark\n\\usepackage[applemac]{inputenc}\n", "mac-roman"),
        ("a.tex", "% !TeX encoding = cp1250\n", "cp1250"),
        ("a.bib", "% Encoding: windows-1253\n", "cp1253"),
        ("a.pod", "=encoding cp1257\n", "cp1257"),
        ("a.texi", "\\input texinfo\n@documentencoding ISO-8859-9\n", "iso8859-9"),
        ("a.txt", "x\n" * 40 + "# vim: fenc=cp850\n", "cp850"),
        ("a.txt", "x\nLocal Variables:\ncoding: cp437\nEnd:\n", "cp437"),
    ],
)
def test_what_a_file_declares_decides(name: str, head: str, encoding: str) -> None:
    assert declared(head.encode(), name) == encoding
    line = bytes(range(0xC0, 0xD0))  # letters in all of these, and different ones
    text = (head.encode() + line).decode(encoding)
    (document,), notes = reading(name, head.encode() + line)
    assert text.split("\n")[-1].lower() in document.text.lower()
    assert notes.warnings == []


@pytest.mark.parametrize(
    "text", ["coding: fun", "# coding: fun\n", "\\usepackage[latin1]{inputenc}", "an encoding = x"]
)
def test_words_that_declare_nothing(text: str) -> None:
    assert declared(text.encode(), "a.md") is None


def test_labels() -> None:
    assert lookup("latin-1-unix") == "iso8859-1"
    assert lookup("ansinew") == lookup("windows-1252") == "cp1252"
    for label in ("base64", "rot13", "idna", "unicode_escape", "nonsense", ""):
        assert lookup(label) is None, label


def test_the_named_encoding_overrides_what_the_file_declares() -> None:
    data = b"# -*- coding: latin-1 -*-\n\xc3\xa9"
    assert reading("a.py", data)[0][0].text.endswith("Ã©")
    assert reading("a.py", data, ReadOptions(encoding="utf-8"))[0][0].text.endswith("é")
    with pytest.raises(ReadError, match="not in the encoding named with --encoding, utf-8: byte 0xe9 at offset 1"):
        decode(b"x\xe9", override="utf-8")
    with pytest.raises(ConfigError, match="encoding is 'utf-9'"):
        ReadOptions(encoding="utf-9")


def test_a_wrong_declaration_does_not_hide_the_text() -> None:
    assert decode("naïve".encode(), "ascii")[0] == "naïve"
    assert decode("naïve “x”".encode("cp1252"), "iso-8859-1")[0] == "naïve “x”"
    assert decode(FRENCH.encode("cp1252"), "utf-8")[0] == FRENCH


def test_utf_8_with_some_damage_is_read_and_told() -> None:
    notes = Notes()
    assert decode("Größe ".encode() * 50 + b"\xe9 end", notes=notes)[0].endswith("\ufffd end")
    assert decode(b"cut \xe2\x82", notes=notes)[0] == "cut \ufffd"
    assert notes.warnings == ["1 damaged character shown as \ufffd (not UTF-8)"] * 2
    notes = Notes()
    assert decode(b"one\ntwo\0three", notes=notes) == ("one\ntwothree", "utf-8")
    assert notes.warnings == ["1 NUL character left out"]


def test_a_guess_is_told_and_a_refusal_does_not_advise_a_conversion() -> None:
    notes = Notes()
    assert decode(b"ok\nbad \xe9 byte", notes=notes)[0] == "ok\nbad é byte"
    assert "guess" in notes.warnings[0]
    with pytest.raises(ReadError) as caught:
        decode(b"\x80\x81\xfe\xff\x90")
    message = str(caught.value)
    assert "offset 0 (line 1)" in message
    assert "--encoding" in message
    assert "iconv" not in message
    assert "latin" not in message


def test_damaged_utf_16() -> None:
    with pytest.raises(ReadError, match=r"invalid UTF-16.*damaged or cut off"):
        decode(b"\xff\xfea\x00\x00\xd8")
