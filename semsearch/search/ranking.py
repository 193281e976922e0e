"""From a query's text to passages in order: each arm's ranking, and their fusion."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from indexer.embedding.encoder import Encoder, Terms
from indexer.errors import CorruptError, StoreError, UsageError
from indexer.storage.local.files import write_bytes
from indexer.storage.local.store import Store
from indexer.types import Filter, Neighbours
from semsearch.search import fusion
from semsearch.search.calibration import Calibration

Mode = Literal["hybrid", "dense", "lexical", "sparse"]
Fusion = Literal["convex", "rrf"]
ARMS = ("dense", "lexical", "sparse")
DEPTH = 100
"""Passages that each arm contributes to a fusion, or k if that is more."""
SETTINGS = "search.json"
"""File of a collection that keeps the weights chosen for it."""


@dataclass(frozen=True)
class Weights:
    """How much each arm counts in a convex fusion; only their proportions matter.

    The defaults were chosen on development collections: see scripts/results/search."""

    dense: float = 0.5
    lexical: float = 0.5
    sparse: float = 0.0

    def __post_init__(self) -> None:
        values = asdict(self)
        if not all(isinstance(v, int | float) and 0 <= v < float("inf") for v in values.values()):
            raise UsageError(f"weights are {values}; each is a number from 0 up")
        if not sum(values.values()):
            raise UsageError("the weights are all 0; at least one arm must count")

    @classmethod
    def of(cls, collection: Path) -> Weights:
        """Those kept with a collection, else the defaults. Raises CorruptError for a file that holds none."""
        return cls.kept(collection) or cls()

    @classmethod
    def kept(cls, collection: Path) -> Weights | None:
        """Those kept with a collection, or with its export. Raises CorruptError for a file that holds none."""
        path = collection / SETTINGS
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8"))["weights"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
            raise CorruptError(
                f"{path} holds no weights of search ({error}); delete it, or make it anew: semsearch eval tune --save"
            ) from error

    def save(self, collection: Path) -> None:
        """Keep them with a collection, durably, in one step."""
        write_bytes(collection / SETTINGS, (json.dumps({"weights": asdict(self)}) + "\n").encode())


@dataclass(frozen=True)
class Ranked:
    """The passages found for one query, best first."""

    ids: np.ndarray
    """(n,) int64."""
    scores: np.ndarray
    """(n,) float32, what the passages are ordered by: cosine, negated bm25, inner product or the fused score."""
    arms: Mapping[str, np.ndarray]
    """Arm ("dense", "lexical", "sparse") → (n,) float32, its own score of each passage; NaN where it has none."""
    shares: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Arm → (n,) float32, its part of the fused score; only where the fusion is convex."""


@dataclass(frozen=True)
class Candidates:
    """All passages that any arm found for one query, before they are fused."""

    ids: np.ndarray
    """(n,) int64, ascending."""
    found: Mapping[str, np.ndarray]
    """Arm → (m,) int64: its own ranking, best first."""
    raw: Mapping[str, np.ndarray]
    """Arm → (n,) float32: its score of each candidate; NaN where it did not find one. Dense has a score of every one:
    what only another arm found is compared with the query too."""
    scaled: Mapping[str, np.ndarray]
    """Arm → (n,) float32: the same made comparable, about 0 to 1. Dense: 0 for a random pair of passages, see
    ``Calibration``. Lexical: how much of the query, by the rarity of its words, the passage holds. Sparse: the share of
    the query's best score. What an arm did not find has 0."""

    def only(self, arms: Iterable[str]) -> Candidates:
        """What there would be had only these arms been asked."""
        found = {arm: ids for arm, ids in self.found.items() if arm in arms}
        ids = np.unique(np.concatenate(list(found.values())))
        here = np.searchsorted(self.ids, ids)
        raw = {arm: values[here] for arm, values in self.raw.items() if arm in found}
        return Candidates(ids, found, raw, {arm: self.scaled[arm][here] for arm in found})

    def alone(self, arm: str, k: int) -> Ranked:
        """One arm's own ranking."""
        ids = self.found[arm][:k]
        scores = self.raw[arm][np.searchsorted(self.ids, ids)]
        return Ranked(ids, scores, {arm: scores})

    def convex(self, weights: Mapping[str, float], k: int) -> Ranked:
        parts = fusion.convex(self.scaled, weights)
        scores = np.stack(list(parts.values())).sum(axis=0)  # (arms, n) → (n,)
        best = fusion.best(self.ids, scores, k)
        return Ranked(self.ids[best], scores[best], _at(self.raw, best), _at(parts, best))

    def reciprocal_rank(self, k: int) -> Ranked:
        ids, scores = fusion.reciprocal_rank(list(self.found.values()), k)
        return Ranked(ids, scores, _at(self.raw, np.searchsorted(self.ids, ids)))


