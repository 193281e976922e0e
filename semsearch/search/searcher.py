"""The whole query path: rank → fetch and select → rerank → mark → explain → hits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexer.embedding.encoder import Encoder, Role
from indexer.errors import StoreError, UsageError
from indexer.storage.local.rows import storable, words_of
from indexer.storage.local.store import Store
from indexer.types import Filter, Neighbours, StoredPassage
from semsearch.search import explain as explanations
from semsearch.search import place, snippets
from semsearch.search import rerank as reranking
from semsearch.search.explain import Explanation
from semsearch.search.hits import Hit
from semsearch.search.ranking import Fusion, Mode, Ranked, Ranker, stack
from semsearch.search.selection import select

DEEPEST = 10_000
"""Places of a ranking that are looked at before there are fewer than k hits."""


@dataclass(frozen=True)
class _Want:
    """What a person asked for, beyond the ranking."""

    k: int
    per_document: int | None
    collapse: bool
    explain: bool
    min_confidence: float | None
    reranker: reranking.Reranker | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k is {self.k}; ask for at least 1 hit")
        if self.per_document is not None and self.per_document < 1:
            raise UsageError(f"per_document is {self.per_document}; let each document have at least 1 hit")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise UsageError(f"min_confidence is {self.min_confidence}; it is a share of random pairs, from 0 to 1")

    @property
    def hits(self) -> int:
        """How many are selected: those that are read again, then cut to k."""
        return max(self.k, reranking.DEPTH) if self.reranker else self.k

    @property
    def depth(self) -> int:
        """How deep to look at first: some will be folded or dropped."""
        return 2 * self.hits + 10 if self.collapse or self.per_document or self.min_confidence else self.hits


@dataclass(frozen=True)
class _Query:
    """What is looked for, and its ranking: of ``_Want.depth`` places, and deeper on demand."""

    text: str
    ranked: Ranked
    deeper: Callable[[int], Ranked]
    fused: bool
    """Whether the ranking's scores are those of a fusion."""
    role: Role = "query"
    """"passage" where it is an indexed text."""


@dataclass(frozen=True)
class _Found:
    """A passage that will be a hit."""

    row: StoredPassage
    duplicates: Sequence[StoredPassage]
    score: float
    arms: Mapping[str, float]
    parts: Mapping[str, float]
    reranked: float | None = None
    """The cross-encoder's score."""

    @property
    def final(self) -> float:
        """What the hits are ordered by."""
        return self.score if self.reranked is None else self.reranked


