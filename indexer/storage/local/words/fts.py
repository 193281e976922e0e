"""The search by words: SQLite's FTS5.

Collections are of two kinds (``Manifest.words``). In those of version 1 FTS5 itself tells words apart and stems
them, and reads the texts through a view. In those of version 2 ``indexer.words`` has made the terms, and FTS5 keeps
nothing but where each stands.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import chain
from operator import xor
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Float, Integer, and_, column, func, select, text
from sqlalchemy.exc import DatabaseError

from indexer import words
from indexer.storage.bm25 import rarity
from indexer.storage.local.sqlite import SQLITE
from indexer.storage.local.words import porter
from indexer.storage.sql.dialect import conditions, restricts
from indexer.storage.sql.reading import JOINED, shown
from indexer.storage.sql.schema import documents, passages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from indexer.types import Filter

PAGE = 500
"""Passages whose words are written at a time."""
MANY = 20_000
"""Passages from which on a search by words leaves out those that are everywhere."""
COMMON = 4_000
"""Passages that hold an expression from which on its scores are kept: FTS5 takes 2.5 µs for each, a second and more for
those of a common one."""
PART = 16
"""Each of so many sums is looked at to learn which of them cannot be among the greatest."""
KEPT = 36_000_000
"""Most scores that are kept for one generation, of eight bytes each: those of all common expressions of a million
passages. With fewer each query lets go of what the next one needs."""


@dataclass
class Known:
    """What was found of expressions in one state of the catalog. Threads that look for the same find the same."""

    holders: dict[str, int] = field(default_factory=dict)
    """Expression → passages that hold it."""
    _common: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def common_scores(
        self, expression: str, look: Callable[[], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (ids, scores) of a common expression; those used longest ago are let go where they grow too many."""
        with self._lock:
            found = self._common.pop(expression, None)
            if found is not None:
                self._common[expression] = found  # the last one now
                return found
        ids, scores = look()
        found = ids.astype(np.int32 if not len(ids) or ids[-1] < 1 << 31 else np.int64), scores.astype(np.float32)
        with self._lock:
            self._common[expression] = found
            while len(self._common) > 1 and sum(len(ids) for ids, _ in self._common.values()) > KEPT:
                del self._common[next(iter(self._common))]
        return found


