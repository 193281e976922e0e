"""Files, documents, passages and words in SQLite, through SQLAlchemy."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from indexer.errors import CorruptError, FormatError, LockedError, StoreError
from indexer.storage import schema
from indexer.storage.filters import matches_path, nanoseconds
from indexer.storage.shards import Shard
from indexer.types import Counts, Document, FileRecord, Filter, Neighbours, Passage, StoredPassage

NAME = "catalog.sqlite"
MOST_WORDS = 256
"""Distinct words of one query that are looked up; a whole page pasted in does not need more."""

_LIVE = "d.born <= :g AND (d.died IS NULL OR d.died > :g)"


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLAlchemy's errors as ours."""
    try:
        yield
    except DatabaseError as error:
        reason = str(error.orig)
        if "locked" in reason or "busy" in reason:
            raise LockedError(f"{path} is locked by another program ({reason}); try again when it has ended") from error
        if "full" in reason or "disk I/O" in reason or "readonly" in reason or "unable to open" in reason:
            raise StoreError(f"cannot use {path}: {reason}; look at free space and permissions") from error
        raise CorruptError(f"{path} is damaged: {reason}; run `semsearch doctor`") from error
    except SQLAlchemyError as error:
        raise StoreError(f"{path}: {error}") from error


def printable(path: str) -> str:
    """The path as it is stored: bytes that are no UTF-8 (lone surrogates) written as ``\\xNN``."""
    return re.sub(r"[\ud800-\udfff]", lambda m: f"\\x{ord(m[0]) & 0xFF:02x}", path)


def storable(value: str) -> str:
    """Text without lone surrogates, which no UTF-8 holds; the length stays, so that offsets still hold."""
    return re.sub(r"[\ud800-\udfff]", "\ufffd", value)


def text_digest(value: str) -> int:
    """A signed 64-bit hash of a text."""
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little", signed=True)


def words_of(query: str) -> list[str]:
    """The distinct words of a query, in order, at most MOST_WORDS."""
    return list(dict.fromkeys(re.findall(r"\w+", storable(query).replace("\0", " ").lower())))[:MOST_WORDS]


def _numbers(ids: Iterable[int] | np.ndarray) -> str:
    """Ids as the JSON that ``json_each`` turns into a table: any number of them, as one parameter."""
    return json.dumps(ids.tolist() if isinstance(ids, np.ndarray) else list(ids))


