"""Answer queries over one view: read → retrieve and fuse → choose → rerank → mark → explain → hits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from indexer import words
from indexer.errors import StoreError
from semsearch.search.asking import filter_expressions, places
from semsearch.search.asking.asked import Asked, Need, read
from semsearch.search.asking.request import HitOptions, SearchRequest, SimilarRequest
from semsearch.search.ranking import rerank
from semsearch.search.ranking.retrieve import DEPTH, RETRIEVERS, Ranked, retrieve
from semsearch.search.ranking.select import Found, choose, first_depth
from semsearch.search.ranking.select import rerank as reranked
from semsearch.search.showing import explain, snippets
from semsearch.search.showing.explain import Explanation
from semsearch.search.showing.hits import Answer, Hit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import Role
    from semsearch.search.view import View


@dataclass(frozen=True)
class Models:
    """Where the steps get their models; called only when a step needs one."""

    encoder: Callable[[], Encoder]
    reranker: Callable[[str], rerank.Reranker]


@dataclass(frozen=True)
class _Answered:
    """A query with the passages that were chosen for it."""

    asked: Asked
    options: HitOptions
    found: list[Found]
    fused: bool
    """Whether their scores are those of a fusion."""
    role: Role = "query"
    """"passage" where the query is an indexed text."""


def search(view: View, requests: Sequence[SearchRequest], models: Models) -> list[Answer]:
    """Return the answer to each request. The model reads all their queries together, each once.

    Raises:
        StoreError: The collection holds no passages, or mode is sparse and it has no sparse index.
        UsageError: A filter names a field or kind that nothing in the collection has.
        MismatchError: The model is no longer the one that made the vectors.
        ModelError: A model cannot be loaded.
    """
    _check_filled(view)
    notes: list[str] = []
    retrievers = [retrievers_of(view, each) for each in requests]
    needs = [_need(view, *pair) for pair in zip(requests, retrievers, strict=True)]
    asked = read([each.query for each in requests], needs, models.encoder, notes.append)
    answered: list[_Answered | None] = [None] * len(requests)
    for group in _alike(requests):
        first = requests[group[0]]
        wanted = _wanted(view, first)
        depth = first_depth(first, wanted, view.counts.passages)
        rankings = rank(view, first, [asked[i] for i in group], depth)
        judge = models.reranker(first.rerank) if isinstance(first.rerank, str) else first.rerank
        for i, ranked in zip(group, rankings, strict=True):
            query = asked[i]

            def deeper(depth: int, query: Asked = query, request: SearchRequest = first) -> Ranked:
                return rank(view, request, [query], depth)[0]

            found = reranked(query.text, choose(view, first, wanted, ranked, deeper, query.text), judge)
            answered[i] = _Answered(query, first, found[: min(first.k, wanted)], fused=first.mode == "hybrid")
    done = [each for each in answered if each is not None]
    hits = _present(view, done, models)
    return [
        _answer(view, each, [*_remarks(view, request, each), *notes])
        for request, each in zip(requests, hits, strict=True)
    ]


def similar(view: View, request: SimilarRequest, models: Models) -> Answer:
    """Return more like an indexed file, or like what stands on a line of it.

    Its passages are those nearest to the mean of the place's stored vectors. No model is loaded unless it is to
    explain.

    Raises:
        UsageError: The place is not in the collection, or a filter names what nothing in it has.
        StoreError: The collection holds no passages, or the place has no vectors yet.
    """
    _check_filled(view)
    notes: list[str] = []
    place = places.find(view.snapshot, request.place, view.name).at_first_line()
    own = [] if request.itself else place.own
    vectors = view.vectors([row.id for row in place.passages])
    vectors = vectors[~np.isnan(vectors[:, 0])]
    if not len(vectors):
        raise StoreError(f"{request.place} has no vectors yet, and only these are compared; {view.missing}")
    vector = vectors.mean(axis=0)
    vector /= max(float(np.linalg.norm(vector)), 1e-12)

    def rank_similar(depth: int) -> Ranked:
        [found] = retrieve(view, [Asked("", vector)], ("dense",), depth + len(own), request.condition)
        ranked = found.alone("dense", depth + len(own))
        shown = np.flatnonzero(~np.isin(ranked.ids, own))[:depth]
        return Ranked(ranked.ids[shown], ranked.scores[shown], {"dense": ranked.scores[shown]})

    text = "\n".join(row.passage.text for row in place.passages)
    hits = min(request.k, view.counts.passages)
    ranked = rank_similar(first_depth(request, hits, view.counts.passages))
    found = choose(view, request, hits, ranked, rank_similar)
    [asked] = read([text], [Need(meaning=request.explain)], models.encoder, notes.append, "passage")
    [of_query] = _present(view, [_Answered(asked, request, found, fused=False, role="passage")], models)
    return _answer(view, of_query, [*_remarks(view, request, of_query), *notes])


def retrievers_of(view: View, request: SearchRequest) -> tuple[str, ...]:
    """Return the retrievers that a request asks.

    A retriever of weight 0 is not asked by a convex fusion; sparse is never part of a rank fusion. While no passage
    has a vector, hybrid is a search by words, and a search by vectors alone asks nobody.
    """
    if request.mode != "hybrid":
        wanted: list[str] = [request.mode]
    elif request.fusion == "rrf":
        wanted = ["dense", "lexical"]
    else:
        weights = asdict(view.weights)
        wanted = [name for name in RETRIEVERS if weights[name] and view.has(name)] or ["dense", "lexical"]
    if view.has_vectors:
        return tuple(wanted)
    words = [name for name in wanted if name == "lexical"]
    return tuple(words or (["lexical"] if request.mode == "hybrid" else []))


def rank(view: View, request: SearchRequest, asked: Sequence[Asked], depth: int) -> list[Ranked]:
    """Return the ranking of each query, ``depth`` passages at most; fewer where fewer match.

    Args:
        view: What is searched.
        request: Its mode, fusion and filter count, and whether it needs the similarity of each passage.
        asked: The queries, read.
        depth: Passages of each ranking.
    """
    retrievers = retrievers_of(view, request)
    if not retrievers:
        nothing = np.zeros(0, np.float32)
        return [Ranked(np.zeros(0, np.int64), nothing, {"dense": nothing}) for _ in asked]
    if request.mode != "hybrid":
        found = retrieve(view, asked, retrievers, depth, request.condition)
        rankings = [each.alone(request.mode, depth) for each in found]
    else:
        found = retrieve(view, asked, retrievers, max(depth, DEPTH), request.condition)
        weights = asdict(view.weights)
        convex = request.fusion == "convex"
        rankings = [each.convex(weights, depth) if convex else each.reciprocal_rank(depth) for each in found]
    if not _compares(request):
        return rankings
    return [_compared(view, *pair) for pair in zip(asked, rankings, strict=True)]


def _answer(view: View, hits: Sequence[Hit], notes: Sequence[str]) -> Answer:
    snapshot = view.snapshot
    return Answer(tuple(hits), tuple(notes), snapshot.generation, snapshot.version, snapshot.manifest.spec.fingerprint)


def _check_filled(view: View) -> None:
    if not view.counts.passages:
        raise StoreError(f"{view.name} holds no passages yet; run: semsearch index FOLDER")


def _compares(request: SearchRequest) -> bool:
    """Return whether each passage's similarity to the query is needed, also where no retriever gives it."""
    return request.mode != "lexical" and (request.explain or request.min_confidence is not None)


