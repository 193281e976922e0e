"""Make training pairs of a person's own collection: judged queries, titles, sentences and neighbouring passages.

Judged queries are split three ways: to train on, to choose the checkpoint (dev), and for the gate. Without them dev
and gate are sentences whose passages no training pair touches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from indexer.corpus.headings import SEPARATOR, find_headings
from indexer.errors import DataError
from semsearch.evaluation.judged import retrieval
from semsearch.evaluation.judged.queries import Judged
from semsearch.evaluation.metrics import Score
from semsearch.training.data.clean import distinct, key, words
from semsearch.training.data.rows import Row

if TYPE_CHECKING:
    from indexer.storage.store import Snapshot
    from indexer.types import StoredDocument, StoredPassage
    from semsearch.training.recipe import Recipe, Train

JUDGEMENTS, TITLES, SENTENCES, NEIGHBOURS, HELD = (
    f"collection:{name}" for name in ("judgements", "titles", "sentences", "neighbours", "held-out")
)
MAX_PASSAGES = 20_000
"""Passages that pairs are made of; a larger collection gives a random sample of its documents."""
POOL = 2_000
"""Passages that a held-out query's answer is looked for among."""
GATE, DEV = (0.25, 10, 200), (0.15, 5, 100)
"""Share, minimum and maximum of the held-out queries."""
MIN_QUERIES = 30
"""Judged queries: 10 for the gate, 5 to choose the checkpoint, 15 to train on."""
MIN_PAIRS = 32
"""To train on. Fewer would be one batch."""
MIN_WORDS = 8
"""Of a passage, or of what is left of one, to be a text worth finding."""
SENTENCE_WORDS = 4
"""Words of a sentence, at least, that may stand for its passage."""
BEST = 2
"""Passages of a relevant document that a judged query is trained to find."""
CEILING = 0.95
"""A passage nearer to a query than this share of the answer's cosine is no hard negative but perhaps an answer."""
EMPHASIS = 8
"""A judged pair is seen as often as so many pairs made of texts alone."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n\s*\n")
_MARKUP = ("markdown", "notebook", "rst")
"""Kinds whose texts mark their headings; of other kinds a passage is kept with the headings above it."""

Encode = Callable[[Sequence[str], bool], np.ndarray]
"""(texts, whether they are queries) → (n, d) unit vectors."""


@dataclass(frozen=True)
class HeldOut:
    """Queries that nothing was trained on, and the passages among which their answers are looked for."""

    judged: Judged
    documents: tuple[str, ...]
    """Of each passage, as ``judged.relevant`` names them."""
    texts: tuple[str, ...]
    total: int
    """Passages of the whole collection."""

    def score(self, encode: Encode) -> Score:
        """Return the nDCG@10 of dense search; a document scores as its best passage."""
        queries = list(self.judged.queries)
        near = encode([self.judged.queries[q] for q in queries], True) @ encode(self.texts, False).T  # (q, n)
        run: dict[str, dict[str, float]] = {}
        for query, row in zip(queries, near, strict=True):
            best: dict[str, float] = {}
            for document, value in zip(self.documents, row.tolist(), strict=True):
                best[document] = max(value, best.get(document, -np.inf))
            run[query] = best
        items = retrieval.measure(self.judged, run)[retrieval.GATED]
        labels = tuple(self.judged.queries.values())
        return Score(f"{self.judged.name} nDCG@10", 100 * float(items.mean()), items, None, labels, {})

    def __str__(self) -> str:
        """Return what is held out, in words."""
        return f"{len(self.judged.queries)} {self.judged.name}, {len(self.texts)} of {self.total} passages"


@dataclass(frozen=True)
class Material:
    """What a collection gives to train on and to judge by."""

    rows: Mapping[str, list[Row]]
    """Path of a source or dev set → its pairs."""
    held: HeldOut


def gather(snapshot: Snapshot, encode: Encode, judged: Judged | None, seed: int) -> Material:
    """Return pairs to train on and to hold out; the same ones for the same collection and seed.

    Args:
        snapshot: The collection, all of it embedded.
        encode: Its encoder.
        judged: Queries that people have judged; None: texts alone.
        seed: Of all draws.

    Raises:
        DataError: There are too few pairs or judged queries.
    """
    random = np.random.default_rng([seed, 41])
    stored = list(snapshot.documents())
    passages = [passage for document in stored for passage in document.passages]
    documents = _documents(stored, random)
    single = [passage for document in documents for passage in document.passages]
    clozes = [(p, *parts) for p in single if (parts := _cloze(p.passage.text, random)) is not None]
    if judged is not None:
        train, dev, gate = _split(judged, random)
        rows = {
            JUDGEMENTS: _judged_rows(snapshot, passages, judged, train, encode, BEST),
            HELD: _judged_rows(snapshot, passages, judged, dev, encode, 1),
        }
        held, away = _held_queries(judged, gate, passages, random), set()
    else:
        tested, chosen = _size(len(clozes), *GATE), _size(len(clozes), *DEV)
        if len(clozes) < 4 * MIN_PAIRS:
            raise DataError(
                f"the collection gives {len(clozes)} pairs of a sentence and the rest of its passage, without near "
                f"duplicates; {4 * MIN_PAIRS} are needed to train on some and judge the result by others: index "
                "more texts, or judge hits (on the page of `semsearch serve`, or with `semsearch judge add`)"
            )
        clozes = [clozes[i] for i in random.permutation(len(clozes))]
        held = _held_sentences(clozes[:tested], single, len(passages), random)
        away = {p.id for p, _, _ in clozes[: tested + chosen]}
        rows = {HELD: [Row(sentence, rest) for _, sentence, rest in clozes[tested : tested + chosen]]}
    rows |= {
        SENTENCES: [Row(sentence, rest) for p, sentence, rest in clozes if p.id not in away],
        TITLES: [row for document in documents for row in _titled(document, away)],
        NEIGHBOURS: [row for document in documents for row in _neighbours(document, away)],
    }
    return Material({path: found for path, found in rows.items() if len(found) > 1}, held)


def recipe_for(recipe: Recipe, material: Material) -> Recipe:
    """Return the recipe without sources that the collection has no pairs for, its sizes cut to the number of pairs.

    Raises:
        DataError: Too few pairs are left.
    """
    kept = [s for s in recipe.sources if not s.path.startswith("collection:") or s.path in material.rows]
    own = {s.path: min(len(material.rows[s.path]), s.limit or 2**63) for s in kept if s.path in material.rows}
    if len(own) == len(kept) and sum(own.values()) < MIN_PAIRS:
        raise DataError(f"the collection gives {sum(own.values())} pairs to train on; {MIN_PAIRS} or more are needed")
    weights = {path: float(count * (EMPHASIS if path == JUDGEMENTS else 1)) for path, count in own.items()}
    sources = tuple(replace(s, weight=weights.get(s.path)) if s.weight is None else s for s in kept)
    if len(own) < len(kept):
        return replace(recipe, sources=sources)
    return replace(recipe, sources=sources, train=sized(recipe.train, sum(own.values())))


def sized(train: Train, rows: int) -> Train:
    """Return [train] for so many rows: batches of at most an eighth, at least ten steps, four checks among them."""
    batch = min(train.batch, max(8, rows // 8))
    steps = train.steps or max(10, round(train.epochs * rows / batch))
    return replace(
        train,
        batch=batch,
        steps=steps,
        warmup=min(train.warmup, 1 + steps // 10),
        check_every=min(train.check_every, max(1, steps // 4)),
    )


# -- pairs ------------------------------------------------------------------------------------------------------


def _documents(documents: Sequence[StoredDocument], random: np.random.Generator) -> list[StoredDocument]:
    """Return documents with their passages worth finding; a random sample of a large collection.

    No passage is nearly equal to another: they would be each other's negatives.
    """
    count, chosen = 0, []
    for i in random.permutation(len(documents)):
        if count >= MAX_PASSAGES:
            break
        chosen.append(int(i))
        count += len(documents[i].passages)
    sample = [documents[i] for i in sorted(chosen)]
    found = [p for each in sample for p in each.passages if len(words(p.passage.text)) >= MIN_WORDS]
    kept = {found[i].id for i in distinct([p.passage.text for p in found])}
    cut = [replace(each, passages=tuple(p for p in each.passages if p.id in kept)) for each in sample]
    return [each for each in cut if each.passages]


def _cloze(text: str, random: np.random.Generator) -> tuple[str, str] | None:
    """Return a sentence and the rest of its passage; None where there is no such sentence.

    Source: the inverse cloze task of Lee et al. (2019), "Latent Retrieval".
    """
    parts = [part.strip() for part in _SENTENCE_END.split(text)]
    good = [
        i
        for i, part in enumerate(parts)
        if len(words(part)) >= SENTENCE_WORDS
        and len(words(" ".join(parts[:i] + parts[i + 1 :]))) >= MIN_WORDS
    ]  # fmt: skip
    if not good:
        return None
    i = good[int(random.integers(len(good)))]
    return parts[i], " ".join(filter(None, parts[:i] + parts[i + 1 :]))


def _titled(document: StoredDocument, away: set[int]) -> Iterator[Row]:
    """Yield each passage under its heading where it begins with one, and the first under the document's title.

    The text goes without the heading, which would give it away.
    """
    for number, (passage, name, rest) in enumerate(_headed(document)):
        title = passage.title if number == 0 else None
        if title and key(rest[: len(title) + 8]).startswith(key(title)):
            rest = rest.partition("\n")[2].strip()
        if passage.id in away or len(words(rest)) < MIN_WORDS:
            continue
        if title:
            yield Row(title, rest)
        if name and key(name) and key(name) != key(title or ""):
            yield Row(name, rest)


def _headed(document: StoredDocument) -> Iterator[tuple[StoredPassage, str | None, str]]:
    """Yield each passage with the heading that it begins with, if it does, and the text below."""
    text, kind = document.document.text, document.document.kind
    headings = list(find_headings(text, kind)) if kind in _MARKUP else []
    for passage in document.passages:
        start, end, name = passage.passage.start, passage.passage.end, None
        above = (passage.passage.heading or "").split(SEPARATOR)
        if kind not in _MARKUP and passage.passage.heading:
            first, _, below = passage.passage.text.partition("\n")
            if key(first) == key(above[-1]):
                start, name = end - len(below), above[-1]
        for heading in headings:
            if passage.passage.start <= heading.start < end and not text[start : heading.start].strip():
                start, name = heading.end, heading.text
        yield passage, name, text[start:end].strip()


def _neighbours(document: StoredDocument, away: set[int]) -> Iterator[Row]:
    """Yield passages with nothing but white space between them as pairs."""
    text = document.document.text
    for a, b in pairwise(document.passages):
        if not {a.id, b.id} & away and not text[a.passage.end : b.passage.start].strip():
            yield Row(a.passage.text, b.passage.text)


def _judged_rows(
    snapshot: Snapshot,
    passages: Sequence[StoredPassage],
    judged: Judged,
    queries: Sequence[str],
    encode: Encode,
    limit: int,
) -> list[Row]:
    """Return each query with the ``limit`` nearest passages of each relevant document, and with a hard negative.

    That is the nearest passage of a document that was called wrong, else of one that is not called relevant, unless it
    is so near that it may be an answer too. With a limit of 1 there is one passage a query, and no hard negative.
    """
    by_document: dict[str, list[StoredPassage]] = {}
    for passage in passages:
        by_document.setdefault(judged.document(passage.path, passage.record), []).append(passage)
    vectors = encode([judged.queries[query] for query in queries], True)
    found = snapshot.dense(vectors, 50)
    rows = []
    for query, vector, ids, scores in zip(queries, vectors, found.ids, found.scores, strict=True):
        relevant = judged.relevant[query]
        others = [p for p in snapshot.get(ids[ids >= 0]) if judged.document(p.path, p.record) not in relevant]
        wrong = [p for name in sorted(judged.wrong.get(query, ())) for p in by_document.get(name, [])]
        if wrong:
            wrong = [wrong[i] for i in np.argsort(-(snapshot.vectors([p.id for p in wrong]) @ vector), kind="stable")]
        near = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        for document in sorted(relevant, key=lambda name: -relevant[name])[: None if limit > 1 else 1]:
            own = [p for p in by_document.get(document, []) if p.passage.text.strip()]
            if not own:
                continue
            values = snapshot.vectors([p.id for p in own]) @ vector
            answers = {key(p.passage.text) for p in own}
            for i in np.argsort(-values, kind="stable")[:limit]:
                hard = next(
                    (p.passage.text for p in (*wrong, *(p for p in others if near[p.id] < CEILING * values[i]))
                     if key(p.passage.text) not in answers),
                    None,
                )  # fmt: skip
                rows.append(Row(judged.queries[query], own[i].passage.text, (hard,) if hard and limit > 1 else ()))
    return rows


# -- what is held out -------------------------------------------------------------------------------------------


def _size(total: int, share: float, low: int, high: int) -> int:
    """Return a share of a total, kept between two numbers."""
    return min(max(low, int(share * total)), high)


def different_queries(judged: Judged) -> list[list[str]]:
    """Return the queries in groups; those of one group differ in case or punctuation only."""
    alike: dict[str, list[str]] = {}
    for query, text in judged.queries.items():
        alike.setdefault(key(text) or text, []).append(query)
    return list(alike.values())


def _split(judged: Judged, random: np.random.Generator) -> tuple[list[str], list[str], list[str]]:
    """Return the queries of (train, dev, gate); those that differ in case or punctuation only stay together."""
    groups = different_queries(judged)
    if len(groups) < MIN_QUERIES:
        raise DataError(
            f"{judged.name} judges {len(groups)} different queries; {MIN_QUERIES} are needed: {GATE[1]} are held out "
            f"for the gate, {DEV[1]} choose the checkpoint, and the rest is trained on; judge more, or train on the "
            "collection's texts alone (--no-judgements)"
        )
    gate, dev = _size(len(groups), *GATE), _size(len(groups), *DEV)
    order = [groups[i] for i in random.permutation(len(groups))]
    parts = order[gate + dev :], order[gate : gate + dev], order[:gate]
    train, chosen, held = ([query for group in part for query in group] for part in parts)
    return train, chosen, held


def _held_queries(
    judged: Judged, queries: Sequence[str], passages: Sequence[StoredPassage], random: np.random.Generator
) -> HeldOut:
    """Return the gate's queries with all passages of their relevant documents, and others at random."""
    part = replace(
        judged,
        name="held-out queries",
        queries={query: judged.queries[query] for query in queries},
        relevant={query: judged.relevant[query] for query in queries},
    )
    wanted = {document for documents in part.relevant.values() for document in documents}
    owners = {p.id: judged.document(p.path, p.record) for p in passages}
    others = _some([p for p in passages if owners[p.id] not in wanted], random)
    pool = [p for p in passages if owners[p.id] in wanted] + others
    return HeldOut(part, tuple(owners[p.id] for p in pool), tuple(p.passage.text for p in pool), len(passages))


def _held_sentences(
    pairs: Sequence[tuple[StoredPassage, str, str]],
    passages: Sequence[StoredPassage],
    total: int,
    random: np.random.Generator,
) -> HeldOut:
    """Return the gate's sentences, each pair's rest in place of its passage, and other passages at random."""
    own = {p.id for p, _, _ in pairs}
    others = _some([p for p in passages if p.id not in own], random)
    judged = Judged(
        "held-out sentences",
        {str(p.id): sentence for p, sentence, _ in pairs},
        {str(p.id): {str(p.id): 1} for p, _, _ in pairs},
        "collection",
    )
    documents = [str(p.id) for p, _, _ in pairs] + [str(p.id) for p in others]
    texts = [rest for _, _, rest in pairs] + [p.passage.text for p in others]
    return HeldOut(judged, tuple(documents), tuple(texts), total)


def _some(passages: Sequence[StoredPassage], random: np.random.Generator) -> list[StoredPassage]:
    """Return POOL of the passages, at random and in their order."""
    if len(passages) <= POOL:
        return list(passages)
    return [passages[i] for i in np.sort(random.choice(len(passages), POOL, replace=False))]
