"""The search by words: SQLite's FTS5.

Collections are of two kinds (``Manifest.words``). In those of version 1 FTS5 itself tells words apart and stems them, and
reads the texts through a view. In those of version 2 ``indexer.words`` has made the terms, and FTS5 keeps nothing but
where each stands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, Integer, and_, column, select, text
from sqlalchemy.exc import DatabaseError

from indexer.storage.bm25 import rarity
from indexer.storage.local import porter
from indexer.storage.local.sqlite import SQLITE
from indexer.storage.sql.dialect import conditions, restricts
from indexer.storage.sql.reading import JOINED, shown
from indexer.storage.sql.schema import passages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from indexer.types import Filter

MANY = 20_000
"""Passages from which on a search by words leaves out those that are everywhere."""


class Words(ABC):
    """The virtual table ``words``, of one version."""

    SCORE: str
    """BM25 of a row, lower is better."""

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
        known: dict[str, int],
    ) -> tuple[list[int], list[float], float]:
        """Return the k best passages that are shown and pass the filter: ids, BM25 (higher is better) and ``full``.

        Args:
            connection: In a transaction.
            query: A person's text.
            k: Results.
            generation: The commit to read at.
            only: The filter.
            known: Remembers, for this generation, how many passages hold each expression.
        """
        wanted = self.expressions(query)
        if not wanted:
            return [], [], 0.0
        match = " OR ".join(self._telling(connection, wanted, known))
        rows = self._best(connection, match, k, generation, only)
        return [row[0] for row in rows], [-row[1] for row in rows], self._full(connection, wanted, known)

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

    def _holders(self, connection: Connection, wanted: Iterable[str], known: dict[str, int]) -> Mapping[str, int]:
        """Return how many passages hold each expression, and more; "" is held by all."""
        for each in dict.fromkeys(wanted):
            if each not in known:
                source = "FROM words WHERE words MATCH :match" if each else "FROM words_docsize"
                values = {"match": each} if each else {}
                known[each] = connection.execute(text(f"SELECT count(*) {source}"), values).scalar_one()
        return known

    def _telling(self, connection: Connection, wanted: list[str], known: dict[str, int]) -> list[str]:
        """Return the expressions without those that more than half of many passages hold, unless all are like that.

        To BM25 such a word is worth 1e-6 of a rare one, and yet the work is in the passages that hold it.
        """
        total = self._holders(connection, [""], known)[""]
        if total < MANY or len(wanted) == 1:
            return wanted
        held = self._holders(connection, wanted, known)
        return [each for each in wanted if held[each] <= total / 2] or wanted

    def _full(self, connection: Connection, wanted: Sequence[str], known: dict[str, int]) -> float:
        """Return the BM25 of a passage of average length that holds each once, words that none holds included."""
        held = self._holders(connection, ["", *wanted], known)
        return sum(rarity(held[""], held[each]) for each in wanted)


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


def words_of_version(number: int) -> Words:
    """Return the search by words of a collection, see ``Manifest.words``."""
    return {1: PorterWords}[number]()
