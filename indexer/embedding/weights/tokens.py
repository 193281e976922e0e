"""A model's tokenizer: prompts → token ids, with the text cut to size and never the prompt around it. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from indexer.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from indexer.embedding.prompts.prompt import PromptTemplate

_MAX_CHARACTERS = 256
"""Characters that no token exceeds: what lies beyond so many for each token allowed is not even tokenised."""
_SEAM = 16
"""By how many tokens a text alone and within its prompt may differ, at the two seams, where its length is guessed."""


@dataclass(frozen=True)
class Prompts:
    """Token ids of prompts, ``ids[i]`` for text i, and how many of the texts were cut."""

    ids: list[list[int]]
    truncated: int


class Tokens:
    """The tokenizer of one model, with its special tokens."""

    def __init__(self, backend: Tokenizer, pad_id: int, mask_id: int | None) -> None:
        """Take a tokenizer; its own truncation and padding are switched off."""
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.pad_id = pad_id
        self.mask_id = mask_id

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return (n,) int64: the tokens of each text alone, without special tokens."""
        encodings = self._encode(texts, special=False)
        return np.array([len(encoding) for encoding in encodings], np.int64)

    def prompts(
        self, template: PromptTemplate, texts: Sequence[str], max_tokens: int, positions: int | None = None
    ) -> Prompts:
        """Return the ids of each whole rendered prompt (some tokenizers merge across the seams).

        A text of more than ``max_tokens`` tokens by itself is cut before it is put into the prompt, and so is one whose
        prompt would not fit into the model's ``positions``. The tokenizer's special tokens are there too.

        Raises:
            ModelError: Even the prompt of an empty text does not fit.
        """
        if not texts:
            return Prompts([], 0)
        around = len(self._encode([template.render("")], special=True)[0])
        if positions is not None and around >= positions:
            raise ModelError(f"the prompt alone has {around} tokens and the model reads {positions}: use a shorter one")
        bound = (max_tokens + _SEAM) * _MAX_CHARACTERS
        heads = [text[:bound] for text in texts]
        ids = [encoding.ids for encoding in self._encode([template.render(head) for head in heads], special=True)]
        room = max_tokens if positions is None else min(max_tokens, positions - around)
        truncated = 0
        for i, head in enumerate(heads):
            kept = head
            for tokens in range(room, -1, -1):  # once, but for a period that normalisation adds at the last position
                if len(ids[i]) - around <= room - _SEAM:
                    break
                kept = self.cut(template.read(head), tokens)
                if len(kept) < len(head):
                    ids[i] = self._encode([template.render(kept)], special=True)[0].ids
                if positions is None or len(ids[i]) <= positions:
                    break
            truncated += len(kept) < len(texts[i])
        return Prompts([row or [self.pad_id] for row in ids], truncated)  # a bare empty text has no token at all

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text as they are in the middle of a line, without special ones."""
        return [encoding.ids for encoding in self._encode([f" {text}" for text in texts], special=False)]

    def texts_of(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each list of ids, without special tokens.

        Raises:
            UsageError: One of them is no id of this vocabulary.
        """
        size = self.backend.get_vocab_size()
        for each in ids:
            if foreign := [i for i in each if not 0 <= i < size]:
                raise UsageError(
                    f"token id {foreign[0]} is none of this model's, which are 0 to {size - 1}; give texts"
                )
        return self.backend.decode_batch([list(each) for each in ids])

    def cut(self, text: str, max_tokens: int) -> str:
        """Return the longest beginning of ``text`` that ends at a token's end and has at most ``max_tokens`` tokens."""
        encoding = self._encode([text], special=False)[0]
        if len(encoding) <= max_tokens:
            return text
        text = _utf8(text)  # offsets are of this
        for last in range(max_tokens - 1, -1, -1):
            # A cut in mid character (byte-level tokens share its offsets) or mid word may tokenise to more.
            beginning = text[: encoding.offsets[last][1]]
            if len(self._encode([beginning], special=False)[0]) <= max_tokens:
                return beginning
        return ""

    def _encode(self, texts: Sequence[str], special: bool) -> list[Any]:
        return self.backend.encode_batch([_utf8(text) for text in texts], add_special_tokens=special)


def _utf8(text: str) -> str:
    """Return the text with "?" for lone surrogates (of file names, of bad JSON escapes), which have no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def load(folder: Path) -> Tokens:
    """Return the tokenizer of a model folder.

    Raises:
        ModelError: There is none that can be read.
    """
    try:
        config = _read(folder / "tokenizer_config.json")
        named = {k: _content(v) for k, v in {**_read(folder / "special_tokens_map.json"), **config}.items()}
        plain = config.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend")
        if plain and not {"add_bos_token", "add_eos_token"} & set(config) and (folder / "tokenizer.json").is_file():
            backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:  # classes that add to, or rebuild, what their files say; importing them costs seconds
            from transformers import AutoTokenizer

            loaded = AutoTokenizer.from_pretrained(str(folder))
            found: Tokenizer | None = getattr(loaded, "backend_tokenizer", None)
            if found is None:
                raise ModelError(f"the tokenizer of {folder} ({type(loaded).__name__}) has no fast implementation")
            backend = found
            named = {name: getattr(loaded, name) for name in ("pad_token", "eos_token", "unk_token", "mask_token")}
    except ModelError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"{folder} has no tokenizer that can be read: {error}; fetch the model again") from error

    def token(name: str) -> int | None:
        value = named.get(name)
        return backend.token_to_id(value) if isinstance(value, str) else None

    ids = [token(name) for name in ("pad_token", "eos_token", "unk_token")]
    return Tokens(backend, next((i for i in ids if i is not None), 0), token("mask_token"))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _content(value: Any) -> Any:
    return value.get("content") if isinstance(value, dict) else value