class SqlCatalog:
    """One catalog.sqlite. A writable one works in one transaction from ``begin`` to ``commit`` or ``rollback``."""

    def __init__(self, path: Path, writable: bool):
        self.path = path
        self._writable = writable
        self._engine = _engine(path, writable)
        self._connection: Connection | None = None  # the writer's
        self._lock = threading.RLock()  # one writer connection may be asked by several threads

    @classmethod
    def create(cls, path: Path) -> SqlCatalog:
        """A new catalog with the newest tables. It is whole or absent, whenever the process dies."""
        from indexer.storage.migrations import upgrade

        catalog = cls(path, writable=True)
        with translated(path), catalog._writing() as connection:
            upgrade(connection)
        catalog.commit()
        return catalog

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection in a transaction: several statements see one state."""
        with translated(self.path):
            if self._writable:
                with self._lock:
                    yield self._writer()
            else:
                with self._engine.connect() as connection, connection.begin():
                    yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """The writer's connection; a failure undoes this step alone."""
        with self._lock, translated(self.path), self._writer().begin_nested():
            yield self._writer()

    def _writer(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        if not self._connection.in_transaction():
            self._connection.begin()
        return self._connection

    def rollback(self) -> None:
        with self._lock, translated(self.path):
            if self._connection is not None:
                self._connection.rollback()

    def flush(self) -> None:
        """Make what was written durable, without publishing anything."""
        with self._lock, translated(self.path):
            if self._connection is not None:
                self._connection.commit()

    def revision(self) -> str | None:
        """The migration that the tables are at. Raises FormatError for one of a newer version."""
        with self._reading() as connection:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()

    # Reading

    def state(self) -> tuple[int, int]:
        """(generation, oldest generation that can still be read)."""
        with self._reading() as connection:
            row = connection.execute(text("SELECT generation, oldest FROM state")).one_or_none()
        if row is None:
            raise CorruptError(f"{self.path} has lost its state; run `semsearch doctor`")
        return row[0], row[1]

    def counts(self, generation: int) -> Counts:
        with self._reading() as connection:
            status = dict(connection.execute(text("SELECT status, count(*) FROM files GROUP BY status")).tuples().all())
            documents, passages = connection.execute(
                text(
                    f"SELECT count(DISTINCT d.id), count(p.id) FROM documents d "
                    f"LEFT JOIN passages p ON p.document_id = d.id WHERE {_LIVE}"
                ),
                {"g": generation},
            ).one()
            pending = connection.execute(text("SELECT count(*) FROM passages WHERE embedded = 0")).scalar_one()
            tombstones = connection.execute(
                text(
                    "SELECT count(*) FROM documents d JOIN passages p ON p.document_id = d.id "
                    "WHERE d.died IS NOT NULL AND d.died <= :g"
                ),
                {"g": generation},
            ).scalar_one()
        return Counts(
            files=status.get("indexed", 0),
            documents=documents,
            passages=passages,
            pending=pending,
            tombstones=tombstones,
            failed=status.get("failed", 0),
            skipped=status.get("skipped", 0),
        )

    def files(self, status: str | None = None) -> Iterator[FileRecord]:
        """By path. Every file known, also failed and skipped ones."""
        with self._reading() as connection:
            rows = connection.execute(
                text(
                    "SELECT path, root, size, mtime_ns, digest, status, reason FROM files "
                    "WHERE :status IS NULL OR status = :status ORDER BY path"
                ),
                {"status": status},
            ).all()
        for row in rows:
            yield FileRecord(*row)

    def roots(self) -> dict[str, dict[str, object]]:
        with self._reading() as connection:
            rows = connection.execute(text("SELECT path, options FROM roots ORDER BY path")).all()
        return {path: json.loads(options) for path, options in rows}

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredPassage]:
        """In the order of the ids; unknown ones are left out."""
        with self._reading() as connection:
            rows = connection.execute(text(f"{_STORED} WHERE p.id IN (SELECT value FROM json_each(:ids))"),
                                      {"ids": _numbers(ids)}).all()
        found = {row[0]: _stored(row) for row in rows}
        return [found[int(number)] for number in ids if int(number) in found]

    def passages(self, generation: int, path: str | None = None) -> Iterator[StoredPassage]:
        """Everything that the generation shows, in order of id; of one file where a path is given."""
        after = -1
        while True:
            with self._reading() as connection:
                rows = connection.execute(
                    text(
                        f"{_STORED} WHERE p.id > :after AND {_LIVE} AND (:path IS NULL OR d.path = :path) "
                        "ORDER BY p.id LIMIT 2000"
                    ),
                    {"after": after, "g": generation, "path": None if path is None else printable(path)},
                ).all()
            yield from map(_stored, rows)
            if len(rows) < 2000:
                return
            after = rows[-1][0]

    def live(self, generation: int, filter: Filter | None = None) -> np.ndarray:
        """(n,) int64, ascending: the passages that the generation shows and the filter lets through."""
        where, values = _conditions(filter)
        return self._ids(
            f"SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id WHERE {_LIVE}{where}",
            {"g": generation, **values},
        )

    def changes(self, since: int, until: int) -> tuple[np.ndarray, np.ndarray]:
        """Passages (added, removed) between two generations, int64, ascending."""
        values = {"a": since, "b": until}
        added = self._ids(
            "SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id "
            "WHERE d.born > :a AND d.born <= :b AND (d.died IS NULL OR d.died > :b)",
            values,
        )
        removed = self._ids(
            "SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id "
            "WHERE d.died > :a AND d.died <= :b AND d.born <= :a",
            values,
        )
        return added, removed

    def _ids(self, query: str, values: Mapping[str, object]) -> np.ndarray:
        with self._reading() as connection:
            rows = connection.execute(text(query), values)
            ids = np.fromiter((row[0] for row in rows.cursor), np.int64)  # the driver's own rows: a million a second
        ids.sort()
        return ids

    def search_text(self, query: str, k: int, generation: int, filter: Filter | None = None) -> Neighbours:
        """(1, k): the best passages by BM25 with any of the query's words; a title's words count twice."""
        words = words_of(query)
        rows: Sequence[tuple[int, float]] = []
        if words:
            where, values = _conditions(filter)
            values |= {"match": " OR ".join(f'"{word}"' for word in words), "g": generation}
            rows = self._best_words(where, values, k)
        ids = np.full((1, k), -1, np.int64)
        scores = np.full((1, k), -np.inf, np.float32)
        ids[0, : len(rows)] = [row[0] for row in rows]
        scores[0, : len(rows)] = [-row[1] for row in rows]
        return Neighbours(ids, scores)

    def _best_words(self, where: str, values: dict[str, object], k: int) -> Sequence[tuple[int, float]]:
        with self._reading() as connection:
            return connection.execute(
                text(
                    "SELECT w.rowid, bm25(words, 2.0, 1.0) AS score FROM words w "
                    "JOIN passages p ON p.id = w.rowid JOIN documents d ON d.id = p.document_id "
                    f"WHERE words MATCH :match AND {_LIVE}{where} ORDER BY score, w.rowid LIMIT :k"
                ),
                {**values, "k": k},
            ).all()

    # Vectors: which are where

    def shards(self) -> list[Shard]:
        with self._reading() as connection:
            rows = connection.execute(text("SELECT name, rows, size, mtime_ns, sha256 FROM shards ORDER BY name")).all()
        return [Shard(*row) for row in rows]

    def staged(self, ids: np.ndarray | None = None) -> tuple[np.ndarray, list[bytes]]:
        """(ids ascending, vectors as bytes) of those asked for that are in no shard yet; None asks for all."""
        query, values = "SELECT id, vector FROM staged ORDER BY id", {}
        if ids is not None:
            query = "SELECT id, vector FROM staged WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id"
            values = {"ids": _numbers(ids)}
        with self._reading() as connection:
            rows = connection.execute(text(query), values).all()
        return np.array([row[0] for row in rows], np.int64), [row[1] for row in rows]

    def staged_count(self) -> int:
        with self._reading() as connection:
            return connection.execute(text("SELECT count(*) FROM staged")).scalar_one()

    def register(self, add: Sequence[Shard], drop: Sequence[str], sealed: np.ndarray) -> None:
        """Shards in place of others, and of the staged vectors ``sealed`` (ids)."""
        with self._writing() as connection:
            for name in drop:
                connection.execute(text("DELETE FROM shards WHERE name = :name"), {"name": name})
            for shard in add:
                connection.execute(
                    text("INSERT INTO shards VALUES (:name, :rows, :size, :mtime_ns, :sha256)"), vars(shard)
                )
            connection.execute(
                text("DELETE FROM staged WHERE id IN (SELECT value FROM json_each(:ids))"), {"ids": _numbers(sealed)}
            )

    # Writing

    def set_root(self, path: str, options: Mapping[str, object]) -> None:
        with self._writing() as connection:
            connection.execute(
                text("INSERT INTO roots VALUES (:p, :o) ON CONFLICT (path) DO UPDATE SET options = excluded.options"),
                {"p": printable(path), "o": json.dumps(dict(options), sort_keys=True)},
            )

    def drop_root(self, path: str) -> None:
        with self._writing() as connection:
            connection.execute(text("DELETE FROM roots WHERE path = :p"), {"p": printable(path)})

    def record(self, file: FileRecord) -> None:
        """Note a file's status; its passages stay as they are."""
        path = printable(file.path)
        with self._writing() as connection:
            _note(connection, file)
            if file.status == "indexed":
                connection.execute(
                    text("UPDATE documents SET mtime_ns = :m WHERE path = :p AND died IS NULL AND mtime_ns <> :m"),
                    {"m": file.mtime_ns, "p": path},
                )

    def remove(self, paths: Iterable[str]) -> int:
        """Forget files: hidden from the next commit on. The number that were known."""
        removed = 0
        with self._writing() as connection:
            generation = self.state()[0] + 1
            for path in map(printable, paths):
                removed += connection.execute(text("DELETE FROM files WHERE path = :p"), {"p": path}).rowcount
                connection.execute(text("DELETE FROM documents WHERE path = :p AND born IS NULL"), {"p": path})
                connection.execute(
                    text("UPDATE documents SET died = :g, outdated = 0 WHERE path = :p AND died IS NULL"),
                    {"p": path, "g": generation},
                )
        return removed

    def stage(
        self, file: FileRecord, contents: Iterable[tuple[Document, Sequence[Passage]]]
    ) -> tuple[int, int, dict[int, int]]:
        """Take in a file's documents, to be shown once all their passages have vectors.

        (passages of the file, of these in documents that have not changed, {new id: older id of the same text that
        has a vector}). Whatever ``contents`` raises undoes this file alone."""
        path = printable(file.path)
        total = kept = 0
        with self._writing() as connection:
            _note(connection, file)
            connection.execute(text("DELETE FROM documents WHERE path = :p AND born IS NULL"), {"p": path})
            connection.execute(
                text("UPDATE documents SET outdated = 1 WHERE path = :p AND died IS NULL"), {"p": path}
            )
            old: dict[bytes, list[int]] = {}
            for number, digest in connection.execute(
                text("SELECT id, digest FROM documents WHERE path = :p AND died IS NULL"), {"p": path}
            ):
                old.setdefault(digest, []).append(number)
            counters = dict(connection.execute(text("SELECT name, seq FROM sqlite_sequence")).tuples().all())
            document_id, passage_id = counters.get("documents", 0), counters.get("passages", 0)
            first = passage_id + 1
            documents: list[dict[str, object]] = []
            passages: list[dict[str, object]] = []
            same: list[int] = []
            for document, parts in contents:
                total += len(parts)
                digest = _digest(document, parts)
                if old.get(digest):
                    same.append(old[digest].pop())
                    kept += len(parts)
                    continue
                document_id += 1
                documents.append(_document_row(document_id, path, file.mtime_ns, document, digest, len(parts)))
                for part in parts:
                    passage_id += 1
                    passages.append(_passage_row(passage_id, document_id, part))
                if len(passages) >= 5000:
                    _insert(connection, documents, passages)
            _insert(connection, documents, passages)
            connection.execute(
                text(
                    "UPDATE documents SET outdated = 0, mtime_ns = :m "
                    "WHERE id IN (SELECT value FROM json_each(:ids))"
                ),
                {"ids": _numbers(same), "m": file.mtime_ns},
            )
            twins = connection.execute(
                text(
                    "SELECT n.id, (SELECT o.id FROM passages o WHERE o.digest = n.digest AND o.embedded = 1 "
                    "AND o.text = n.text LIMIT 1) AS twin FROM passages n WHERE n.id >= :first AND twin IS NOT NULL"
                ),
                {"first": first},
            ).tuples().all()
        return total, kept, dict(twins)

    def unembedded(self, limit: int) -> list[tuple[int, str]]:
        """The first passage of each distinct text that waits for a vector, oldest first."""
        found: dict[str, int] = {}
        after = 0
        with self._reading() as connection:
            while len(found) < limit:
                rows = connection.execute(
                    text("SELECT id, text FROM passages WHERE embedded = 0 AND id > :after ORDER BY id LIMIT :n"),
                    {"after": after, "n": max(limit - len(found), 1000)},
                ).all()
                if not rows:
                    break
                for number, value in rows:
                    if len(found) < limit:
                        found.setdefault(value, number)
                after = rows[-1][0]
        return [(number, value) for value, number in found.items()]

    def unembedded_count(self) -> tuple[int, int]:
        """(distinct texts that wait for a vector, their tokens)."""
        with self._reading() as connection:
            count, tokens = connection.execute(
                text(
                    "SELECT count(*), coalesce(sum(tokens), 0) FROM "
                    "(SELECT tokens FROM passages WHERE embedded = 0 GROUP BY digest, text)"
                )
            ).one()
        return count, tokens

    def embed(self, vectors: Mapping[int, bytes], twins: bool = True) -> None:
        """Give passages their vectors; with ``twins`` every waiting passage of the same text gets it too."""
        rows = [{"id": number, "vector": vector} for number, vector in vectors.items()]
        if not rows:
            return
        with self._writing() as connection:
            if twins:
                others = connection.execute(
                    text(
                        "SELECT n.id, o.id FROM passages o JOIN passages n ON n.digest = o.digest AND n.text = o.text "
                        "WHERE o.id IN (SELECT value FROM json_each(:ids)) AND n.embedded = 0 AND n.id <> o.id"
                    ),
                    {"ids": _numbers(vectors)},
                ).all()
                rows += [{"id": n, "vector": vectors[o]} for n, o in others if n not in vectors]
            ids = _numbers(row["id"] for row in rows)
            waiting = "id IN (SELECT value FROM json_each(:ids)) AND embedded = 0"
            known = set(connection.execute(text(f"SELECT id FROM passages WHERE {waiting}"), {"ids": ids}).scalars())
            rows = [row for row in rows if row["id"] in known]
            if not rows:
                return
            ids = _numbers(known)
            connection.execute(text("INSERT INTO staged VALUES (:id, :vector)"), rows)
            connection.execute(
                text(
                    "UPDATE documents SET missing = missing - n FROM (SELECT document_id, count(*) AS n FROM passages "
                    f"WHERE {waiting} GROUP BY document_id) WHERE documents.id = document_id"
                ),
                {"ids": ids},
            )
            connection.execute(text(f"UPDATE passages SET embedded = 1 WHERE {waiting}"), {"ids": ids})

    def commit(self) -> int:
        """Publish what is complete and make it all durable, in one step. The generation that results."""
        with self._writing() as connection:
            generation = self.state()[0] + 1
            values = {"g": generation}
            # A changed file is held back until the last of its new documents is complete; a new file need not wait.
            connection.execute(
                text(
                    "UPDATE documents SET born = :g WHERE born IS NULL AND missing = 0 AND path NOT IN ("
                    "SELECT path FROM documents WHERE born IS NULL AND missing > 0 AND path IN ("
                    "SELECT path FROM documents WHERE outdated = 1 AND died IS NULL))"
                ),
                values,
            )
            connection.execute(
                text(
                    "UPDATE documents SET died = :g, outdated = 0 WHERE outdated = 1 AND died IS NULL "
                    "AND path NOT IN (SELECT path FROM documents WHERE born IS NULL)"
                ),
                values,
            )
            connection.execute(
                text(
                    "INSERT INTO words (rowid, title, text) SELECT p.id, coalesce(d.title, ''), p.text "
                    "FROM documents d JOIN passages p ON p.document_id = d.id WHERE d.born = :g"
                ),
                values,
            )
            connection.execute(
                text(
                    "UPDATE state SET generation = :g WHERE EXISTS (SELECT 1 FROM documents WHERE born = :g) "
                    "OR EXISTS (SELECT 1 FROM documents WHERE died = :g)"
                ),
                values,
            )
        self.flush()
        return self.state()[0]

    def forget_dead(self) -> None:
        """Delete what no search of the present generation shows; older generations can no longer be read."""
        with self._writing() as connection:
            generation = self.state()[0]
            dead = "SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id WHERE d.died <= :g"
            connection.execute(
                text(
                    "INSERT INTO words (words, rowid, title, text) "
                    f"SELECT 'delete', id, title, text FROM words_content WHERE id IN ({dead})"
                ),
                {"g": generation},
            )
            connection.execute(text("DELETE FROM documents WHERE died <= :g"), {"g": generation})
            connection.execute(text("UPDATE state SET oldest = generation"))


