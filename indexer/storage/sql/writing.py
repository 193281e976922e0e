"""Write the catalog: changes collect in one transaction until ``publish`` and the commit that follows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, exists, func, insert, literal, or_, select, update

from indexer.storage.sql.reading import JOINED, CatalogReader, wanted_work
from indexer.storage.sql.row_values import (
    Row,
    document_digest,
    document_row,
    file_row,
    layout,
    leads,
    passage_row,
    text_digest,
)
from indexer.storage.sql.schema import documents, files, passages, roots, sparse, state
from indexer.storage.storable import storable_path
from indexer.types import Waiting, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, FromClause, Insert, Select, Table
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
    from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

    from indexer.types import FileRecord, ParsedDocument


@dataclass(frozen=True)
class StagedRows:
    """The outcome of staging one file."""

    passages: int
    kept: int
    """Passages, of documents that have not changed, that have a vector."""
    twins: dict[int, int]
    """Passage that waits → older passage of the same text that has a vector."""
    new: tuple[Row, ...]
    """The rows of the passages that were not there before."""
    titles: dict[int, str]
    """Document that was not there before → its title."""


@dataclass(frozen=True)
class NewIds:
    """Ids that were never used, ascending."""

    documents: Iterator[int]
    passages: Iterator[int]


class CatalogWriter(CatalogReader):
    """The statements of a writer; they see its own uncommitted changes."""

    def set_root(self, path: str, options: Mapping[str, object]) -> None:
        """Remember a root and its options."""
        self._upsert(roots, {"path": storable_path(path), "options": json.dumps(dict(options), sort_keys=True)})

    def drop_root(self, path: str) -> None:
        """Forget a root."""
        self.connection.execute(delete(roots).where(roots.c.path == storable_path(path)))

    def record(self, file: FileRecord) -> bool:
        """Note a file's status; its passages stay as they are. Tell whether documents have another time now."""
        self._note(file)
        if file.status != "indexed":
            return False
        changed = self.connection.execute(
            update(documents)
            .where(documents.c.path == storable_path(file.path), documents.c.died.is_(None))
            .where(documents.c.mtime_ns != file.mtime_ns)
            .values(mtime_ns=file.mtime_ns)
        )
        return bool(changed.rowcount)

    def _note(self, file: FileRecord) -> None:
        self._upsert(files, file_row(file))

    def _upsert(self, table: Table, row: Row) -> None:
        """Insert a row, or put it in the place of the one of the same path."""
        self.connection.execute(_upserting(self.dialect.insert, table, tuple(row)), row)

    def remove(self, paths: Iterable[str]) -> int:
        """Forget files: hidden from the next commit on. Return the number that were known."""
        removed, generation = 0, self.upcoming()
        for path in map(storable_path, paths):
            removed += self.connection.execute(delete(files).where(files.c.path == path)).rowcount
            self._discard(path, generation)
            self.connection.execute(
                update(documents)
                .where(documents.c.path == path, documents.c.died.is_(None))
                .values(died=generation, outdated=0)
            )
        return removed

    def upcoming(self) -> int:
        """Return the generation from which on what is written now counts."""
        return self.state()[0] + 1

    def _discard(self, path: str, generation: int) -> None:
        """End contents that never came to be shown: dead from birth, so that their vectors can still be reused."""
        pending = and_(documents.c.path == path, documents.c.born.is_(None))
        of_pending = passages.c.document_id.in_(select(documents.c.id).where(pending))
        self.connection.execute(delete(passages).where(passages.c.embedded == 0, of_pending))
        self.connection.execute(
            update(documents).where(pending).values(born=generation, died=generation, missing=0, outdated=0)
        )

    def stage(self, file: FileRecord, contents: Sequence[ParsedDocument], ids: NewIds) -> StagedRows:
        """Take in a file's documents, to be shown by ``publish``.

        Args:
            file: Its record.
            contents: Its documents and their passages.
            ids: Those that new documents and passages get.
        """
        path = storable_path(file.path)
        self._note(file)
        old = self._outdate(path)
        total = 0
        same: list[int] = []
        new_documents: list[Row] = []
        new_passages: list[Row] = []
        for position, each in enumerate(contents):
            document, parts = each.document, each.passages
            total += len(parts)
            digest = document_digest(document, parts)
            if old.get(digest):
                same.append(old[digest].pop(0))
                self.connection.execute(
                    update(documents)
                    .where(documents.c.id == same[-1])
                    .values(outdated=0, mtime_ns=file.mtime_ns, position=position, layout=layout(document, parts))
                )
                continue
            new_documents.append(
                document_row(next(ids.documents), position, path, file.mtime_ns, document, digest)
                | {"missing": len(parts), "layout": layout(document, parts)}
            )
            for part, lead in zip(parts, leads(document, parts), strict=True):
                new_passages.append(passage_row(next(ids.passages), new_documents[-1]["id"], part, lead))
        for table, rows in ((documents, new_documents), (passages, new_passages)):
            if rows:
                self.load(table, rows)
        kept = 0
        if same:
            mine = self.dialect.among(passages.c.document_id, same)
            kept = self.connection.execute(select(func.count()).where(mine, passages.c.embedded > 0)).scalar_one()
        twins = self.twins([row["id"] for row in new_passages])
        titles = {row["id"]: row["title"] or "" for row in new_documents}
        return StagedRows(total, kept, twins, tuple(new_passages), titles)

    def _outdate(self, path: str) -> dict[bytes, list[int]]:
        """Mark what a file holds as outdated, and discard what never came to be shown. Return digest → documents."""
        mine = and_(documents.c.path == path, documents.c.died.is_(None))
        query = select(documents.c.id, documents.c.digest, documents.c.born).where(mine).order_by(documents.c.id)
        there = self.connection.execute(query).all()
        old: dict[bytes, list[int]] = {}
        if not there:  # most files are new, and each statement more would be a twelfth of what one costs
            return old
        self._discard(path, self.upcoming())
        self.connection.execute(update(documents).where(mine).values(outdated=1))
        for row in there:
            if row.born is not None:
                old.setdefault(row.digest, []).append(row.id)
        return old

    def load(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert many rows."""
        self.connection.execute(insert(table), rows)

    def twins(self, ids: Sequence[int]) -> dict[int, int]:
        """Return passage → another passage of the same text that has a vector, for those of the ids that have one."""
        if not len(ids):
            return {}
        mine = self.dialect.among(passages.c.id, ids)
        rows = self.connection.execute(_passages_and_twins().where(mine))
        return {row[0]: row[1] for row in rows if row[1] is not None}

    def waiting(self) -> Waiting:
        """Return how many distinct texts wait for a vector, and their tokens."""
        each = (
            select(func.min(passages.c.tokens).label("tokens"))
            .select_from(JOINED)
            .where(wanted_work())
            .group_by(passages.c.digest)
            .subquery()
        )
        row = self.connection.execute(select(func.count(), func.coalesce(func.sum(each.c.tokens), 0))).one()
        return Waiting(int(row[0]), int(row[1]))

    def work(self, n: int, without: set[int]) -> list[Work]:
        """Return at most n texts that wait for a vector, the first passage of each, by id.

        Args:
            n: The most.
            without: Digests of texts that are claimed already.
        """
        found: dict[int, Work] = {}
        after = 0
        while len(found) < n:
            query = (
                select(passages.c.id, passages.c.text, passages.c.tokens, passages.c.digest)
                .select_from(JOINED)
                .where(wanted_work(), passages.c.id > after)
                .order_by(passages.c.id)
                .limit(max(n - len(found), 1000))
            )
            rows = self.connection.execute(query).all()
            if not rows:
                break
            for row in rows:
                if len(found) < n and row.digest not in without:
                    found.setdefault(row.digest, Work(row.id, row.text, row.tokens))
            after = rows[-1].id
        return list(found.values())

    def without_vector(self, texts: Mapping[int, str]) -> dict[int, int]:
        """Return passage without vector → key of its text, for every passage, not dead, of a text that still waits."""
        keys = {value: key for key, value in texts.items()}
        digests = [text_digest(value) for value in keys]
        query = (
            select(passages.c.id, passages.c.text, documents.c.outdated)
            .select_from(JOINED)
            .where(self.dialect.among(passages.c.digest, digests), passages.c.embedded == 0, documents.c.died.is_(None))
        )
        rows = self.connection.execute(query).all()
        wanted = {row.text for row in rows if not row.outdated}
        return {row.id: keys[row.text] for row in rows if row.text in wanted and row.text in keys}

    def mark_embedded(self, ids: Iterable[int]) -> bool:
        """Note that passages have vectors now. Tell whether a document that is shown, or will be, is among theirs."""
        ids = list(ids)
        mine = self.dialect.among(passages.c.id, ids)
        self.count_down(mine)
        self.connection.execute(update(passages).where(mine).values(embedded=self.state()[0] + 1))
        visible = select(literal(1)).select_from(JOINED).where(mine, documents.c.born.isnot(None))
        return bool(self.connection.execute(select(exists(visible.where(documents.c.died.is_(None))))).scalar())

    def count_down(self, mine: ColumnElement[bool]) -> None:
        """Take passages off the number that their documents wait for."""
        count = (
            select(passages.c.document_id, func.count().label("n")).where(mine).group_by(passages.c.document_id).cte()
        )
        self.connection.execute(
            update(documents)
            .where(documents.c.id == count.c.document_id)
            .values(missing=documents.c.missing - count.c.n)
        )

    def lacks_vectors(self, held: FromClause) -> ColumnElement[bool]:
        """Return the condition that some of a document's passages have no vector."""
        return held.c.missing > 0

    def publish(self, vectors_shown: bool) -> tuple[int, bool]:
        """Show what is ready, in a new generation if that changes anything.

        New documents are shown at once; of a changed file, the new ones in place of the old when all have vectors.

        Args:
            vectors_shown: Whether shown passages have got vectors since the last commit.

        Returns:
            (generation, whether it is new). Documents born with it are yet to be put into the search by words.
        """
        generation = self.state()[0] + 1
        held, old = documents.alias("held"), documents.alias("old")
        changing = select(old.c.path).where(old.c.outdated == 1, old.c.died.is_(None))
        alive = and_(held.c.died.is_(None), held.c.outdated == 0, self.lacks_vectors(held))
        incomplete = select(held.c.path).where(alive, held.c.path.in_(changing))
        ready = documents.c.path.not_in(incomplete)
        born = self.connection.execute(
            update(documents).where(documents.c.born.is_(None), ready).values(born=generation)
        ).rowcount
        self.connection.execute(
            update(documents)
            .where(documents.c.outdated == 1, documents.c.died.is_(None), ready)
            .values(died=generation, outdated=0)
        )
        died = self.connection.execute(
            select(exists(select(literal(1)).where(documents.c.died == generation, documents.c.born < generation)))
        ).scalar()
        if not (born or died or vectors_shown):
            return generation - 1, False
        self.connection.execute(update(state).values(generation=generation))
        return generation, True

    def forget_dead(self) -> None:
        """Delete what the newest generation does not show; they must have left the search by words before."""
        generation = self.state()[0]
        never_shown = documents.c.born == documents.c.died
        self.connection.execute(delete(documents).where(or_(documents.c.died <= generation, never_shown)))
        self.connection.execute(update(state).values(oldest=state.c.generation))

    def lose(self, ids: Iterable[int]) -> int:
        """Note that passages have no vectors any more: they wait again. Return the number of their documents."""
        generation, mine = self.state()[0] + 1, self.dialect.among(passages.c.id, ids)
        theirs = select(passages.c.document_id).where(mine)
        query = select(func.count()).select_from(documents)
        lost = self.connection.execute(query.where(documents.c.id.in_(theirs), documents.c.died.is_(None))).scalar_one()
        self.connection.execute(delete(sparse).where(self.dialect.among(sparse.c.id, ids)))
        self.connection.execute(update(passages).where(mine).values(embedded=0))
        missing = (
            select(func.count())
            .select_from(passages)
            .where(passages.c.document_id == documents.c.id, passages.c.embedded == 0)
            .scalar_subquery()
        )
        self.connection.execute(update(documents).where(documents.c.id.in_(theirs)).values(missing=missing))
        self.connection.execute(update(state).values(generation=generation, oldest=generation))
        return int(lost)


@cache
def _upserting(
    insert_into: Callable[[Table], PostgresInsert | SqliteInsert], table: Table, columns: tuple[str, ...]
) -> Insert:
    """Return the statement, made once, that puts a row in the place of the one of the same path."""
    statement = insert_into(table)
    return statement.on_conflict_do_update(
        index_elements=[table.c.path], set_={name: statement.excluded[name] for name in columns}
    )


@cache
def _passages_and_twins() -> Select[Any]:
    """Return the query, made once, for each passage and another of the same text that has a vector."""
    older = passages.alias("older")
    twin = (
        select(older.c.id)
        .where(older.c.digest == passages.c.digest, older.c.embedded > 0, older.c.text == passages.c.text)
        .limit(1)
        .scalar_subquery()
    )
    return select(passages.c.id, twin)
