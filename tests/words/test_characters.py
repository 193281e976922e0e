import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.words.characters import comparable, plain

TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=()),
        st.sampled_from("aZ \n-\u00ad\u2010\u200b\u0301\u0308\ufb01é가\u1100\u1161\u11a8か\u3099ｶﾞйіاً"),
    ),
    max_size=30,
)


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("Sat\u00adzungs\u00adänderung", "Satzungsänderung"),  # soft hyphens
        ("inter\u00ad\nface", "interface"),
        ("the posi\u2010\n    tion", "the position"),  # as manuals are printed
        ("pass\u200bword ro\u2060tated \ufeffBOM", "password rotated BOM"),
        ("ﬂuorescence of ﬁbrils, ﬃ", "fluorescence of fibrils, ffi"),
        ("ＡＰＩ ｇａｔｅｗａｙ １２", "API gateway 12"),
        ("re\u0301sume\u0301", "résumé"),
        ("résumé", "RESUME"),
        ("Øre, Łódź, cœur", "ore, lodz, coeur"),
        ("Straße", "STRASSE"),
        ("İstanbul ısı", "istanbul isi"),
        ("ά Σίσυφος", "Α σισυφοσ"),
        ("ёлка", "елка"),
        ("и\u0306од", "йод"),  # in letters, as some systems write file names
        ("ｶﾞｲﾄﾞ", "ガイド"),
        ("か\u3099", "が"),
        ("\u1112\u1161\u11ab국", "한국"),
        ("كِتَابٌ كتـاب", "كتاب كتاب"),
        ("فارسی", "فارسي"),
        ("שָׁלוֹם", "שלום"),
        ("٣٤ ३४", "34 34"),
        ("don\u2019t", "don't"),
        ("CO₂ H₂O", "co2 h2o"),
        ("node\u2011js", "node-js"),
    ],
)
def test_what_is_typed_plainly_equals_what_is_written(written, typed):
    assert comparable(written) == comparable(typed)


@pytest.mark.parametrize(
    ("one", "other"),
    [("и", "й"), ("は", "ば"), ("हिन्दी", "हन्द"), ("กา", "ก"), ("C#", "C"), ("java™", "javatm"), ("ї", "і")],
)
def test_marks_that_make_another_letter_stay(one, other):
    assert comparable(one) != comparable(other)


@given(TEXT)
def test_it_does_not_matter_how_letters_are_composed_and_once_is_enough(text):
    once = comparable(text)
    assert comparable(once) == once


@given(st.text(st.characters(categories=("L", "Nd", "Zs", "Po"), exclude_characters="\u0387\u037e\u1fbe"), max_size=20))
def test_composed_and_decomposed_texts_are_equal(text):
    forms = {comparable(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")}
    assert len(forms) == 1


@given(TEXT)
def test_every_character_knows_its_place(text):
    found = plain(text)
    for start in range(len(found.text)):
        first, last = found.span(start, start + 1)
        assert 0 <= first < last <= len(text)
        assert found.text[start] in plain(text[first:last]).text or text[first] in "\u1100\u00ad\u2010"
    if found.text:
        assert found.span(0, len(found.text))[1] <= len(text)
