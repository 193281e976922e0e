"""Document → passages: spans of at most a given number of tokens, cut where the text itself pauses.

A document is cut first into sections at its headings, a long section into blocks at its paragraphs, and each block
by semantic-text-splitter at paragraphs, sentences, words and, at worst, characters. The blocks bound the library's
work, which grows with the product of a text's length and its number of passages.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from indexer.corpus.headings import find_headings, paths
from indexer.errors import ConfigError
from indexer.types import Passage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from indexer.types import Document, Heading

MIN_TOKENS = 8
BLOCK = 64
"""Characters of a block for each token of a passage: about a dozen passages of prose."""

# the best place to cut a long section: after a blank line, a line, a sentence, a word
_PAUSES = (
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"[.!?؟।…]['\")\]”’»]*\s+|[。！？｡．።။។۔।॥]['\")\]”’»」』）】》]*"),
    re.compile(r"\s+"),
)


class Splitter:
    """Cuts documents into passages.

    Every character that is not white space lies in exactly one passage, and a passage begins and ends with such a
    character. Only a single character of more than ``passage_tokens`` tokens makes a longer passage. No passage
    reaches over the end of a page or into the next section.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | Callable[[str], int],
        passage_tokens: int = 128,
        read: Callable[[str], str] = str,
    ) -> None:
        """Prepare the cutting.

        Args:
            tokenizer: Counts the tokens of a text, special ones left out.
            passage_tokens: Tokens that a passage may have.
            read: Gives a text as the model reads it, of the same length.

        Raises:
            ConfigError: The budget is too small.
        """
        if passage_tokens < MIN_TOKENS:
            raise ConfigError(f"passage_tokens is {passage_tokens}; a passage has room for {MIN_TOKENS} or more")
        self.passage_tokens = passage_tokens
        self._made_of = tokenizer, passage_tokens, read
        self._read = read
        self._tokenizer: Tokenizer | None = None
        self._counter: Callable[[str], int] = len
        if isinstance(tokenizer, Tokenizer):
            if tokenizer.truncation or tokenizer.padding:  # the caller's own stays as it is
                tokenizer = Tokenizer.from_str(tokenizer.to_str())
                tokenizer.no_truncation()
                tokenizer.no_padding()
            self._tokenizer = tokenizer
            self._plain = TextSplitter.from_huggingface_tokenizer(tokenizer, passage_tokens)
            self._markdown = MarkdownSplitter.from_huggingface_tokenizer(tokenizer, passage_tokens)
        else:
            self._counter = tokenizer
            self._plain = TextSplitter.from_callback(tokenizer, passage_tokens)
            self._markdown = MarkdownSplitter.from_callback(tokenizer, passage_tokens)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle what it was made of: for other processes that read files."""
        return Splitter, self._made_of

    def count(self, texts: list[str]) -> list[int]:
        """Return the number of tokens of each text alone, as it is read."""
        texts = [self._read(text) for text in texts]
        if self._tokenizer is None:
            return [self._counter(text) for text in texts]
        return [len(e.ids) for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def split(self, document: Document) -> list[Passage]:
        """Return the document's passages, in order.

        Lines are those of the file for whole text files, and of the extracted text for PDF, DOCX, HTML and their
        like; a record's passages all carry the line on which the record begins.
        """
        headings = document.headings or tuple(find_headings(document.text, document.kind))
        spans = list(self._spans(document, headings))
        texts = [document.text[start:end] for start, end in spans]
        lines = _LineCounter(document)
        places = _Places(document, headings)
        return [
            Passage(
                text=text,
                start=start,
                end=end,
                line_start=lines.at(start),
                line_end=lines.at(end - 1),
                tokens=tokens,
                page=_page(document, start),
                heading=places.at(start, end),
            )
            for text, (start, end), tokens in zip(texts, spans, self.count(texts), strict=True)
        ]

    def _spans(self, document: Document, headings: Sequence[Heading]) -> Iterator[tuple[int, int]]:
        library = self._markdown if document.kind in ("markdown", "notebook") else self._plain
        for section_start, section_end in _sections(document, headings):
            for start, end in _blocks(document.text, section_start, section_end, BLOCK * self.passage_tokens):
                for offset, chunk in library.chunk_indices(self._read(document.text[start:end])):
                    # str.strip knows a few more white space characters than the library
                    if kept := chunk.strip():
                        first = start + offset + len(chunk) - len(chunk.lstrip())
                        yield first, first + len(kept)


class _LineCounter:
    """Line numbers of growing offsets, each newline looked at once."""

    def __init__(self, document: Document) -> None:
        self.text = document.text
        self.fixed = document.record is not None
        self.line = document.line_start
        self.seen = 0

    def at(self, offset: int) -> int:
        """Return the line of an offset."""
        if not self.fixed:
            self.line += self.text.count("\n", self.seen, offset)
            self.seen = offset
        return self.line


class _Places:
    """The path of headings under which a span stands."""

    def __init__(self, document: Document, headings: Sequence[Heading]) -> None:
        self.document = document
        self.headings = headings
        self.starts = [heading.start for heading in headings]
        self.paths = paths(headings)

    def at(self, start: int, end: int) -> str | None:
        """Return the path for a span; headings with which the span itself begins belong to it."""
        text, headings = self.document.text, self.headings
        number = bisect_right(self.starts, start) - 1
        while number + 1 < len(headings) and headings[number + 1].start < end:
            after = headings[number].end if number >= 0 else 0
            if text[max(after, start) : headings[number + 1].start].strip():
                break
            number += 1
        if number < 0 or _page(self.document, headings[number].start) != _page(self.document, start):
            return None  # a slide without heading does not stand under the heading of the one before
        return self.paths[number] or None


def _page(document: Document, offset: int) -> int | None:
    """Return the 1-based page of an offset; None in a document without pages."""
    return max(bisect_right(document.page_starts, offset), 1) if document.page_starts else None


def _sections(document: Document, headings: Sequence[Heading]) -> Iterator[tuple[int, int]]:
    """Yield spans that no passage may leave.

    They end with each page, because a hit names one. Else each begins at a heading, so that no passage holds the
    end of one section and the next one's heading. A heading with nothing but headings before it stays with them.
    """
    text = document.text
    pages = sorted({0, *document.page_starts, len(text)}) if document.page_starts else [0, len(text)]
    at = 0
    for page_start, page_end in pairwise(pages):
        start = body = page_start
        while at < len(headings) and headings[at].start < page_end:
            head = max(headings[at].start, start)
            if text[body:head].strip():
                yield start, head
                start = head
            body = max(headings[at].end, head)
            at += 1
        yield start, page_end


def _blocks(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield spans of at most ``size`` characters, cut at the best pause in their second half, else anywhere."""
    while end - start > size:
        half, limit = start + size // 2, start + size
        ends = ([match.end() for match in pause.finditer(text, half, limit)] for pause in _PAUSES)
        cut = next((found[-1] for found in ends if found), limit)
        yield start, cut
        start = cut
    yield start, end