def _compared(view: View, asked: Asked, ranked: Ranked) -> Ranked:
    """Return the ranking with the dense score of every passage that has a vector."""
    if "dense" in ranked.raw:
        return ranked
    if asked.vector is None:
        return replace(ranked, raw={**ranked.raw, "dense": np.full(len(ranked.ids), np.nan, np.float32)})
    return replace(ranked, raw={**ranked.raw, "dense": view.vectors(ranked.ids) @ asked.vector})


def _need(view: View, request: SearchRequest, retrievers: Sequence[str]) -> Need:
    return Need(
        vector="dense" in retrievers or (view.has_vectors and _compares(request)),
        terms="sparse" in retrievers and view.has("sparse"),
        meaning=request.explain and request.mode != "lexical",
    )


def _wanted(view: View, request: SearchRequest) -> int:
    """Return how many passages to choose: those that are read again, then cut to k."""
    k = max(request.k, rerank.DEPTH) if request.rerank is not None else request.k
    return min(k, view.counts.passages)


def _alike(requests: Sequence[SearchRequest]) -> list[list[int]]:
    """Return the positions of requests that differ in nothing but their query, group by group."""
    groups: dict[SearchRequest, list[int]] = {}
    for i, request in enumerate(requests):
        groups.setdefault(replace(request, query="same"), []).append(i)
    return list(groups.values())


