"""The whole query path: encode → search vectors and words → fuse → fetch → hits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from indexer.embedding.encoder import Encoder
from indexer.errors import StoreError, UsageError
from indexer.storage.store import Store
from indexer.types import Filter, Neighbours
from semsearch import fusion, snippets

Mode = Literal["hybrid", "dense", "lexical"]
DEPTH = 100
"""Passages that each arm contributes to a fusion, or k if that is more."""


@dataclass(frozen=True)
class Hit:
    """One passage found, best first by ``rank``."""

    rank: int
    """From 1."""
    score: float
    """What the hits are ordered by: cosine (dense), negated bm25 (lexical) or the fused score (hybrid)."""
    path: str
    """Absolute path of the file."""
    line_start: int
    """1-based, inclusive, of the file; for PDF, DOCX and HTML of the text that was extracted from it."""
    line_end: int
    page: int | None
    text: str
    document: str | None
    """Identifier of the record in its file; None where the file is one document."""
    passage: int
    """The passage's identifier in the collection."""
    title: str | None
    kind: str
    fields: Mapping[str, str]
    highlight: tuple[int, int] | None
    """Offsets in ``text`` of the sentence nearest to the query; None where no sentence stands out."""


class Searcher:
    """Answers queries from one collection. Not safe for several threads at once; open one each.

    ``encoder`` may be a function that opens one: it is called at the first query that needs vectors.
    """

    def __init__(self, store: Store, encoder: Encoder | Callable[[], Encoder]):
        self.store = store
        self._encoder = encoder

    @property
    def encoder(self) -> Encoder:
        if callable(self._encoder):
            self._encoder = self._encoder()
        return self._encoder

    def search(self, text: str, k: int = 10, mode: Mode = "hybrid", filter: Filter | None = None) -> list[Hit]:
        """The k best passages for one query. See ``search_many``."""
        return self.search_many([text], k, mode, filter)[0]

    def search_many(
        self, texts: Sequence[str], k: int = 10, mode: Mode = "hybrid", filter: Filter | None = None
    ) -> list[list[Hit]]:
        """The k best passages for each query; fewer where fewer match.

        Raises UsageError for an empty query, k below 1 or an unknown mode; StoreError where the collection holds
        no passages; MismatchError where the model is no longer the one that made the index.
        """
        found = self.rank(texts, k, mode, filter)
        encoder = None if mode == "lexical" else self.encoder
        return [
            self._hits(text, ids, scores, encoder)
            for text, ids, scores in zip(texts, found.ids, found.scores, strict=True)
        ]

    def rank(self, texts: Sequence[str], k: int, mode: Mode = "hybrid", filter: Filter | None = None) -> Neighbours:
        """Identifiers and scores alone, (q, k): what ``search_many`` shows, without fetching the passages."""
        for text in texts:
            if not text.strip("\0 \t\r\n"):
                raise UsageError("the query is empty; give a few words to look for")
        if k < 1:
            raise UsageError(f"k is {k}; ask for at least 1 hit")
        if mode not in get_args(Mode):
            raise UsageError(f"mode is {mode!r}; it is one of {', '.join(get_args(Mode))}")
        if not self.store.counts().passages:
            raise StoreError(f"{self.store.path.name} holds no passages yet; run: semsearch index FOLDER")
        texts = [text.replace("\0", " ") for text in texts]
        if mode == "dense":
            return self._dense(texts, k, filter)
        lexical = [self.store.search_text(text, max(k, DEPTH) if mode == "hybrid" else k, filter) for text in texts]
        if mode == "lexical":
            return _stack([(n.ids[0], n.scores[0]) for n in lexical], k)
        dense = self._dense(texts, max(k, DEPTH), filter)
        return _stack([fusion.reciprocal_rank([d, n.ids[0]], k) for d, n in zip(dense.ids, lexical, strict=True)], k)

    def refresh(self) -> bool:
        """Move on to what has been committed since the collection was opened. Whether there was anything."""
        return self.store.refresh()

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _dense(self, texts: Sequence[str], k: int, filter: Filter | None) -> Neighbours:
        return self.store.search(self.encoder.encode(texts, role="query"), k, filter)

    def _hits(self, query: str, ids: np.ndarray, scores: np.ndarray, encoder: Encoder | None) -> list[Hit]:
        by_id = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        rows = self.store.get([id for id in by_id if id >= 0])
        marks = snippets.telling(query, [row.passage.text for row in rows], encoder)
        return [
            Hit(
                rank=rank,
                score=by_id[row.id],
                path=row.path,
                line_start=row.passage.line_start,
                line_end=row.passage.line_end,
                page=row.passage.page,
                text=row.passage.text,
                document=row.record,
                passage=row.id,
                title=row.title,
                kind=row.kind,
                fields=dict(row.fields),
                highlight=mark,
            )
            for rank, (row, mark) in enumerate(zip(rows, marks, strict=True), 1)
        ]


def _stack(rankings: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> Neighbours:
    """Rankings of different lengths as one (q, k) pair of arrays, filled with -1 and -inf."""
    ids = np.full((len(rankings), k), -1, np.int64)
    scores = np.full((len(rankings), k), -np.inf, np.float32)
    for row, (these, their_scores) in enumerate(rankings):
        n = min(k, len(these))
        ids[row, :n], scores[row, :n] = these[:n], their_scores[:n]
    return Neighbours(ids, scores)
