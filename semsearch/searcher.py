"""The whole query path: encode → search vectors and words → fuse → fetch → hits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.embedding.encoder import Encoder
from indexer.storage.store import Store
from indexer.types import Filter, Neighbours
from semsearch import snippets
from semsearch.ranking import Mode, Ranker, stack


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
        self.ranker = Ranker(store, lambda: self.encoder)

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
        """Identifiers and scores alone, (q, k): what ``search_many`` shows, without fetching the passages.

        ``ranker.rank`` gives each arm's own scores too.
        """
        return stack(self.ranker.rank(texts, k, mode, filter), k)

    def refresh(self) -> bool:
        """Move on to what has been committed since the collection was opened. Whether there was anything."""
        return self.store.refresh()

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

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
