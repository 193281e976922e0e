"""The search by words: BM25 over terms that ``indexer.words`` makes, kept as tsvectors with a table of frequencies.

A tsvector says where each term stands: titles with the weights A (words) and C (further terms, ``Token.part``), texts
with B and D. PostgreSQL finds the passages that hold a term, a phrase or a beginning; the scores are those of
``storage.bm25``, computed in SQL, and never ``ts_rank``. Where the server has pg_textsearch, its index finds the best
candidates of a query of plain words, which are then scored by the same formula: both ways give the same scores.

Counted are the passages that the newest generation shows. Each transaction sees the numbers that belong to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Float, Text, and_, cast, delete, literal, select, text
from sqlalchemy.dialects.postgresql import TSQUERY

from indexer import words as analysis
from indexer.storage.bm25 import K1, B, rarity
from indexer.storage.postgres.dialect import POSTGRES
from indexer.storage.postgres.search.copying import copy
from indexer.storage.postgres.tables import words
from indexer.storage.sql.dialect import conditions, restricts
from indexer.storage.sql.reading import JOINED, shown
from indexer.storage.sql.schema import documents, passages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from indexer.types import Filter
    from indexer.words import Wanted

PAGE = 500
"""Passages whose words are written at a time."""
LAST_POSITION = 16_383
"""A tsvector knows no place behind it; of a longer passage only the terms before it are found."""
MAX_BYTES = 900_000
"""Bytes of the terms of one passage; a tsvector holds a million."""
MANY = 20_000
"""Passages from which on a search by words leaves out those that are everywhere."""
TEXTSEARCH_INDEX = "words_bm25"
CANDIDATES = 50
"""Passages beyond the k best that pg_textsearch is asked for, twice k at least."""


@dataclass(frozen=True)
class Terms:
    """What is kept of the words of one passage."""

    vector: str
    """A tsvector, as PostgreSQL reads it."""
    length: int
    plain: str
    """The same for pg_textsearch: each term in letters that its parser leaves whole, those of titles twice."""


def terms_of(title: str, body: str) -> Terms:
    """Return the terms of a passage with its title."""
    places: dict[str, list[str]] = {}
    plain: list[str] = []
    length, size, at = 0, 0, 0
    (heads, head_parts), (rest, rest_parts) = analysis.indexed(title), analysis.indexed(body)
    for column, weight, times in ((heads, "A", 2), (rest, "B", 1), (head_parts, "C", 2), (rest_parts, "D", 1)):
        at += 1  # so that no phrase goes on from one into the next
        for term in column.split():
            at, length = at + 1, length + 1
            size += len(term.encode()) + 8
            if at < LAST_POSITION and size < MAX_BYTES:
                places.setdefault(term, []).append(f"{at}{weight}")
                plain += [encoded(term)] * times
    return Terms(" ".join(f"{_quoted(term)}:{','.join(at)}" for term, at in places.items()), length, " ".join(plain))


def encoded(term: str) -> str:
    """Return a term as one word of small ASCII letters and digits, whatever the database's language takes for words."""
    if term.isascii() and term.isalpha():
        return f"w{term}"
    return "x" + term.encode().hex()


