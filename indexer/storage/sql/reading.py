"""Read the catalog: statements over one connection, each with the state that its transaction sees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import and_, func, or_, select

from indexer.errors import CorruptError
from indexer.storage.sql.dialect import conditions
from indexer.storage.sql.row_values import file_record, stored_document, stored_passage
from indexer.storage.sql.schema import documents, files, passages, roots, sparse, state
from indexer.storage.storable import storable_path
from indexer.types import Counts, Facets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from indexer.storage.sql.dialect import Dialect
    from indexer.types import FileRecord, Filter, StoredDocument, StoredPassage

PAGE = 200
"""Files, and documents, that are read at a time."""

JOINED = passages.join(documents, documents.c.id == passages.c.document_id)

_PASSAGE_COLUMNS = (
    passages,
    documents.c.path,
    documents.c.kind,
    documents.c.record,
    documents.c.title,
    documents.c.fields,
    documents.c.mtime_ns,
)


def shown(generation: int) -> ColumnElement[bool]:
    """Return the condition that a generation shows a document."""
    return and_(documents.c.born <= generation, or_(documents.c.died.is_(None), documents.c.died > generation))


def wanted_work() -> ColumnElement[bool]:
    """Return the condition that a passage waits for a vector that will be used."""
    return and_(passages.c.embedded == 0, documents.c.died.is_(None), documents.c.outdated == 0)


class CatalogReader:
    """Files, documents and passages as one connection's transaction sees them."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect

    def state(self) -> tuple[int, int]:
        """Return (generation, oldest generation whose rows are all here).

        Raises:
            CorruptError: The table is empty.
        """
        row = self.connection.execute(select(state.c.generation, state.c.oldest)).one_or_none()
        if row is None:
            raise CorruptError("the catalog has lost its state; run `semsearch doctor`")
        return row[0], row[1]

    def counts(self, generation: int) -> Counts:
        """Return the size of what a generation shows, with the files as they are now."""
        run = self.connection.execute
        status = {row[0]: row[1] for row in run(select(files.c.status, func.count()).group_by(files.c.status))}
        # All there are less those not shown: few, and found by index, where counting what is shown reads it all.
        number = run(select(func.count()).select_from(documents)).scalar_one()
        parts = run(select(func.count()).select_from(passages)).scalar_one()
        later = or_(documents.c.born.is_(None), documents.c.born > generation)
        gone = and_(documents.c.died <= generation, documents.c.born <= generation)
        tombstones = 0
        for condition in (later, gone):
            number -= run(select(func.count()).select_from(documents).where(condition)).scalar_one()
            tombstones = run(select(func.count()).select_from(JOINED).where(condition)).scalar_one()
            parts -= tombstones
        pending = run(select(func.count()).select_from(JOINED).where(wanted_work())).scalar_one()
        bare = and_(passages.c.embedded == 0, shown(generation))
        waiting = run(select(func.count()).select_from(JOINED).where(bare)).scalar_one()
        return Counts(
            files=status.get("indexed", 0),
            documents=number,
            passages=parts,
            embedded=parts - waiting,
            pending=pending,
            tombstones=tombstones,
            failed=status.get("failed", 0),
            skipped=status.get("skipped", 0),
        )

    def facets(self, generation: int) -> Facets:
        """Return the kinds and record fields of the documents that a generation shows."""
        alive = shown(generation)
        kinds = select(documents.c.kind, func.count()).where(alive).group_by(documents.c.kind)
        each = self.dialect.field_names()
        names = select(each.c.key, func.count()).select_from(documents.join(each, alive)).group_by(each.c.key)
        return Facets(*({row[0]: row[1] for row in self.connection.execute(query)} for query in (kinds, names)))

    def files(self, status: str | None, after: str | None = None) -> list[FileRecord]:
        """Return a page of files by path, beginning behind the path ``after``."""
        query = select(files).order_by(files.c.path).limit(PAGE * 10)
        if status is not None:
            query = query.where(files.c.status == status)
        if after is not None:
            query = query.where(files.c.path > after)
        return [file_record(dict(row)) for row in self.connection.execute(query).mappings()]

    def roots(self) -> dict[str, dict[str, object]]:
        """Return roots by path with their options."""
        rows = self.connection.execute(select(roots).order_by(roots.c.path))
        return {row.path: json.loads(row.options) for row in rows}

    def get(self, ids: Sequence[int] | np.ndarray, generation: int) -> list[StoredPassage]:
        """Return the shown passages in the order of the ids; unknown ones are left out."""
        rows = self._passages(and_(self.dialect.among(passages.c.id, ids), shown(generation)))
        found = {row["id"]: stored_passage(dict(row)) for row in self.connection.execute(rows).mappings()}
        return [found[int(number)] for number in ids if int(number) in found]

    def _passages(self, condition: ColumnElement[bool]) -> Select[Any]:
        return select(*_PASSAGE_COLUMNS).select_from(JOINED).where(condition)

    def paths(self, generation: int, after: str | None) -> list[str]:
        """Return a page of the paths that have shown documents, behind the path ``after``."""
        query = select(documents.c.path).where(shown(generation)).distinct().order_by(documents.c.path).limit(PAGE)
        if after is not None:
            query = query.where(documents.c.path > after)
        return list(self.connection.execute(query).scalars())

    def documents(self, path: str, generation: int, after: int = -1) -> list[StoredDocument]:
        """Return a page of a file's shown documents as they were staged, from the ``after + 1``-th on."""
        query = (
            select(documents)
            .where(documents.c.path == storable_path(path), shown(generation))
            .order_by(documents.c.position, documents.c.id)
            .limit(PAGE)
            .offset(after + 1)
        )
        rows = self.connection.execute(query).mappings().all()
        parts: dict[int, list[Any]] = {row["id"]: [] for row in rows}
        query = (
            select(passages)
            .where(self.dialect.among(passages.c.document_id, parts))
            .order_by(passages.c.document_id, passages.c.start, passages.c.id)
        )
        for part in self.connection.execute(query).mappings():
            parts[part["document_id"]].append(dict(part))
        return [stored_document(dict(row), parts[row["id"]]) for row in rows]

    def ids(self, query: Select[Any]) -> np.ndarray:
        """Return the ids that a query selects: (n,) int64, ascending."""
        rows = self.connection.execute(query).scalars()
        ids = np.fromiter(rows, np.int64)
        ids.sort()
        return ids

    def live(
        self,
        generation: int,
        wanted: Filter | None = None,
        *,
        among: np.ndarray | None = None,
        limit: int | None = None,
    ) -> np.ndarray:
        """Return (n,) int64, ascending: the passages with a vector that a generation shows and a filter lets through.

        Args:
            generation: The commit to read at.
            wanted: The filter.
            among: Only those of these ids.
            limit: So many, any of them, are enough.
        """
        query = select(passages.c.id).select_from(JOINED).where(shown(generation), conditions(self.dialect, wanted))
        query = query.where(passages.c.embedded.between(1, generation)).limit(limit)
        return self.ids(query if among is None else query.where(self.dialect.among(passages.c.id, among)))

    def last_passage(self) -> int:
        """Return the greatest id of a passage; 0 where there is none."""
        return int(self.connection.execute(select(func.coalesce(func.max(passages.c.id), 0))).scalar_one())

    def with_vector(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (m,) int64, ascending: those of the ids that have a vector."""
        return self.ids(select(passages.c.id).where(self.dialect.among(passages.c.id, ids), passages.c.embedded > 0))

    def changes(self, since: int, until: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the passages whose vectors (came, went) between two generations, int64, ascending."""
        alive = or_(documents.c.died.is_(None), documents.c.died > until)
        vector = passages.c.embedded.between(1, until)
        new = select(passages.c.id).select_from(JOINED).where(documents.c.born.between(since + 1, until), alive, vector)
        late = (
            select(passages.c.id)
            .select_from(JOINED)
            .where(documents.c.born <= since, alive)
            .where(passages.c.embedded.between(since + 1, until), passages.c.embedded > 1)
        )
        went = (
            select(passages.c.id)
            .select_from(JOINED)
            .where(documents.c.died.between(since + 1, until), documents.c.born <= since)
            .where(passages.c.embedded.between(1, since))
        )
        return np.union1d(self.ids(new), self.ids(late)), self.ids(went)

    def embedded(self) -> np.ndarray:
        """Return (n,) int64, ascending: every passage that has a vector, shown or not."""
        return self.ids(select(passages.c.id).where(passages.c.embedded > 0))

    def terms(self, ids: np.ndarray | None = None) -> tuple[np.ndarray, list[bytes]]:
        """Return (ids ascending, packed terms) of those asked for that have any; None asks for all."""
        query = select(sparse.c.id, sparse.c.terms).order_by(sparse.c.id)
        if ids is not None:
            query = query.where(self.dialect.among(sparse.c.id, ids))
        rows = self.connection.execute(query).all()
        return np.array([row[0] for row in rows], np.int64), [row[1] for row in rows]
