"""Doctor: proof that a collection's tables agree with each other, and mending of what can be made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import text

from indexer.errors import CorruptError
from indexer.storage.embedded_again import SAMPLES, embedded_again
from indexer.storage.postgres.search import nearest, words
from indexer.types import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from indexer.storage.postgres.snapshot import PostgresSnapshot
    from indexer.storage.postgres.store import PostgresStore
    from indexer.storage.postgres.writer import PostgresWriter

ANALYSED = 200
"""Passages whose terms are made again and compared."""
MIN_RECALL = 0.8
"""Of the ten nearest, by the index, of sampled passages; a sound one finds nearly all."""
AGAIN = "{} documents are found by words alone until `semsearch index` embeds them again"
RESTORE = "restore the database from a copy, or index anew under another name"

_SHOWN = (
    "SELECT p.id FROM passages p JOIN documents d ON d.id = p.document_id CROSS JOIN state s "
    "WHERE d.born <= s.generation AND (d.died IS NULL OR d.died > s.generation)"
)
_CATALOG = {
    "documents belong to a generation that is yet to come": (
        "SELECT count(*) FROM documents, state WHERE born < coalesce(died, born + 1) "
        "AND greatest(born, coalesce(died, 0)) > generation"
    ),
    "documents in use belong to no known file": (
        "SELECT count(*) FROM documents d WHERE died IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM files f WHERE f.path = d.path)"
    ),
    "vectors are kept of passages that are marked as waiting": (
        "SELECT count(*) FROM vectors v JOIN passages p ON p.id = v.id WHERE p.embedded = 0"
    ),
}
"""What to say of a number above 0 → the query that counts it. None of these can be mended."""
_WORDS = {
    "passages are shown and not found by words": f"SELECT count(*) FROM ({_SHOWN} EXCEPT SELECT id FROM words) AS x",
    "passages are found by words and not shown": f"SELECT count(*) FROM (SELECT id FROM words EXCEPT {_SHOWN}) AS x",
    "terms are counted wrongly": (
        "SELECT count(*) FROM (SELECT lexeme, count(*) AS n FROM words CROSS JOIN LATERAL unnest(terms) "
        "GROUP BY lexeme) AS h FULL JOIN (SELECT term, passages FROM frequencies WHERE passages <> 0) AS f "
        "ON f.term = h.lexeme "
        "WHERE h.n IS DISTINCT FROM f.passages"
    ),
    "totals of the words are wrong": (
        "SELECT count(*) FROM totals AS t, (SELECT count(*) AS n, coalesce(sum(length), 0) AS length FROM words) AS w "
        "WHERE t.passages <> w.n OR t.length <> w.length"
    ),
}
_LOST = "SELECT id FROM passages p WHERE embedded > 0 AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.id = p.id)"
_BARE = "SELECT id FROM passages p WHERE embedded > 0 AND NOT EXISTS (SELECT 1 FROM sparse s WHERE s.id = p.id)"
_ORPHANS = "vectors v WHERE NOT EXISTS (SELECT 1 FROM passages p WHERE p.id = v.id)"


def examine(
    store: PostgresStore, mend: bool, open_encoder: Callable[[EncoderSpec], Encoder] | None = None
) -> list[Problem]:
    """Return what is wrong with a collection; with ``mend``, mend what can be: words, the index, lost vectors.

    Without ``mend`` it only reads, in one snapshot, while others write.

    Args:
        store: The collection.
        mend: Whether to mend; nobody else may write meanwhile.
        open_encoder: Opens the encoder that embeds some passages again; None: do not.

    Raises:
        LockedError: It is to be mended, and another process writes.
    """
    try:
        with store.snapshot() as snapshot:
            found = list(_problems(snapshot))
            recall = None if found else snapshot.recall(SAMPLES)
            if recall is not None and recall < MIN_RECALL:
                found.append(Problem("index", f"it finds {recall:.0%} of the ten nearest of sampled passages"))
        if mend and found:
            found = _mended(store, found)
        if open_encoder is not None and not found:
            with store.snapshot() as snapshot:
                found += embedded_again(snapshot, snapshot.some(SAMPLES), open_encoder)
    except CorruptError as error:
        return [Problem("catalog", str(error), False, RESTORE)]
    return found


def _problems(snapshot: PostgresSnapshot) -> Iterator[Problem]:
    with snapshot.reading() as catalog:
        connection = catalog.connection
        for fault, query in _CATALOG.items():
            if number := connection.execute(text(query)).scalar_one():
                yield Problem("catalog", f"{number} {fault}", False, RESTORE)
        for fault, query in _WORDS.items():
            if number := connection.execute(text(query)).scalar_one():
                yield Problem("words", f"{number} {fault}")
        if number := _other_terms(connection):
            yield Problem("words", f"{number} of {ANALYSED} sampled passages have other terms than their text")
        if number := _count(connection, _LOST):
            yield Problem("vectors", f"{number} passages have no vector")
        if number := connection.execute(text(f"SELECT count(*) FROM {_ORPHANS}")).scalar_one():
            yield Problem("vectors", f"{number} vectors belong to no passage")
        if snapshot.manifest.sparse is not None and (number := _count(connection, _BARE)):
            yield Problem("terms", f"{number} passages have a vector and no terms")
        if number := nearest.invalid_indexes(connection):
            yield Problem("index", f"{number} indexes are not valid: making them was broken off")


def _count(connection: Connection, ids: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM ({ids}) AS x")).scalar_one())


def _other_terms(connection: Connection) -> int:
    """Return how many of some passages have other terms than their texts say."""
    query = (
        "SELECT coalesce(d.title, ''), p.text, w.terms::text, w.length FROM words w JOIN passages p ON p.id = w.id "
        "JOIN documents d ON d.id = p.document_id ORDER BY hashint8(w.id) LIMIT :n"
    )
    rows = connection.execute(text(query), {"n": ANALYSED}).all()
    right = [words.terms_of(title, body) for title, body, *_ in rows]
    same = "SELECT count(*) FROM unnest(CAST(:held AS text[]), CAST(:right AS text[])) AS x (held, ours) WHERE "
    values = {"held": [row[2] for row in rows], "right": [each.vector for each in right]}
    wrong = connection.execute(text(f"{same} held::tsvector <> ours::tsvector"), values).scalar_one()
    return int(wrong) + sum(bool(row[3] != each.length) for row, each in zip(rows, right, strict=True))


def _mended(store: PostgresStore, found: list[Problem]) -> list[Problem]:
    """Mend what can be, alone. Return the problems with what was done."""
    if any(problem.part == "catalog" for problem in found):
        return found  # what hangs on the catalog cannot be judged by it
    with store.writer(alone=True) as writer:
        done = {part: _mend(writer, part) for part in dict.fromkeys(problem.part for problem in found)}
        writer.commit()
    return [Problem(each.part, each.found, True, done[each.part]) for each in found]


def _mend(writer: PostgresWriter, part: str) -> str:
    """Mend one part. Return what was done."""
    if part == "index":
        with writer.catalog() as catalog:
            rows = catalog.counts(catalog.state()[0]).embedded
        writer.index(rows, force=True)
        return "index built anew from the vectors"
    with writer.catalog() as catalog:
        run = catalog.connection.execute
        if part == "words":
            words.rebuild(catalog.connection, catalog.state()[0], words.has_textsearch(catalog.connection))
            return "words made anew"
        run(text(f"DELETE FROM {_ORPHANS}"))
        lost = np.fromiter(run(text(_LOST if part == "vectors" else _BARE)).scalars(), np.int64)
        if not len(lost):
            return "removed"
        run(text("DELETE FROM vectors WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": lost.tolist()})
        return AGAIN.format(catalog.lose(lost))
