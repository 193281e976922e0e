# ruff: noqa: E501 - markup reads better on one line
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from indexer.corpus.blocks import Block, assemble
from indexer.corpus.splitter import BLOCK, Splitter
from indexer.errors import ConfigError
from indexer.types import Document, Heading
from tests.corpus.files import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
KINDS = ("text", "markdown", "rst", "html", "docx", "code", "pdf")


def split(text: str, kind: str = "text", tokens: int = 32, **values: object) -> list:
    return Splitter(TOKENIZER, tokens).split(Document(path="/f", text=text, kind=kind, **values))


WORDS = (
    *("the", "fox", "naïve", "漢字", "🦊", "e\u0301", "x" * 40, "A. ", "Yes! ", "<p>", "[a](b)"),
    *("\n", "\n\n", "\n\n\n\n", "\t", " ", "\u00a0", "\x1c", "\u2028", "\x0c", "\r"),
    *("# ", "## Title", "```\n", "- ", "> ", "---\n", "===\n", "| a | b |\n", ".. x::\n\n"),
)
words = st.sampled_from(WORDS)
texts = st.one_of(st.lists(words, max_size=120).map(" ".join), st.lists(words, max_size=120).map("".join), st.text())


@given(text=texts, kind=st.sampled_from(KINDS), tokens=st.sampled_from([16, 24, 100]))
@settings(max_examples=300, deadline=None)
def test_every_character_is_in_exactly_one_passage_within_the_budget(text: str, kind: str, tokens: int) -> None:
    passages = split(text, kind, tokens)
    covered = 0
    for passage in passages:
        assert passage.start >= covered
        assert not text[covered : passage.start].strip(), "characters fell between two passages"
        assert text[passage.start : passage.end] == passage.text == passage.text.strip() != ""
        assert passage.tokens == len(TOKENIZER.encode(passage.text, add_special_tokens=False).ids) <= tokens
        assert passage.line_start == 1 + text.count("\n", 0, passage.start)
        assert passage.line_end == 1 + text.count("\n", 0, passage.end)
        covered = passage.end
    assert not text[covered:].strip(), "the end is missing"


@given(st.lists(st.sampled_from(["word", "Ends here.", "\n\n", "x" * 200]), max_size=400), st.sampled_from([8, 9, 33]))
@settings(max_examples=40, deadline=None)
def test_blocks_of_long_texts_lose_nothing(parts: list[str], tokens: int) -> None:
    text = " ".join(parts)
    assert "".join("".join(p.text for p in split(text, tokens=tokens)).split()) == "".join(text.split())


def test_prose_is_cut_at_sentences() -> None:
    sentence = "The quick brown fox jumps over the lazy dog."
    passages = split(" ".join([sentence] * 200), tokens=50)
    assert len(passages) > 10
    assert all(p.text.startswith("The quick") and p.text.endswith("dog.") for p in passages)


def test_a_paragraph_is_not_torn_where_it_fits() -> None:
    paragraph = "the quick brown fox jumps. and then it sleeps."
    passages = split("\n\n".join([paragraph] * 50), tokens=48)
    assert len(passages) > 5
    assert all(set(p.text.split("\n\n")) == {paragraph} for p in passages)


MARKDOWN = "# One\n\nthe fox.\n\n## Two\n\n### Three\n\nthe dog.\n\n```\n# no heading\n```\n\nFour\n----\n\nend\n"
RST = "One\n===\n\nthe fox.\n\n###\nTwo\n###\n\nThree\n-----\n\nthe dog.\n\nEnd\n~~~\nend\n"
MARKED = "One\n\nthe fox.\n\n\nTwo\n\n\nThree\n\nthe dog."


@pytest.mark.parametrize(
    ("kind", "text", "begin"),
    [
        ("markdown", MARKDOWN, ["# One", "## Two", "Four"]),
        ("rst", RST, ["One", "###", "End"]),
        ("html", MARKED, ["One", "Two"]),
        ("docx", MARKED, ["One", "Two"]),
        ("html", "One\n\n\nTwo\n\nthe fox.", ["One"]),
        ("text", MARKED, ["One"]),
        ("markdown", "---\ntitle: x\n---\nBody", ["---"]),
        ("markdown", "a | b\n--|--\n1 | 2", ["a |"]),
    ],
)
def test_a_passage_never_ends_with_the_next_sections_heading(kind: str, text: str, begin: list[str]) -> None:
    passages = split(text, kind, tokens=200)
    assert [p.text[: len(b)] for p, b in zip(passages, begin, strict=True)] == begin


