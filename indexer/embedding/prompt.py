"""Text → prompt: the only place where a template, demonstrations or the paper's normalisation meet a text."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.embedding.encoder import EncoderSpec, Role


@dataclass(frozen=True)
class PromptTemplate:
    """Demonstrations, then the template around the text.

    ``PromptEOL`` of Jiang et al., "Scaling Sentence Embeddings with Large Language Models" (2023), Section 3.2;
    demonstrations as in its Section 3.3: each is the template around the sentence, then the word, the quote
    that the template left open, and a period; the next follows with no space between, as published.
    """

    template: str
    demonstrations: tuple[tuple[str, str], ...] = ()
    normalise: bool = True

    @classmethod
    def of(cls, spec: EncoderSpec, role: Role = "passage") -> PromptTemplate:
        template = spec.query_template if role == "query" and spec.query_template is not None else spec.template
        return cls(template, spec.demonstrations, spec.normalise)

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

    def render(self, text: str) -> str:
        """The whole prompt of one text."""
        return self.prefix + (normalise(text) if self.normalise else text) + self.suffix


def normalise(text: str) -> str:
    """The paper's normalisation, as its evaluation code does it: a period is added where none of ``. ? " '`` ends
    the text, double quotes become single ones, a final question mark becomes a period. An empty text stays empty."""
    if text and text[-1] not in ".?\"'":
        text += "."
    text = text.replace('"', "'")
    return text[:-1] + "." if text.endswith("?") else text
