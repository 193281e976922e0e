"""A query as the retrievers take it: its text, and what the model makes of it in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semsearch.search.showing import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indexer.embedding.encoder import Encoder, Terms
    from indexer.embedding.spec import Role
    from semsearch.search.showing.explain import Words


@dataclass(frozen=True)
class Need:
    """What of the model a query needs."""

    vector: bool = False
    terms: bool = False
    meaning: bool = False
    """What the query means in one word, to explain hits."""


@dataclass(frozen=True)
class Asked:
    """One query, read."""

    text: str
    vector: np.ndarray | None = None
    """(d,) float32, unit length."""
    terms: Terms | None = None
    meaning: Words = ()


def read(
    texts: Sequence[str],
    needs: Sequence[Need],
    encoder: Callable[[], Encoder],
    note: Callable[[str], None],
    role: Role = "query",
) -> list[Asked]:
    """Return the queries as the retrievers take them; the model reads each once, all that need the same together.

    Args:
        texts: The queries.
        needs: What each of them needs.
        encoder: Called only where one of them needs the model.
        note: Told what a person may want to know.
        role: Which of the encoder's prompts the texts get.
    """
    asked = [Asked(text) for text in texts]
    for need in dict.fromkeys(needs):
        rows = [row for row, each in enumerate(needs) if each == need]
        if need != Need():
            of_need = _read([texts[row] for row in rows], need, encoder(), note, role)
            for row, each in zip(rows, of_need, strict=True):
                asked[row] = each
    return asked


def _read(texts: list[str], need: Need, encoder: Encoder, note: Callable[[str], None], role: Role) -> list[Asked]:
    vectors: Sequence[np.ndarray | None] = [None] * len(texts)
    terms: Sequence[Terms | None] = [None] * len(texts)
    meanings: Sequence[Words] = [()] * len(texts)
    states = None
    if need.terms:
        states, terms = encoder.encode_terms(texts, role, normalize=not need.meaning)
    elif need.vector:
        states = encoder.encode(texts, role, normalize=not need.meaning)
    if need.meaning:
        meanings = explain.meanings(texts, encoder, role, note, states)
    if states is not None:
        vectors = list(states / np.linalg.norm(states, axis=1, keepdims=True).clip(1e-12) if need.meaning else states)
    return [Asked(*each) for each in zip(texts, vectors, terms, meanings, strict=True)]
