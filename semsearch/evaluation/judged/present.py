"""How well a collection answers its judged queries now: nDCG@10 of a search as a person has set it up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from semsearch.evaluation.judged import collection as judged_collection
from semsearch.evaluation.judged import retrieval

if TYPE_CHECKING:
    from semsearch.collection import Collection
    from semsearch.search.asking.request import SearchRequest

DEPTH = 10
MOST = 200
"""Judged queries that are asked, the last ones: a person waits for the figure."""


def quality(docs: Collection, settings: SearchRequest) -> dict[str, object]:
    """Return nDCG@10 over the collection's own judgements.

    Args:
        docs: The collection.
        settings: How it is searched; its query, filter and number of hits are not looked at.

    Returns:
        ``measure``, ``value`` (0 to 1), ``queries`` (number that were asked) and ``judged`` (number there are).

    Raises:
        DataError: Nothing was called right yet.
    """
    judged = judged_collection.judgements_for(docs, None)
    asked = list(judged.queries)[-MOST:]
    judged = replace(judged, queries={q: q for q in asked}, relevant={q: judged.relevant[q] for q in asked})
    plain = replace(settings, k=DEPTH, per_document=1, filter=None, snippets=False, explain=False)
    run: dict[str, dict[str, float]] = {}
    for query, answer in zip(asked, docs.search_many([replace(plain, query=q) for q in asked]), strict=True):
        found = run.setdefault(query, {})
        for hit in answer:
            found.setdefault(judged.document(hit.path, hit.document), hit.score)
    values = retrieval.measured(judged, run, [retrieval.MEASURES[0]])[retrieval.MEASURES[0]]
    total = len({each.query for each in docs.judgements() if each.grade})
    return {"measure": retrieval.GATED, "value": float(values.mean()), "queries": len(asked), "judged": total}