_STORED = (
    'SELECT p.id, p.text, p.start, p."end", p.line_start, p.line_end, p.tokens, p.page, '
    "d.path, d.kind, d.record, d.title, d.fields, d.mtime_ns FROM passages p JOIN documents d ON d.id = p.document_id"
)


def _stored(row: Sequence) -> StoredPassage:
    number, value, start, end, line_start, line_end, tokens, page, path, kind, record, title, fields, mtime_ns = row
    passage = Passage(value, start, end, line_start, line_end, tokens, page)
    return StoredPassage(number, passage, path, kind, record, title, json.loads(fields), mtime_ns)


def _note(connection: Connection, file: FileRecord) -> None:
    connection.execute(
        text("INSERT OR REPLACE INTO files VALUES (:path, :root, :size, :mtime_ns, :digest, :status, :reason)"),
        {
            **vars(file),
            "path": printable(file.path),
            "root": printable(file.root),
            "reason": None if file.reason is None else storable(file.reason),
        },
    )


def _digest(document: Document, parts: Sequence[Passage]) -> bytes:
    """Of all that is stored of a document but its place in the catalog and its file's times."""
    content = [
        document.kind,
        document.record,
        document.title,
        sorted(document.fields.items()),
        [(p.text, p.start, p.end, p.line_start, p.line_end, p.tokens, p.page) for p in parts],
    ]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).digest()