class Ranker:
    """Ranks the passages of one collection. ``encoder`` is called when a mode first needs vectors."""

    def __init__(self, store: Store, encoder: Callable[[], Encoder]):
        self.store = store
        self._encoder = encoder
        self._calibration: tuple[int, Calibration] | None = None

    @property
    def calibration(self) -> Calibration:
        """How similar random passages of this collection are, as it is now."""
        generation = self.store.generation
        if self._calibration is None or self._calibration[0] != generation:
            self._calibration = generation, Calibration.of(self.store)
        return self._calibration[1]

    def rank(
        self,
        texts: Sequence[str],
        k: int = 10,
        mode: Mode = "hybrid",
        filter: Filter | None = None,
        *,
        fusion: Fusion = "convex",
        weights: Weights | None = None,
    ) -> list[Ranked]:
        """The k best passages for each query; fewer where fewer match.

        fusion, weights: of mode hybrid; the weights are the collection's own (search.json) or the defaults where none
        are given. An arm of weight 0 is not asked by a convex fusion; sparse is never part of a rank fusion.

        Raises UsageError for an empty query, k below 1 or an unknown mode or fusion; StoreError where the collection
        holds no passages, or mode is sparse and it has no sparse index; MismatchError where the model is no longer
        the one that made the index.
        """
        texts = self._checked(texts, k, mode)
        if fusion not in get_args(Fusion):
            raise UsageError(f"fusion is {fusion!r}; it is one of {', '.join(get_args(Fusion))}")
        if mode != "hybrid":
            return [
                Ranked(found.ids[0], found.scores[0], {mode: found.scores[0]})
                for found in self._search(self._queries(texts, (mode,)), mode, k, filter)
            ]
        weighed = asdict(weights or Weights.of(self.store.path))
        arms = [arm for arm in ARMS if weighed[arm] and self.has(arm)] if fusion == "convex" else ["dense", "lexical"]
        candidates = self.candidates(texts, arms or ["dense", "lexical"], max(k, DEPTH), filter)
        return [each.convex(weighed, k) if fusion == "convex" else each.reciprocal_rank(k) for each in candidates]

    def has(self, arm: str) -> bool:
        """Whether the collection can be searched by this arm."""
        return arm != "sparse" or self.store.manifest.sparse is not None

    def candidates(
        self, texts: Sequence[str], arms: Sequence[str], depth: int = DEPTH, filter: Filter | None = None
    ) -> list[Candidates]:
        """What these arms find for each query, ``depth`` passages each, ready to be fused in any way."""
        queries = self._queries(self._checked(texts, depth, "hybrid"), arms)
        while True:
            generation = self.store.generation
            try:
                found = self._search_all(queries, arms, depth, filter)
                return [
                    self._candidates({arm: rows[i] for arm, rows in found.items()}, text, queries.vector(i))
                    for i, text in enumerate(queries.texts)
                ]
            except StoreError:
                if self.store.generation == generation:
                    raise  # else a compaction took what one arm had just found: all of it again

    def _checked(self, texts: Sequence[str], k: int, mode: str) -> list[str]:
        for text in texts:
            if not text.strip("\0 \t\r\n"):
                raise UsageError("the query is empty; give a few words to look for")
        if k < 1:
            raise UsageError(f"k is {k}; ask for at least 1 hit")
        if mode not in get_args(Mode):
            raise UsageError(f"mode is {mode!r}; it is one of {', '.join(get_args(Mode))}")
        if not self.store.counts().passages:
            raise StoreError(f"{self.store.path.name} holds no passages yet; run: semsearch index FOLDER")
        return [text.replace("\0", " ") for text in texts]

    def _queries(self, texts: Sequence[str], arms: Sequence[str]) -> _Queries:
        """Read the texts by the model as far as the arms need it, once."""
        if "sparse" in arms:
            self.store.need_sparse()  # before the model is loaded
            vectors, terms = self._encoder().encode_terms(texts, role="query")
            return _Queries(texts, vectors, terms)
        return _Queries(texts, self._encoder().encode(texts, role="query") if "dense" in arms else None, None)

    def _search_all(
        self, queries: _Queries, arms: Sequence[str], k: int, filter: Filter | None
    ) -> dict[str, list[Neighbours]]:
        """The arms side by side: one query keeps one core busy with vectors and another with words. A store that is
        open for writing is left to one thread."""
        if self.store.writable:
            return {arm: self._search(queries, arm, k, filter) for arm in arms}
        with ThreadPoolExecutor(len(arms)) as pool:
            found = {arm: pool.submit(self._search, queries, arm, k, filter) for arm in arms}
            return {arm: each.result() for arm, each in found.items()}

    def _search(self, queries: _Queries, arm: str, k: int, filter: Filter | None) -> list[Neighbours]:
        """One arm's results for each query, (1, n), without the filling."""
        if arm == "dense":
            assert queries.vectors is not None
            found = self.store.search(queries.vectors, k, filter)
            return [_whole(*pair) for pair in zip(found.ids, found.scores, strict=True)]
        if arm == "lexical":
            rows = [self.store.search_text(text, k, filter) for text in queries.texts]
        else:
            assert queries.terms is not None
            rows = [self.store.search_terms(terms, k, filter) for terms in queries.terms]
        return [_whole(each.ids[0], each.scores[0]) for each in rows]

    def _candidates(self, found: Mapping[str, Neighbours], text: str, vector: np.ndarray | None) -> Candidates:
        """text, vector (d,): the query; the vector where dense is among the arms."""
        ids = np.unique(np.concatenate([each.ids[0] for each in found.values()]))
        raw, scaled = {}, {}
        for arm, each in found.items():
            raw[arm] = np.full(len(ids), np.nan, np.float32)
            raw[arm][np.searchsorted(ids, each.ids[0])] = each.scores[0]
            if arm == "dense":
                absent = np.isnan(raw[arm])
                if vector is not None and absent.any():
                    raw[arm][absent] = self.store.vectors(ids[absent]) @ vector
                scaled[arm] = self.calibration.scale(raw[arm])
            else:
                whole = self.store.text_scale(text) if arm == "lexical" else float(each.scores[0].max(initial=0.0))
                scaled[arm] = np.nan_to_num(raw[arm]) / np.float32(whole or 1.0)
        return Candidates(ids, {arm: each.ids[0] for arm, each in found.items()}, raw, scaled)


@dataclass(frozen=True)
class _Queries:
    """Texts as the arms take them."""

    texts: Sequence[str]
    vectors: np.ndarray | None
    """(q, d) float32, unit length."""
    terms: Sequence[Terms] | None

    def vector(self, i: int) -> np.ndarray | None:
        return None if self.vectors is None else self.vectors[i]


def stack(rankings: Sequence[Ranked], k: int) -> Neighbours:
    """Rankings of different lengths as one (q, k) pair of arrays, filled with -1 and -inf."""
    ids = np.full((len(rankings), k), -1, np.int64)
    scores = np.full((len(rankings), k), -np.inf, np.float32)
    for row, ranked in enumerate(rankings):
        n = min(k, len(ranked.ids))
        ids[row, :n], scores[row, :n] = ranked.ids[:n], ranked.scores[:n]
    return Neighbours(ids, scores)


def _whole(ids: np.ndarray, scores: np.ndarray) -> Neighbours:
    """(1, n): one query's results without the filling."""
    return Neighbours(ids[ids >= 0][None], scores[ids >= 0][None])


def _at(values: Mapping[str, np.ndarray], places: np.ndarray) -> dict[str, np.ndarray]:
    return {arm: each[places] for arm, each in values.items()}