def test_pages_and_lines() -> None:
    text = "one one\n\ntwo two\n\nthree"
    passages = split(text, "pdf", 8, page_starts=(0, 9, 18))
    assert [p.page for p in passages] == [1, 2, 3]
    assert passages[-1].line_end == 5
    assert split("x", "pdf", 8, page_starts=(0,))[0].page == 1
    assert split("x")[0].page is None


def test_a_passage_lies_on_one_page() -> None:
    pages = ["the quick brown fox jumps over the lazy dog " * 4] * 3
    starts = (0, len(pages[0]) + 2, 2 * len(pages[0]) + 4)
    for passage in split("\n\n".join(pages), "pdf", 16, page_starts=starts):
        assert passage.page == sum(start <= passage.start for start in starts)
        assert passage.page == sum(start < passage.end for start in starts)


def test_passages_of_a_record_carry_its_line() -> None:
    passages = split("one\n\ntwo " * 60, "jsonl", 16, record="7", line_start=12)
    assert len(passages) > 3
    assert {(p.line_start, p.line_end) for p in passages} == {(12, 12)}


def test_a_document_further_down_a_file_counts_lines_from_there() -> None:
    assert [(p.line_start, p.line_end) for p in split("one\ntwo", line_start=10)] == [(10, 11)]


def test_no_text_gives_no_passages() -> None:
    assert split("") == split(" \n\t\u00a0\x1c") == []


def test_a_counting_function_serves_as_tokenizer() -> None:
    splitter = Splitter(lambda text: len(text.split()), 10)
    passages = splitter.split(Document(path="/f", text="One two three four. " * 20, kind="text"))
    assert [p.tokens for p in passages] == [8] * 10


def test_truncation_and_padding_of_the_tokenizer_are_switched_off() -> None:
    tokenizer = Tokenizer.from_str(TOKENIZER.to_str())
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    text = "the quick brown fox jumps over the lazy dog " * 20
    document = Document(path="/f", text=text, kind="text")
    assert Splitter(tokenizer, 16).split(document) == Splitter(TOKENIZER, 16).split(document)
    assert tokenizer.truncation["max_length"] == 4, "the caller's tokenizer was changed"


def test_a_text_is_cut_and_counted_as_the_model_reads_it() -> None:
    text = "The quick brown fox jumps over the lazy dog. It did so twice! " * 20
    lower, upper = (Document(path="/f", text=t, kind="text") for t in (text.lower(), text.upper()))
    as_read = Splitter(TOKENIZER, 32, str.lower).split(upper)
    spans = [(p.start, p.end, p.tokens) for p in Splitter(TOKENIZER, 32).split(lower)]
    assert [(p.start, p.end, p.tokens) for p in as_read] == spans
    assert "".join(p.text for p in as_read).replace(" ", "") == text.upper().replace(" ", "")
    assert len(Splitter(TOKENIZER, 32).split(upper)) > len(as_read), "capitals cost no more tokens: nothing was tested"


def test_too_small_a_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match="passage_tokens is 7"):
        Splitter(TOKENIZER, 7)