def _document_row(
    number: int, path: str, mtime_ns: int, document: Document, digest: bytes, missing: int
) -> dict[str, object]:
    return {
        "id": number,
        "path": path,
        "record": None if document.record is None else storable(document.record),
        "kind": document.kind,
        "title": None if document.title is None else storable(document.title),
        "fields": json.dumps({storable(k): storable(v) for k, v in document.fields.items()}, ensure_ascii=False),
        "mtime_ns": mtime_ns,
        "digest": digest,
        "missing": missing,
    }


def _passage_row(number: int, document_id: int, part: Passage) -> dict[str, object]:
    value = storable(part.text)
    return {
        "id": number,
        "document_id": document_id,
        "text": value,
        "digest": text_digest(value),
        "start": part.start,
        "end": part.end,
        "line_start": part.line_start,
        "line_end": part.line_end,
        "tokens": part.tokens,
        "page": part.page,
    }


def _insert(connection: Connection, documents: list[dict[str, object]], passages: list[dict[str, object]]) -> None:
    """Write the rows and empty the lists."""
    if documents:
        connection.execute(
            text(
                "INSERT INTO documents (id, path, record, kind, title, fields, mtime_ns, digest, missing) "
                "VALUES (:id, :path, :record, :kind, :title, :fields, :mtime_ns, :digest, :missing)"
            ),
            documents,
        )
    if passages:
        connection.execute(
            text(
                "INSERT INTO passages VALUES (:id, :document_id, :text, :digest, :start, :end, :line_start, "
                ":line_end, :tokens, :page, 0)"
            ),
            passages,
        )
    documents.clear()
    passages.clear()