class Searcher:
    """Answers queries from one collection. Not safe for several threads at once; open one each.

    ``encoder`` may be a function that opens one: it is called at the first query that needs vectors. ``note`` is told
    what a person may want to know.
    """

    def __init__(
        self, store: Store, encoder: Encoder | Callable[[], Encoder], note: Callable[[str], None] = lambda text: None
    ):
        self.store = store
        self.note = note
        self._encoder = encoder
        self._rerankers: dict[str, reranking.Reranker] = {}
        self._noted: set[str] = set()
        self.ranker = Ranker(store, lambda: self.encoder)

    @property
    def encoder(self) -> Encoder:
        if callable(self._encoder):
            self._encoder = self._encoder()
        return self._encoder

    def search(
        self,
        text: str,
        k: int = 10,
        mode: Mode = "hybrid",
        filter: Filter | None = None,
        *,
        fusion: Fusion = "convex",
        per_document: int | None = None,
        collapse: bool = True,
        explain: bool = False,
        min_confidence: float | None = None,
        rerank: str | reranking.Reranker | None = None,
    ) -> list[Hit]:
        """The k best passages for one query. See ``search_many``."""
        return self.search_many(
            [text],
            k,
            mode,
            filter,
            fusion=fusion,
            per_document=per_document,
            collapse=collapse,
            explain=explain,
            min_confidence=min_confidence,
            rerank=rerank,
        )[0]

    def search_many(
        self,
        texts: Sequence[str],
        k: int = 10,
        mode: Mode = "hybrid",
        filter: Filter | None = None,
        *,
        fusion: Fusion = "convex",
        per_document: int | None = None,
        collapse: bool = True,
        explain: bool = False,
        min_confidence: float | None = None,
        rerank: str | reranking.Reranker | None = None,
    ) -> list[list[Hit]]:
        """The k best passages for each query; fewer where fewer match.

        fusion: how mode hybrid brings its arms together: "convex" or "rrf".
        per_document: most hits from one document (a file, or a record of one).
        collapse: fold near-duplicates of a better hit into it.
        explain: say why each was found.
        min_confidence: drop hits whose similarity to the query is below that of this share of random pairs.
        rerank: a cross-encoder, by name or as a Reranker; it reads the best 50 hits again.

        Raises UsageError for an empty query or a number or mode that cannot be meant; StoreError where the collection
        holds no passages; MismatchError where the model is no longer the one that made the index; ModelError.
        """
        want = _Want(k, per_document, collapse, explain, min_confidence, self._reranker(rerank))
        if mode == "lexical" and min_confidence is not None:
            raise UsageError("min_confidence compares vectors, and mode lexical has none; use mode hybrid or dense")
        texts = [storable(text).replace("\0", " ") for text in texts]

        def rank(texts: Sequence[str], depth: int) -> list[Ranked]:
            rankings = self.ranker.rank(texts, depth, mode, filter, fusion=fusion)
            compares = mode != "lexical" and (explain or min_confidence is not None)
            return [self._compared(*pair) for pair in zip(texts, rankings, strict=True)] if compares else rankings

        def deeper(text: str) -> Callable[[int], Ranked]:
            return lambda depth: rank([text], depth)[0]

        def ask() -> list[_Query]:
            rankings = zip(texts, rank(texts, want.depth), strict=True)
            return [_Query(text, ranked, deeper(text), fused=mode == "hybrid") for text, ranked in rankings]

        found = self._find(ask, want)
        encoder = None if mode == "lexical" else self.encoder
        return self._present(found, want, marker=encoder, speaker=encoder)

    def similar(
        self,
        path: str,
        line: int | None = None,
        k: int = 10,
        filter: Filter | None = None,
        *,
        itself: bool = False,
        per_document: int | None = None,
        collapse: bool = True,
        explain: bool = False,
        min_confidence: float | None = None,
    ) -> list[Hit]:
        """More like an indexed file, or like what stands on a line of it: the passages nearest to the mean of its
        stored vectors. No model is loaded unless it is to explain.

        path: as on the command line; ``PATH:LINE`` says both. itself: also passages of the same document.

        Raises UsageError for a file that is not indexed or a line that it does not have; StoreError.
        """
        want = _Want(k, per_document, collapse, explain, min_confidence)

        def ask() -> list[_Query]:
            rows, own = place.passages_at(self.store, path, line)
            own = [] if itself else own
            vector = self.store.vectors([row.id for row in rows]).mean(axis=0)
            vector /= max(float(np.linalg.norm(vector)), 1e-12)

            def rank(depth: int) -> Ranked:
                found = self.store.search(vector[None], depth + len(own), filter)
                shown = (found.ids[0] >= 0) & ~np.isin(found.ids[0], own)
                ids, scores = found.ids[0][shown][:depth], found.scores[0][shown][:depth]
                return Ranked(ids, scores, {"dense": scores})

            text = "\n".join(row.passage.text for row in rows)
            return [_Query(text, rank(want.depth), rank, fused=False, role="passage")]

        return self._present(self._find(ask, want), want, marker=None, speaker=self.encoder if explain else None)[0]

    def rank(self, texts: Sequence[str], k: int, mode: Mode = "hybrid", filter: Filter | None = None) -> Neighbours:
        """Identifiers and scores alone, (q, k): the ranking of ``search_many``, nothing folded, without fetching the
        passages.

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

    # The steps after the ranking, in their order

    def _find(self, ask: Callable[[], list[_Query]], want: _Want) -> list[tuple[_Query, list[_Found]]]:
        """The queries that ``ask`` ranks, and the hits of each."""
        while True:
            generation = self.store.generation
            try:
                return [(query, _reranked(query.text, self._select(query, want), want)) for query in ask()]
            except StoreError:
                if self.store.generation == generation:
                    raise  # else a compaction took passages away between two steps: all of it again

    def _present(
        self,
        answers: Sequence[tuple[_Query, list[_Found]]],
        want: _Want,
        marker: Encoder | None,
        speaker: Encoder | None,
    ) -> list[list[Hit]]:
        """Hits with their marks and reasons: ``marker`` finds the nearest sentences, ``speaker`` the words for what
        texts mean."""
        texts = [[each.row.passage.text for each in found] for _, found in answers]
        marks = snippets.mark([query.text for query, _ in answers], texts, marker)
        hits = []
        for (query, found), of_query in zip(answers, marks, strict=True):
            whys: Sequence[Explanation | None] = [None] * len(found)
            if want.explain:
                whys = self._explain(query, found, of_query, speaker)
            ranks = range(1, 1 + len(found))
            hits.append(
                [
                    Hit.of(rank, each.row, each.final, mark, each.duplicates, why)
                    for rank, each, mark, why in zip(ranks, found, of_query, whys, strict=True)
                ]
            )
        return hits

    def _select(self, query: _Query, want: _Want) -> list[_Found]:
        """The passages that become hits, looking deeper into the ranking as long as it takes to have enough."""
        ranked, depth = query.ranked, want.depth
        while True:
            at = {id: i for i, id in enumerate(ranked.ids.tolist())}
            rows = self.store.get(ranked.ids)
            sure = rows
            if want.min_confidence is not None:
                unusual = self.ranker.calibration.unusual(ranked.arms["dense"])
                sure = [row for row in rows if unusual[at[row.id]] >= want.min_confidence]
            kept = select(sure, self.store.vectors, want.hits, want.collapse, want.per_document)
            enough = len(kept) + len(rows) - len(sure) >= want.hits
            if enough or len(ranked.ids) < depth or depth >= DEEPEST:
                break
            depth = min(4 * depth, DEEPEST)
            ranked = query.deeper(depth)
        return [
            _Found(
                each.row,
                each.duplicates,
                score=float(ranked.scores[i]),
                arms={arm: float(scores[i]) for arm, scores in ranked.arms.items()},
                parts={arm: float(scores[i]) for arm, scores in ranked.shares.items()},
            )
            for each in kept
            for i in [at[each.row.id]]
        ]

    def _compared(self, text: str, ranked: Ranked) -> Ranked:
        """The ranking with the dense score of every passage, also where no arm needed it."""
        if "dense" in ranked.arms:
            return ranked
        [vector] = self.encoder.encode([text], role="query")
        return replace(ranked, arms={**ranked.arms, "dense": self.store.vectors(ranked.ids) @ vector})

    def _explain(
        self, query: _Query, found: Sequence[_Found], marks: Sequence[snippets.Mark], speaker: Encoder | None
    ) -> list[Explanation]:
        query_means: explanations.Words = ()
        passages_mean: Sequence[explanations.Words] = [()] * len(found)
        if speaker is not None:
            [query_means] = explanations.meanings([query.text], speaker, query.role, self._note_once)
            texts = [each.row.passage.text for each in found]
            passages_mean = explanations.meanings(texts, speaker, "passage", self._note_once)
        words = words_of(query.text)
        titles = snippets.find(words, [each.row.title or "" for each in found])
        return [
            Explanation(
                scores={arm: explanations.number(score) for arm, score in each.arms.items()},
                parts=each.parts,
                fused=each.score if query.fused else None,
                rerank=each.reranked,
                unusual=float(self.ranker.calibration.unusual(each.arms["dense"])) if "dense" in each.arms else None,
                terms=tuple(word for word in words if word in {*mark.terms, *title.values()}),
                query_means=query_means,
                passage_means=mean,
                shared=explanations.shared(query_means, mean),
            )
            for each, mark, title, mean in zip(found, marks, titles, passages_mean, strict=True)
        ]

    def _reranker(self, wanted: str | reranking.Reranker | None) -> reranking.Reranker | None:
        if not isinstance(wanted, str):
            return wanted
        if wanted not in self._rerankers:
            self._rerankers[wanted] = reranking.CrossEncoderReranker(wanted)
        return self._rerankers[wanted]

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)


def _reranked(text: str, found: list[_Found], want: _Want) -> list[_Found]:
    """The best k, by the cross-encoder where there is one."""
    if want.reranker is not None and found:
        scores = want.reranker.score(text, [each.row.passage.text for each in found]).tolist()
        found = [replace(each, reranked=score) for each, score in zip(found, scores, strict=True)]
        found.sort(key=lambda each: -each.final)
    return found[: want.k]
