"""Text → prompt, checked against the strings that the paper and its authors' repository print."""

import pytest

from indexer.embedding.prompts.presets import load
from indexer.embedding.prompts.prompt import PromptTemplate, lower_capitals, normalize_text
from indexer.embedding.spec import PROMPTEOL, EncoderSpec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man", "A man."),
        ("A man.", "A man."),
        ("Is it?", "Is it."),
        ('He said "yes"', "He said 'yes'"),
        ("the dog's'", "the dog's'"),
        ("Stop!", "Stop!."),
        ('Who said "why?"', "Who said 'why?'"),
        ("Really ?", "Really ."),
        ("", ""),
        (" ", " ."),
        ("?", "."),
        ("a\n", "a\n."),
    ],
)
def test_normalises_as_the_paper(text: str, expected: str) -> None:
    assert normalize_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("THE MANAGEMENT OF MOST LIBRARIES.", "the management of most libraries."),
        ("ABCDEFGHIJKLMNOP", "abcdefghijklmnop"),
        ("ABCDEFGHIJKLMNO", "ABCDEFGHIJKLMNO"),  # one too few
        ("USE OF iPADS IN SCHOOLS", "use of ipads in schools"),
        ("MOST OF IT and the rest", "MOST OF IT and the rest"),
        ("A title. AND THE TEXT OF A NOTICE", "A title. AND THE TEXT OF A NOTICE"),
        ("KÖLN, ΑΘΗΝΑ, МОСКВА, İSTANBUL", "köln, αθηνα, москва, istanbul"),
        ("日本語 1234", "日本語 1234"),
        ("", ""),
    ],
)
def test_a_text_in_capitals_is_read_in_lower_case_at_the_same_length(text: str, expected: str) -> None:
    assert lower_capitals(text) == expected
    assert len(lower_capitals(text)) == len(text)
    assert PromptTemplate.of(EncoderSpec(capitals="lower", template="<{text}>")).render(text)[1:-1] == (
        normalize_text(expected)
    )


def test_capitals_stay_unless_asked_for_and_old_fingerprints_too() -> None:
    shouted = "THE MANAGEMENT OF MOST LIBRARIES."
    assert shouted in PromptTemplate.of(EncoderSpec()).render(shouted)
    plain = EncoderSpec(model="hash:8", weights="w")
    assert "capitals" not in plain.canonical
    assert EncoderSpec(model="hash:8", weights="w", capitals="lower").fingerprint != plain.fingerprint


def test_prompteol_as_published() -> None:
    prompt = PromptTemplate.of(EncoderSpec())
    assert prompt.render("A jockey rides?") == 'This sentence : "A jockey rides." means in one word:"'


def test_demonstration_as_published() -> None:
    """The string in the authors' script for OPT 2.7B, its underscores read as spaces."""
    prompt = PromptTemplate.of(load("prompteol-icl-opt-2.7b"))
    assert prompt.render("{text}") == (
        'This sentence : "A jockey riding a horse." means in one word:"Equestrian".'
        'This sentence : "{text}." means in one word:"'
    )


def test_several_demonstrations_follow_each_other() -> None:
    prompt = PromptTemplate("<{text}> is ", (("a", "A"), ("b", "B")), normalize_text=False)
    assert prompt.render("c") == "<a> is A.<b> is B.<c> is "


def test_a_query_has_its_own_template_where_one_is_given() -> None:
    spec = EncoderSpec(template="p {text}", query_template="q {text}", normalize_text=False)
    assert PromptTemplate.of(spec, "query").render("x") == "q x"
    assert PromptTemplate.of(spec, "passage").render("x") == "p x"
    assert PromptTemplate.of(EncoderSpec(template="p {text}"), "query").render("x") == "p x."


def test_braces_in_text_and_template_are_only_characters() -> None:
    assert PromptTemplate("{0} {text} {}", (), False).render("{text} {x}") == "{0} {text} {x} {}"
    assert PROMPTEOL.count("{text}") == 1


def test_prefix_text_and_suffix_make_the_prompt() -> None:
    prompt = PromptTemplate.of(load("prompteol-icl"))
    assert prompt.prefix + "A." + prompt.suffix == prompt.render("A")