def _remarks(view: View, request: SearchRequest | SimilarRequest, hits: Sequence[Hit]) -> list[str]:
    """Return what a person should know of an answer. Raises UsageError for a filter that nothing can meet."""
    remarks = []
    condition = request.condition
    if not hits and condition is not None and (condition.kinds or condition.fields):
        remarks += filter_expressions.check(condition, view.facets.kinds, view.endings, view.facets.fields)
    by_words = isinstance(request, SearchRequest) and request.mode == "lexical"
    if view.missing is not None and not by_words:
        remarks.append(view.missing)
    return remarks


# The steps after the passages are chosen


def _present(view: View, answered: Sequence[_Answered], models: Models) -> list[list[Hit]]:
    """Return the hits of each query with their marks and reasons."""
    marks = _mark(answered, models)
    hits = []
    for each, of_query in zip(answered, marks, strict=True):
        whys: Sequence[Explanation | None] = [None] * len(each.found)
        if each.options.explain:
            whys = _explain(view, each, of_query, models)
        ranks = range(1, 1 + len(each.found))
        hits.append(
            [
                Hit.of(rank, found.row, found.shown, mark, found.duplicates, why)
                for rank, found, mark, why in zip(ranks, each.found, of_query, whys, strict=True)
            ]
        )
    return hits


def _mark(answered: Sequence[_Answered], models: Models) -> list[list[snippets.Mark]]:
    """Return what to look at in each passage of each query; by words alone where the query has no vector."""
    marks = [[snippets.Mark(None)] * len(each.found) for each in answered]
    for by_meaning in (True, False):
        rows = [
            i
            for i, each in enumerate(answered)
            if each.options.snippets and by_meaning == (each.asked.vector is not None)
        ]
        if rows:
            queries = [answered[i].asked.text for i in rows]
            texts = [[found.row.passage.text for found in answered[i].found] for i in rows]
            found = snippets.mark(queries, texts, models.encoder() if by_meaning else None)
            for i, each in zip(rows, found, strict=True):
                marks[i] = each
    return marks


def _explain(view: View, answered: _Answered, marks: Sequence[snippets.Mark], models: Models) -> list[Explanation]:
    asked, found = answered.asked, answered.found
    texts = [each.row.passage.text for each in found]
    meanings: Sequence[explain.Words] = [()] * len(found)
    if asked.meaning and found:  # empty too where the model has no words, which was said already
        said: list[str] = []
        meanings = explain.meanings(texts, models.encoder(), "passage", said.append)
    wanted = words.query(asked.text)
    titles = words.find(wanted, [each.row.title or "" for each in found])
    return [
        Explanation(
            scores={name: explain.number(score) for name, score in each.raw.items()},
            parts=each.parts,
            fused=each.score if answered.fused else None,
            rerank=each.reranked,
            percentile=_percentile(view, each),
            terms=tuple(each.text for each in wanted.distinct if each.text in {*mark.terms, *title.values()}),
            query_means=asked.meaning,
            passage_means=meaning,
            shared=explain.shared(asked.meaning, meaning),
        )
        for each, mark, title, meaning in zip(found, marks, titles, meanings, strict=True)
    ]


def _percentile(view: View, found: Found) -> float | None:
    cosine = explain.number(found.raw.get("dense", float("nan")))
    return None if cosine is None else float(view.calibration.percentile(cosine))