@pytest.mark.parametrize("kind", ["text", "markdown"])
@pytest.mark.parametrize(
    "piece", ["x", "漢", "the fox sleeps ", "- a\n", "the dog. \n\n", "# T\n", " \n"], ids=lambda p: repr(p)
)
def test_the_work_grows_no_faster_than_the_text(piece: str, kind: str) -> None:
    """Characters handed to the tokenizer, counted: time would say the same less surely."""

    def work(length: int) -> int:
        seen = 0

        def count(text: str) -> int:
            nonlocal seen
            seen += len(text)
            return -(-len(text) // 4)

        text = (piece * length)[:length]
        Splitter(count, 32).split(Document(path="/f", text=text, kind=kind))
        return seen

    small = 4 * BLOCK * 32
    assert work(8 * small) <= 8.8 * work(small) + 100


def headed(*parts: tuple[str, int]) -> Document:
    """A document of (text, level) parts; level 0 is a paragraph, -1 ends a section."""
    kinds: dict[int, str] = {0: "paragraph", -1: "end"}
    blocks = [Block(kinds.get(level, "heading"), text, level) for text, level in parts]  # type: ignore[arg-type]
    assembled = assemble(blocks)
    return Document(path="/f", text=assembled.text, kind="html", headings=assembled.headings)


def places(document: Document, tokens: int = 200) -> list[tuple[str, str | None]]:
    return [(p.text.split("\n")[-1], p.heading) for p in Splitter(TOKENIZER, tokens).split(document)]


def test_a_passage_knows_the_headings_above_it() -> None:
    document = headed(
        *(("before", 0), ("Guide", 1), ("intro", 0), ("Install", 2), ("Linux", 3), ("use apt", 0)),
        *(("Mac", 3), ("use brew", 0), ("Use", 2), ("run it", 0), ("", -1), ("footer", 0)),
    )
    assert places(document) == [
        ("before", None),
        ("intro", "Guide"),
        ("use apt", "Guide › Install › Linux"),
        ("use brew", "Guide › Install › Mac"),
        ("run it", "Guide › Use"),
        ("footer", None),
    ]


def test_every_passage_of_a_long_section_stands_under_its_heading() -> None:
    document = headed(("Guide", 1), ("the quick brown fox jumps. " * 40, 0))
    found = places(document, 24)
    assert len(found) > 5
    assert {heading for _, heading in found} == {"Guide"}


@pytest.mark.parametrize(
    ("kind", "text", "paths"),
    [
        ("markdown", MARKDOWN, ["One", "One › Two › Three", "One › Four"]),
        ("markdown", "## `code` and [link](x) **bold** ##\n\na", ["code and link bold"]),
        ("markdown", "# One\na\n# Two {#id}\nb", ["One", "Two"]),
        ("rst", RST, ["One", "One › Two › Three", "One › Two › Three › End"]),
        ("rst", "=====\nTitle\n=====\na\n\nPart\n====\nb\n\n:mod:`os` paths\n--------------\nc", ["Title", "Title › Part", "Title › Part › os paths"]),
        ("text", "# no heading\n\na", [None]),
        ("html", MARKED, [None, "Three"]),
    ],
)  # fmt: skip
def test_paths_of_headings_that_the_text_itself_marks(kind: str, text: str, paths: list[str | None]) -> None:
    found = [p.heading for p in split(text, kind, tokens=200)]
    assert found == paths


def test_a_slide_without_heading_does_not_stand_under_the_one_before() -> None:
    text = "Plan\n\none\n\ntwo"
    document = Document(path="/f", text=text, kind="pptx", page_starts=(0, 11), headings=(Heading(0, 4, 1, "Plan"),))
    assert places(document) == [("one", "Plan"), ("two", None)]


def test_a_section_that_begins_within_a_page_is_a_passage_of_its_own() -> None:
    text = "A\n\none\n\n\nB\n\ntwo\n\nthree"
    heads = (Heading(0, 1, 1, "A"), Heading(9, 10, 1, "B"))
    document = Document(path="/f", text=text, kind="xlsx", page_starts=(0, 17), headings=heads)
    assert [(p.text[:1], p.page, p.heading) for p in Splitter(TOKENIZER, 200).split(document)] == [
        ("A", 1, "A"),
        ("B", 1, "B"),
        ("t", 2, None),
    ]


@given(
    st.lists(st.tuples(st.sampled_from(["word", "Two words.", "", "  ", "x" * 50]), st.integers(-1, 6)), max_size=30)
)
@settings(max_examples=100, deadline=None)
def test_headings_of_any_order_lose_nothing(parts: list[tuple[str, int]]) -> None:
    document = headed(*parts)
    passages = Splitter(TOKENIZER, 16).split(document)
    assert "".join("".join(p.text for p in passages).split()) == "".join(document.text.split())
    for heading in document.headings:
        assert document.text[heading.start : heading.end] == heading.text


@pytest.mark.parametrize("sentence", ["灯台は高い。", "هل تمطر اليوم؟ ", "यह एक नदी है। ", "It rains. "])
def test_sentences_of_other_scripts_end_where_they_end(sentence: str) -> None:
    text = sentence * 3000
    ends = [p.text[-1] for p in Splitter(lambda t: len(t), 400).split(Document(path="/f", text=text, kind="text"))]
    assert all(end == sentence.strip()[-1] for end in ends)