def _conditions(filter: Filter | None) -> tuple[str, dict[str, object]]:
    """A filter as SQL conditions on ``d``, each beginning with AND, and their values."""
    parts: list[str] = []
    values: dict[str, object] = {}
    if filter is None:
        return "", values
    if filter.paths:
        parts.append(
            "d.path IN (SELECT path FROM (SELECT DISTINCT path FROM documents) WHERE matches_path(:paths, path))"
        )
        values["paths"] = json.dumps(filter.paths)
    if filter.kinds:
        options = []
        for number, kind in enumerate(filter.kinds):
            name = kind.lower().lstrip(".")
            values[f"kind{number}"] = name
            values[f"ending{number}"] = "%." + re.sub(r"([%_\\])", r"\\\1", name)
            options.append(f"d.kind = :kind{number} OR lower(d.path) LIKE :ending{number} ESCAPE '\\'")
        parts.append(" OR ".join(options))
    if filter.since is not None:
        parts.append("d.mtime_ns >= :since")
        values["since"] = nanoseconds(filter.since)
    if filter.until is not None:
        parts.append("d.mtime_ns < :until")
        values["until"] = nanoseconds(filter.until)
    wanted: dict[str, list[str]] = {}
    for name, value in filter.fields:
        wanted.setdefault(name, []).append(value)
    for number, (name, options) in enumerate(wanted.items()):
        parts.append(
            f"EXISTS (SELECT 1 FROM json_each(d.fields) WHERE key = :name{number} "
            f"AND value IN (SELECT value FROM json_each(:options{number})))"
        )
        values[f"name{number}"] = name
        values[f"options{number}"] = json.dumps(options)
    return "".join(f" AND ({part})" for part in parts), values


def _engine(path: Path, writable: bool) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 30})

    @event.listens_for(engine, "connect")
    def connect(connection, _record) -> None:
        connection.isolation_level = None  # transactions are ours to begin, not the driver's
        connection.create_function(
            "matches_path", 2, lambda globs, name: matches_path(tuple(json.loads(globs)), name), deterministic=True
        )
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL", "busy_timeout = 30000"):
            connection.execute(f"PRAGMA {pragma}")
        if not writable:
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writable else "BEGIN")

    return engine


def check_revision(found: str | None, path: Path) -> bool:
    """Whether the tables need to be migrated. Raises FormatError where a newer version has been at them."""
    if found is None or found > schema.HEAD:
        raise FormatError(
            f"{path} is at migration {found}, this version of semsearch knows up to {schema.HEAD}: "
            "install a newer semsearch"
        )
    return found != schema.HEAD
