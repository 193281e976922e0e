"""Text → prompt: the only place where a template, demonstrations or the paper's normalisation meet a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.embedding.spec import Capitals, EncoderSpec, Role


@dataclass(frozen=True)
class PromptTemplate:
    """Demonstrations, then the template around the text.

    ``PromptEOL`` of Jiang et al., "Scaling Sentence Embeddings with Large Language Models" (2023), Section 3.2;
    demonstrations as in its Section 3.3: each is the template around the sentence, then the word, the quote
    that the template left open, and a period; the next follows with no space between, as published.
    """

    template: str
    demonstrations: tuple[tuple[str, str], ...] = ()
    normalize_text: bool = True
    capitals: Capitals | None = None

    @classmethod
    def of(cls, spec: EncoderSpec, role: Role = "passage") -> PromptTemplate:
        """Return the template that an encoder uses for a role."""
        template = spec.query_template if role == "query" and spec.query_template is not None else spec.template
        return cls(template, spec.demonstrations, spec.normalize_text, spec.capitals)

    @property
    def prefix(self) -> str:
        """Everything before the text."""
        close = self.template[-1] + "." if self.template.endswith(('"', "'")) else "."
        shots = (self.template.replace("{text}", sentence) + word + close for sentence, word in self.demonstrations)
        return "".join(shots) + self.template.split("{text}")[0]

    @property
    def suffix(self) -> str:
        """Everything after the text."""
        return self.template.split("{text}")[1]

    def read(self, text: str) -> str:
        """Return the text as the model reads it, of the same length: the one whose tokens are counted."""
        return lower_capitals(text) if self.capitals == "lower" else text

    def render(self, text: str) -> str:
        """Return the whole prompt of one text."""
        text = self.read(text)
        return self.prefix + (normalize_text(text) if self.normalize_text else text) + self.suffix


def normalize_text(text: str) -> str:
    """Return a text normalised as the paper's evaluation code does it.

    A period is added where none of ``. ? " '`` ends the text, double quotes become single ones, and a final question
    mark becomes a period. An empty text stays empty.
    """
    if text and text[-1] not in ".?\"'":
        text += "."
    text = text.replace('"', "'")
    return text[:-1] + "." if text.endswith("?") else text


MIN_CAPITALS = 16
"""Fewest capital letters of a text that is put in lower case: a name or an abbreviation stays what it is."""
MIN_SHARE = 9
"""So many capitals are there for each small letter."""


def lower_capitals(text: str) -> str:
    """Return a text written in capitals in lower case, any other as it is. The length stays.

    A model that tells case apart has seen little text in capitals, and its tokenizer cuts such words to pieces: three
    times the tokens, and vectors that find little (scripts/research/LOG.md).
    """
    if sum(map(str.islower, text[: len(text) // 5])) * (MIN_SHARE + 1) > len(text):
        return text  # of nearly every text the beginning tells
    small = sum(map(str.islower, text))
    capitals = sum(map(str.isupper, text))
    if capitals < MIN_CAPITALS or capitals < MIN_SHARE * small:
        return text
    return text.replace("\u0130", "i").lower()  # the only letter whose small form is two characters