class Words(ABC):
    """The virtual table ``words``, of one version."""

    SCORE: str
    """BM25 of a row, lower is better."""

    def create(self, connection: Connection) -> None:  # noqa: B027 - migrations make the table of version 1
        """Make the table in a new catalog."""

    @abstractmethod
    def expressions(self, query: str) -> list[str]:
        """Return what a query looks for in FTS5's syntax, as often as it stands there."""

    @abstractmethod
    def add(self, connection: Connection, generation: int) -> None:
        """Take in the passages of the documents that are born with a generation and alive."""

    @abstractmethod
    def remove_dead(self, connection: Connection, generation: int) -> None:
        """Take out the passages of the documents that a generation no longer shows."""

    @abstractmethod
    def rebuild(self, connection: Connection) -> None:
        """Make it anew from the passages."""

    @abstractmethod
    def agrees(self, connection: Connection) -> bool:
        """Tell whether it says what the passages say. Needs a connection that may write."""

    def search(
        self,
        connection: Connection,
        query: str,
        k: int,
        generation: int,
        only: Filter | None,
        known: Known,
    ) -> tuple[list[int], list[float], float]:
        """Return the k best passages that are shown and pass the filter: ids, BM25 (higher is better) and ``full``.

        Args:
            connection: In a transaction.
            query: A person's text.
            k: Results.
            generation: The commit to read at.
            only: The filter.
            known: Remembers, for this state of the catalog, what was found of each expression.
        """
        wanted = self.expressions(query)
        if not wanted:
            return [], [], 0.0
        telling, full = self._telling(connection, wanted, known), self._full(connection, wanted, known)
        common = [each for each in telling if known.holders[each] > COMMON]
        if common and k:
            rare = [each for each in telling if known.holders[each] <= COMMON]
            found = self._added(connection, rare, common, k, generation, only, known)
            if found is not None:
                return *found, full
        rows = self._best(connection, " OR ".join(telling), k, generation, only)
        return [row[0] for row in rows], [-row[1] for row in rows], full

    def _added(
        self,
        connection: Connection,
        rare: Sequence[str],
        common: Sequence[str],
        k: int,
        generation: int,
        only: Filter | None,
        known: Known,
    ) -> tuple[list[int], list[float]] | None:
        """Return what ``_best`` does: the scores of a query's expressions add up, and those of common ones are kept.

        None where fewer than k of the best few pass the filter.
        """
        parts = [known.common_scores(each, partial(self._scores, connection, each)) for each in common]
        if rare:
            parts.append(self._scores(connection, " OR ".join(rare)))
        last = max(int(ids[-1]) for ids, _ in parts if len(ids))
        sums = np.zeros(last + 1, np.float64)
        for ids, scores in parts:
            sums[ids] += scores
        depth = 8 * k if restricts(only) else k + 50
        while True:
            top = _greatest(sums, depth)
            allowed = and_(shown(generation), conditions(SQLITE, only), SQLITE.among(passages.c.id, top))
            rows = connection.execute(select(passages.c.id).select_from(JOINED).where(allowed)).scalars()
            passing = np.fromiter(rows, np.int64)
            best = passing[np.lexsort((passing, -sums[passing]))][:k]
            if len(best) == k or len(top) < depth:
                return best.tolist(), sums[best].tolist()
            if restricts(only):
                return None
            depth *= 4

    def _scores(self, connection: Connection, match: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (ids (n,) int64 ascending, BM25 (n,) float64, higher is better) of all that match."""
        sqlite: Any = connection.connection.driver_connection  # rows of SQLAlchemy take as long as FTS5 itself
        query = f"SELECT rowid, {self.SCORE} FROM words WHERE words MATCH ? ORDER BY rowid"
        rows = sqlite.execute(query, (match,)).fetchall()
        found = np.fromiter(chain.from_iterable(rows), np.float64, 2 * len(rows)).reshape(-1, 2)
        return found[:, 0].astype(np.int64), -found[:, 1]

    def _best(self, connection: Connection, match: str, k: int, generation: int, only: Filter | None) -> Sequence[Any]:
        found = f"SELECT rowid AS id, {self.SCORE} AS score FROM words WHERE words MATCH :match"
        if not restricts(only):  # nearly all that match are shown: look only the best up in the other tables
            depth = k + 50
            while True:
                query = _judged(f"{found} ORDER BY score, rowid LIMIT :depth", shown(generation))
                rows = connection.execute(query, {"match": match, "depth": depth}).all()
                alive = [row for row in rows if row[2]]
                if len(alive) >= k or len(rows) < depth:
                    return alive[:k]
                depth *= 4
        allowed = and_(shown(generation), conditions(SQLITE, only))
        return connection.execute(_judged(found, allowed).where(allowed).limit(k), {"match": match}).all()

    def _holders(self, connection: Connection, wanted: Iterable[str], known: Known) -> Mapping[str, int]:
        """Return how many passages hold each expression, and more; "" is held by all."""
        for each in dict.fromkeys(wanted):
            if each not in known.holders:
                source = "FROM words WHERE words MATCH :match" if each else "FROM words_docsize"
                values = {"match": each} if each else {}
                known.holders[each] = connection.execute(text(f"SELECT count(*) {source}"), values).scalar_one()
        return known.holders

    def _telling(self, connection: Connection, wanted: list[str], known: Known) -> list[str]:
        """Return the expressions without those that more than half of many passages hold, unless all are like that.

        To BM25 such a word is worth 1e-6 of a rare one, and yet the work is in the passages that hold it.
        """
        total = self._holders(connection, [""], known)[""]
        if total < MANY or len(wanted) == 1:
            return wanted
        held = self._holders(connection, wanted, known)
        return [each for each in wanted if held[each] <= total / 2] or wanted

    def _full(self, connection: Connection, wanted: Sequence[str], known: Known) -> float:
        """Return the BM25 of a passage of average length that holds each once, words that none holds included."""
        held = self._holders(connection, ["", *wanted], known)
        return sum(rarity(held[""], held[each]) for each in wanted)


def _greatest(sums: np.ndarray, depth: int) -> np.ndarray:
    """Return the numbers of the greatest sums above 0, at most ``depth``, best first; ties go to the lower number.

    The greatest of a part are never above those of all, and say cheaply what need not be looked at.
    """
    part = sums[::PART]
    least = np.partition(part, len(part) - depth)[len(part) - depth] if depth <= len(part) else 0.0
    top = np.flatnonzero(sums >= least if least > 0 else sums > 0)
    if len(top) > depth:
        best = sums[top]
        top = top[best >= np.partition(best, len(top) - depth)[len(top) - depth]]
    ordered: np.ndarray = top[np.lexsort((top, -sums[top]))][:depth]
    return ordered


def _judged(found: str, condition: ColumnElement[bool]) -> Select[Any]:
    """Join (id, score) rows with their documents: (id, score, whether the condition holds), best first."""
    rows = text(found).columns(column("id", Integer), column("score", Float)).subquery("w")
    joined = JOINED.join(rows, rows.c.id == passages.c.id)
    return select(rows.c.id, rows.c.score, condition).select_from(joined).order_by(rows.c.score, rows.c.id)


class PorterWords(Words):
    """Version 1: FTS5 tells words apart and stems them (Porter, 1980), reading titles and texts through a view."""

    SCORE = "bm25(words, 2.0, 1.0)"

    def expressions(self, query: str) -> list[str]:
        """Return what a query looks for."""
        return porter.expressions(query)

    def add(self, connection: Connection, generation: int) -> None:
        """Take in what is born with a generation."""
        statement = (
            "INSERT INTO words (rowid, title, text) SELECT p.id, coalesce(d.title, ''), p.text "
            "FROM documents d JOIN passages p ON p.document_id = d.id WHERE d.born = :g AND d.died IS NULL"
        )
        connection.execute(text(statement), {"g": generation})

    def remove_dead(self, connection: Connection, generation: int) -> None:
        """Take out what has died."""
        dead = "SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id WHERE d.died <= :g"
        statement = (
            "INSERT INTO words (words, rowid, title, text) "
            f"SELECT 'delete', id, title, text FROM words_content WHERE id IN ({dead})"
        )
        connection.execute(text(statement), {"g": generation})

    def rebuild(self, connection: Connection) -> None:
        """Make it anew."""
        connection.execute(text("INSERT INTO words (words) VALUES ('rebuild')"))

    def agrees(self, connection: Connection) -> bool:
        """Let FTS5 compare itself with the view."""
        return _sound(connection, "INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")


def _sound(connection: Connection, statement: str) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(text(statement))
    except DatabaseError:
        return False
    return True


class TermWords(Words):
    """Version 2: ``indexer.words`` makes the terms, and FTS5 keeps where each stands, without any text."""

    TOKENIZER = "ascii tokenchars '+#.'"
    """Parts terms at blanks: beside these signs they hold letters, digits and marks only, which are words to it."""
    COLUMNS = ("title", "text", "title_parts", "text_parts")
    """The second pair holds the further terms (``Token.part``)."""
    SCORE = "bm25(words, 2.0, 1.0, 2.0, 1.0)"

    def create(self, connection: Connection) -> None:
        """Make the table in place of the one that migrations make."""
        for statement in (
            "DROP TABLE words",
            "DROP VIEW words_content",
            f"CREATE VIRTUAL TABLE words USING fts5({', '.join(self.COLUMNS)}, content='', "
            f'tokenize="{self.TOKENIZER}")',
        ):
            connection.execute(text(statement))

    def expressions(self, query: str) -> list[str]:
        """Return what a query looks for. Nothing in it comes from the query but terms between quotes."""
        return [_match(each) for each in words.query(query).wanted]

    def add(self, connection: Connection, generation: int) -> None:
        """Take in what is born with a generation."""
        self._write(connection, and_(documents.c.born == generation, documents.c.died.is_(None)), "rowid")

    def remove_dead(self, connection: Connection, generation: int) -> None:
        """Take out what has died."""
        shown_once = documents.c.born < documents.c.died
        self._write(connection, and_(documents.c.died <= generation, shown_once), "words, rowid")

    def rebuild(self, connection: Connection) -> None:
        """Make it anew."""
        connection.execute(text("INSERT INTO words (words) VALUES ('delete-all')"))
        self._write(connection, _indexed(), "rowid")

    def _write(self, connection: Connection, condition: ColumnElement[bool], head: str) -> None:
        command = "'delete', " if "," in head else ""
        places = ", ".join(f":{name}" for name in self.COLUMNS)
        statement = text(f"INSERT INTO words ({head}, {', '.join(self.COLUMNS)}) VALUES ({command}:id, {places})")
        for rows in self._rows(connection, condition):
            connection.execute(statement, rows)

    def _rows(self, connection: Connection, condition: ColumnElement[bool]) -> Iterator[list[dict[str, object]]]:
        """Yield what the index says, or has to say, of passages in the order of their ids, some hundred at a time.

        Their ids come first: SQLite would go through all that meet the condition for each page.
        """
        wanted = select(passages.c.id).select_from(JOINED).where(condition).order_by(passages.c.id)
        ids = np.fromiter(connection.execute(wanted).scalars(), np.int64)
        query = select(passages.c.id, documents.c.title, passages.c.text).select_from(JOINED).order_by(passages.c.id)
        for start in range(0, len(ids), PAGE):
            found = []
            rows = connection.execute(query.where(SQLITE.among(passages.c.id, ids[start : start + PAGE]))).all()
            titles = {title: words.indexed(title or "") for title in {row[1] for row in rows}}
            for number, title, body in rows:
                (heads, head_parts), (terms, parts) = titles[title], words.indexed(body)
                values = (heads, terms, head_parts, parts)
                found.append({"id": number, **dict(zip(self.COLUMNS, values, strict=True))})
            yield found

    def agrees(self, connection: Connection) -> bool:
        """Compare every place of every term with the passages."""
        if not _sound(connection, "INSERT INTO words (words) VALUES ('integrity-check')"):
            return False
        connection.execute(text("CREATE VIRTUAL TABLE temp.places USING fts5vocab(main, words, instance)"))
        try:
            seen: dict[int, int] = dict.fromkeys(connection.execute(text("SELECT id FROM words_docsize")).scalars(), 0)
            for term, number, name, offset in connection.execute(text("SELECT term, doc, col, offset FROM places")):
                seen[number] = seen.get(number, 0) ^ hash((term, name, offset))
        finally:
            connection.execute(text("DROP TABLE temp.places"))
        right: dict[int, int] = {}
        for rows in self._rows(connection, _indexed()):
            for row in rows:
                places = [
                    hash((term, name, offset))
                    for name in self.COLUMNS
                    for offset, term in enumerate(str(row[name]).split())
                ]
                right[int(str(row["id"]))] = reduce(xor, places, 0)
        return seen == right


def _match(wanted: words.Wanted) -> str:
    """Return the expression of one thing that a query looks for; each alternative is a phrase to ``bm25``."""
    star = "*" if wanted.prefix else ""
    phrases = [f'"{" ".join(phrase)}"{star}' for phrase in wanted.alternatives]
    found = phrases[0] if len(phrases) == 1 else f"({' OR '.join(phrases)})"
    return f"({found})" if wanted.anywhere else f"({{title text}} : {found})"


def _indexed() -> ColumnElement[bool]:
    """Return the condition that a document has been shown at some time: its words are in the index."""
    return documents.c.born < func.coalesce(documents.c.died, documents.c.born + 1)


_VERSIONS: dict[int, type[Words]] = {1: PorterWords, 2: TermWords}


def words_of_version(number: int) -> Words:
    """Return the search by words of a collection, see ``Manifest.words``."""
    return _VERSIONS[number]()