def _quoted(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass(frozen=True)
class _Phrase:
    """One alternative of what is looked for."""

    terms: tuple[str, ...]
    prefix: bool
    anywhere: bool

    @property
    def query(self) -> str:
        """It as a tsquery."""
        weights = "" if self.anywhere else "AB"
        marks = [weights] * (len(self.terms) - 1) + ["*" * self.prefix + weights]
        return " <-> ".join(
            _quoted(t) + (f":{mark}" if mark else "") for t, mark in zip(self.terms, marks, strict=True)
        )

    @property
    def is_term(self) -> bool:
        """Whether the table of frequencies knows how many passages hold it."""
        return self.anywhere and not self.prefix and len(self.terms) == 1


def _phrases(wanted: Wanted) -> list[_Phrase]:
    return [_Phrase(terms, wanted.prefix, wanted.anywhere) for terms in wanted.alternatives]


def _any(phrases: Iterable[_Phrase]) -> str:
    return " | ".join(f"({phrase.query})" for phrase in phrases)


class WordSearch:
    """Searches by words in one transaction. What it has counted it remembers."""

    def __init__(self, connection: Connection, generation: int, textsearch: str | None) -> None:
        """Look into the collection that the connection sees.

        Args:
            connection: In its transaction.
            generation: The commit to read at.
            textsearch: Name of the index of pg_textsearch with its schema, where there is one that can be used.
        """
        self._connection = connection
        self._generation = generation
        self._textsearch = textsearch
        self._held: dict[str, int] = {}
        self._passages, self._length = connection.execute(text("SELECT passages, length FROM totals")).one()

    @property
    def passages(self) -> int:
        """Number of passages that can be found."""
        return int(self._passages)

    def search(self, query: str, k: int, only: Filter | None) -> tuple[list[int], list[float], float]:
        """Return the k best passages that pass the filter: ids, BM25 and ``full``, see ``Neighbours``."""
        wanted = analysis.query(query).wanted
        if not wanted or not self._passages or not k:
            return [], [], self._full(wanted)
        self._count(
            [each for one in wanted for each in (_any(_phrases(one)), *(p.query for p in _phrases(one)))], wanted
        )
        full = self._full(wanted)
        telling = self._telling(wanted)
        weights: dict[_Phrase, float] = {}
        for one in telling:
            for phrase in _phrases(one):
                weights[phrase] = weights.get(phrase, 0.0) + rarity(self._passages, self._held[phrase.query])
        weights = {phrase: weight for phrase, weight in weights.items() if self._held[phrase.query]}
        if not weights:
            return [], [], full
        found = self._candidates(weights, k, only)
        rows = [] if found is not None and not found else self._best(weights, k, only, found)
        return [row[0] for row in rows], [row[1] for row in rows], full

    def _count(self, queries: Sequence[str], wanted: Sequence[Wanted]) -> None:
        """Find out how many passages hold each of the queries."""
        terms = {p.query: p.terms[0] for one in wanted for p in _phrases(one) if p.is_term}
        terms |= {f"({query})": term for query, term in terms.items()}
        new = {term for query, term in terms.items() if query not in self._held}
        if new:
            statement = text("SELECT term, passages FROM frequencies WHERE term = ANY(:terms)")
            known = {row[0]: int(row[1]) for row in self._connection.execute(statement, {"terms": sorted(new)})}
            self._held |= {query: known.get(term, 0) for query, term in terms.items() if term in new}
        for query in dict.fromkeys(queries):
            if query not in self._held:
                statement = text("SELECT count(*) FROM words WHERE terms @@ CAST(:query AS tsquery)")
                self._held[query] = int(self._connection.execute(statement, {"query": query}).scalar_one())

    def _full(self, wanted: Sequence[Wanted]) -> float:
        """Return the BM25 of a passage of average length that holds each once, words that none holds included."""
        held = [self._held.get(_any(_phrases(one)), 0) for one in wanted]
        return sum(rarity(self._passages, number) for number in held)

    def _telling(self, wanted: Sequence[Wanted]) -> Sequence[Wanted]:
        """Return what is looked for without what more than half of many passages hold, unless all is like that."""
        if self._passages < MANY or len(wanted) == 1:
            return wanted
        return [one for one in wanted if self._held[_any(_phrases(one))] <= self._passages / 2] or wanted

    def _candidates(self, weights: dict[_Phrase, float], k: int, only: Filter | None) -> list[int] | None:
        """Return the passages that pg_textsearch thinks best; None where it cannot say, and all have to be scored."""
        if self._textsearch is None or restricts(only) or not all(phrase.is_term for phrase in weights):
            return None
        depth = max(2 * k, k + CANDIDATES)
        statement = text("SELECT id FROM words ORDER BY plain <@> to_bm25query(:query, :index) LIMIT :depth")
        query = " ".join(encoded(phrase.terms[0]) for phrase in weights)
        values = {"query": query, "index": self._textsearch, "depth": depth}
        found = list(self._connection.execute(statement, values).scalars())
        # Fewer than there must be: passages that are gone stood in the way of those that are there.
        return found if len(found) >= min(depth, max(self._held[phrase.query] for phrase in weights)) else None

    def _best(
        self, weights: dict[_Phrase, float], k: int, only: Filter | None, among: list[int] | None
    ) -> Sequence[Any]:
        """Return (id, score) of the k best, best first, of ``among`` only where it is given."""
        query: Any = cast(literal(_any(weights), Text), TSQUERY)
        found = select(words.c.id, words.c.terms, words.c.length).where(words.c.terms.op("@@")(query))
        if among is not None:
            found = found.where(POSTGRES.among(words.c.id, among))
        if restricts(only):
            joined = words.join(JOINED, passages.c.id == words.c.id)
            found = found.select_from(joined).where(conditions(POSTGRES, only))
        singles = [phrase for phrase in weights if len(phrase.terms) == 1 and not phrase.prefix]
        others = [phrase for phrase in weights if phrase not in singles]
        parts = [_SINGLES] if singles else []
        values: dict[str, Any] = {
            "average": float(self._length) / max(1, self._passages) or 1.0,
            "k": k,
            "terms": [phrase.terms[0] for phrase in singles],
            "anywhere": [phrase.anywhere for phrase in singles],
            "weights": [weights[phrase] for phrase in singles],
        }
        for number, phrase in enumerate(others):
            parts.append(_OTHER.replace("#", str(number)))
            values |= {
                f"phrase{number}": list(phrase.terms),
                f"prefix{number}": phrase.prefix,
                f"anywhere{number}": phrase.anywhere,
                f"weight{number}": weights[phrase],
            }
        statement = text(_SCORED.format(" UNION ALL ".join(parts))).columns(id=BigInteger, score=Float)
        if not singles:
            values = {name: value for name, value in values.items() if name not in ("terms", "anywhere", "weights")}
        return self._connection.execute(statement.add_cte(found.cte("found")), values).all()


_SCORED = f"""
SELECT id, sum(weight * times * ({K1} + 1) / (times + {K1} * (1 - {B} + {B} * length / :average))) AS score
FROM ({{}}) AS each WHERE times > 0 GROUP BY id ORDER BY score DESC, id LIMIT :k
"""
"""BM25 of each passage, from (id, length, weight, times) of each thing that it may hold."""
_SINGLES = """
SELECT f.id, f.length, q.weight, sum(CASE WHEN p.column IN ('A', 'C') THEN 2 ELSE 1 END)::double precision AS times
FROM found AS f CROSS JOIN LATERAL unnest(f.terms) AS u (lexeme, positions, weights)
JOIN unnest(CAST(:terms AS text[]), CAST(:anywhere AS boolean[]), CAST(:weights AS double precision[]))
  AS q (term, anywhere, weight) ON u.lexeme = q.term
CROSS JOIN LATERAL unnest(u.weights) AS p ("column")
WHERE q.anywhere OR p.column IN ('A', 'B')
GROUP BY f.id, f.length, q.term, q.anywhere, q.weight
"""
_OTHER = """
SELECT f.id, f.length, CAST(:weight# AS double precision) AS weight,
  occurrences(f.terms, CAST(:phrase# AS text[]), :prefix#, :anywhere#) AS times FROM found AS f
"""


def create_textsearch(connection: Connection) -> None:
    """Make the index of pg_textsearch, and the column that it reads."""
    connection.execute(text("ALTER TABLE words ADD COLUMN plain text NOT NULL"))
    connection.execute(
        text(
            f"CREATE INDEX {TEXTSEARCH_INDEX} ON words USING bm25 (plain) WITH (text_config = 'simple', k1={K1}, b={B})"
        )
    )


def has_textsearch(connection: Connection) -> bool:
    """Tell whether the collection that the connection sees has an index of pg_textsearch."""
    return bool(connection.execute(text(f"SELECT to_regclass('{TEXTSEARCH_INDEX}') IS NOT NULL")).scalar_one())


def add(connection: Connection, generation: int, ready: Mapping[int, Terms], textsearch: bool) -> None:
    """Take in the passages of the documents that are born with a generation and alive.

    Args:
        connection: In the transaction of a writer that has the state locked: so frequencies are never out of step.
        generation: The one that is about to be shown.
        ready: Terms of passages that were analysed before.
        textsearch: Whether the collection has an index of pg_textsearch.
    """
    born = and_(documents.c.born == generation, documents.c.died.is_(None))
    query = select(passages.c.id, documents.c.title, passages.c.text).select_from(JOINED).where(born)
    after = -1
    while rows := connection.execute(query.where(passages.c.id > after).order_by(passages.c.id).limit(PAGE)).all():
        _add(connection, {row[0]: ready.get(row[0]) or terms_of(row[1] or "", row[2]) for row in rows}, textsearch)
        after = rows[-1][0]


def _add(connection: Connection, found: Mapping[int, Terms], textsearch: bool) -> None:
    columns = ("id", "terms", "length", *(["plain"] if textsearch else []))
    rows = [(number, t.vector, t.length, *([t.plain] if textsearch else [])) for number, t in found.items()]
    copy(connection, "words", columns, rows)
    _count(connection, list(found), +1)


def remove(connection: Connection, condition: ColumnElement[bool]) -> None:
    """Take out the passages of documents."""
    query = select(passages.c.id).select_from(JOINED.join(words, words.c.id == passages.c.id)).where(condition)
    ids = list(connection.execute(query).scalars())
    for start in range(0, len(ids), 10_000):
        part = ids[start : start + 10_000]
        _count(connection, part, -1)
        connection.execute(delete(words).where(POSTGRES.among(words.c.id, part)))


def rebuild(connection: Connection, generation: int, textsearch: bool) -> None:
    """Make everything anew from the passages that a generation shows."""
    for statement in ("DELETE FROM words", "DELETE FROM frequencies", "UPDATE totals SET passages = 0, length = 0"):
        connection.execute(text(statement))
    query = select(passages.c.id, documents.c.title, passages.c.text).select_from(JOINED).where(shown(generation))
    after = -1
    while rows := connection.execute(query.where(passages.c.id > after).order_by(passages.c.id).limit(PAGE)).all():
        _add(connection, {row[0]: terms_of(row[1] or "", row[2]) for row in rows}, textsearch)
        after = rows[-1][0]


def _count(connection: Connection, ids: Sequence[int], sign: int) -> None:
    """Add passages of ``words`` to the numbers, or take them off."""
    values = {"ids": ids, "sign": sign}
    mine = "FROM words {} WHERE id = ANY(CAST(:ids AS bigint[]))"
    lexemes = mine.format("CROSS JOIN LATERAL unnest(terms)")
    connection.execute(
        text(
            f"INSERT INTO frequencies AS held SELECT lexeme, :sign * count(*) {lexemes} GROUP BY lexeme "
            "ON CONFLICT (term) DO UPDATE SET passages = held.passages + excluded.passages"
        ),
        values,
    )
    sums = f"SELECT count(*) AS passages, coalesce(sum(length), 0)::bigint AS length {mine.format('')}"
    connection.execute(
        text(
            "UPDATE totals SET passages = totals.passages + :sign * n.passages, "
            f"length = totals.length + :sign * n.length FROM ({sums}) AS n"
        ),
        values,
    )
