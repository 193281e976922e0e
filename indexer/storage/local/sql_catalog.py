"""Files, documents, passages and words in SQLite, through SQLAlchemy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from indexer.errors import CorruptError
from indexer.storage.local.database import Database, run
from indexer.storage.filters import conditions
from indexer.storage.local.rows import (
    STORED,
    document_digest,
    document_row,
    file_row,
    match_of,
    passage_row,
    printable,
    rarity,
    stored,
    words_of,
)
from indexer.storage.local.shards import Shard
from indexer.types import Counts, Document, FileRecord, Filter, Neighbours, Passage, StoredPassage

NAME = "catalog.sqlite"
MANY = 20_000
"""Passages from which on a search by words leaves out those that are everywhere."""
HELD = 100_000
"""Words whose counts are remembered."""
_LIVE = "d.born <= :g AND (d.died IS NULL OR d.died > :g)"


def id_list(ids: Iterable[int] | np.ndarray) -> str:
    """Ids as the JSON that ``json_each`` turns into a table: any number of them, as one parameter."""
    return json.dumps(ids.tolist() if isinstance(ids, np.ndarray) else [int(number) for number in ids])


class SqlCatalog(Database):
    """The Catalog in one catalog.sqlite, which also knows where each vector is."""

    def __init__(self, path: Path, writable: bool):
        super().__init__(path, writable)
        self._held: tuple[int, dict[str, int]] = (-1, {})

    # Reading, see Catalog

    def state(self) -> tuple[int, int]:
        """(generation, oldest generation that can still be read)."""
        with self.reading() as connection:
            row = run(connection, "SELECT generation, oldest FROM state").one_or_none()
        if row is None:
            raise CorruptError(f"{self.path} has lost its state; run `semsearch doctor`")
        return row[0], row[1]

    def counts(self, generation: int) -> Counts:
        with self.reading() as connection:
            status = dict(run(connection, "SELECT status, count(*) FROM files GROUP BY status").all())
            # All there are less those not shown: few, and found by index, where counting what is shown reads it all.
            later, gone = "(d.born IS NULL OR d.born > :g)", "d.died <= :g AND d.born <= :g"
            documents = run(connection, "SELECT count(*) FROM documents").scalar_one()
            passages = run(connection, "SELECT count(*) FROM passages").scalar_one()
            for condition in (later, gone):
                less = run(connection, f"SELECT count(*) FROM documents d WHERE {condition}", {"g": generation})
                documents -= less.scalar_one()
                less = run(
                    connection,
                    f"SELECT count(*) FROM documents d JOIN passages p ON p.document_id = d.id WHERE {condition}",
                    {"g": generation},
                )
                tombstones = less.scalar_one()  # the last: those gone
                passages -= tombstones
            pending = run(connection, "SELECT count(*) FROM passages WHERE embedded = 0").scalar_one()
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
        with self.reading() as connection:
            rows = run(
                connection,
                "SELECT path, root, size, mtime_ns, digest, status, reason FROM files "
                "WHERE :status IS NULL OR status = :status ORDER BY path",
                {"status": status},
            ).all()
        for row in rows:
            yield FileRecord(*row)

    def roots(self) -> dict[str, dict[str, object]]:
        with self.reading() as connection:
            rows = run(connection, "SELECT path, options FROM roots ORDER BY path").all()
        return {path: json.loads(options) for path, options in rows}

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredPassage]:
        """In the order of the ids; unknown ones are left out."""
        with self.reading() as connection:
            rows = run(
                connection, f"{STORED} WHERE p.id IN (SELECT value FROM json_each(:ids))", {"ids": id_list(ids)}
            ).all()
        found = {row[0]: stored(row) for row in rows}
        return [found[int(number)] for number in ids if int(number) in found]

    def passages(self, generation: int, path: str | None = None) -> Iterator[StoredPassage]:
        values = {"after": -1, "g": generation} | ({} if path is None else {"path": printable(path)})
        one = "" if path is None else "AND d.path = :path "
        query = f"{STORED} WHERE p.id > :after AND {_LIVE} {one}ORDER BY p.id LIMIT 1000"
        with self.reading() as connection:  # one transaction to the end, so that no compaction comes in between
            while rows := run(connection, query, values).all():
                yield from map(stored, rows)
                values["after"] = rows[-1][0]

    def live(self, generation: int, filter: Filter | None = None) -> np.ndarray:
        """(n,) int64, ascending: the passages that the generation shows and the filter lets through."""
        where, values = conditions(filter)
        return self.ids(
            f"SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id WHERE {_LIVE}{where}",
            {"g": generation, **values},
        )

    def changes(self, since: int, until: int) -> tuple[np.ndarray, np.ndarray]:
        """Passages (added, removed) between two generations, int64, ascending."""
        values = {"a": since, "b": until}
        added = self.ids(
            "SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id "
            "WHERE d.born > :a AND d.born <= :b AND (d.died IS NULL OR d.died > :b)",
            values,
        )
        removed = self.ids(
            "SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id "
            "WHERE d.died > :a AND d.died <= :b AND d.born <= :a",
            values,
        )
        return added, removed

    def ids(self, query: str, values: Mapping[str, object]) -> np.ndarray:
        with self.reading() as connection:
            rows = run(connection, query, values)
            ids = np.fromiter((row[0] for row in rows.cursor), np.int64)  # the driver's own rows: a million a second
        ids.sort()
        return ids

    def search_text(self, query: str, k: int, generation: int, filter: Filter | None = None) -> Neighbours:
        """(1, k): the best passages by BM25 with any of the query's words; a title's words count twice, and a word of
        the query as often as it stands there."""
        words = words_of(query, repeated=True)
        rows: Sequence[tuple[int, float]] = []
        if words:
            with self.reading() as connection:
                match = " OR ".join(match_of(word) for word in self._telling(connection, words, generation))
                rows = _best_words(connection, match, k, generation, filter)
        ids = np.full((1, k), -1, np.int64)
        scores = np.full((1, k), -np.inf, np.float32)
        ids[0, : len(rows)] = [row[0] for row in rows]
        scores[0, : len(rows)] = [-row[1] for row in rows]
        return Neighbours(ids, scores)

    def text_scale(self, query: str, generation: int) -> float:
        """The BM25 of a passage of average length that holds each of the query's words once. It counts the words that
        no passage holds, too, so that a score divided by it says how much of the query a passage holds."""
        with self.reading() as connection:
            held = self._holders(connection, words_of(query), generation)
            passages = self._holders(connection, [""], generation)[""]
        return sum(rarity(passages, held[word]) for word in words_of(query, repeated=True))

    def _telling(self, connection: Connection, words: list[str], generation: int) -> list[str]:
        """The words without those that more than half of many passages hold, unless all are like that.

        To BM25 such a word is worth 1e-6 of a rare one, and yet the work is in the passages that hold it."""
        passages = self._holders(connection, [""], generation)[""]
        if passages < MANY or len(words) == 1:
            return words
        held = self._holders(connection, words, generation)
        return [word for word in words if held[word] <= passages / 2] or words

    def _holders(self, connection: Connection, words: Iterable[str], generation: int) -> Mapping[str, int]:
        """How many passages hold each word, and more; "" is held by all. Counted once a generation."""
        if self._held[0] != generation or len(self._held[1]) > HELD:
            self._held = generation, {}
        held = self._held[1]
        for word in dict.fromkeys(words):
            if word not in held:
                count = "FROM words WHERE words MATCH :match" if word else "FROM words_docsize"
                held[word] = run(connection, f"SELECT count(*) {count}", {"match": match_of(word)}).scalar_one()
        return held

    # Sparse vectors

    def terms(self, ids: np.ndarray | None = None) -> tuple[np.ndarray, list[bytes]]:
        """(ids ascending, packed terms) of those asked for that have any; None asks for all."""
        where = "" if ids is None else "WHERE id IN (SELECT value FROM json_each(:ids))"
        with self.reading() as connection:
            rows = run(
                connection,
                f"SELECT id, terms FROM sparse {where} ORDER BY id",
                {} if ids is None else {"ids": id_list(ids)},
            ).cursor.fetchall()
        return np.array([row[0] for row in rows], np.int64), [row[1] for row in rows]

    def terms_size(self) -> int:
        """Bytes."""
        with self.reading() as connection:
            return run(connection, "SELECT coalesce(sum(length(terms)), 0) FROM sparse").scalar_one()

    # Vectors: which are where

    def shards(self) -> list[Shard]:
        with self.reading() as connection:
            rows = run(connection, "SELECT name, rows, size, mtime_ns, sha256 FROM shards ORDER BY name").all()
        return [Shard(*row) for row in rows]

    def staged(self, ids: np.ndarray | None = None, limit: int = -1) -> tuple[np.ndarray, list[bytes]]:
        """(ids ascending, vectors as bytes) of those asked for that are in no shard yet; None asks for the first."""
        where = "" if ids is None else "WHERE id IN (SELECT value FROM json_each(:ids))"
        values = {"limit": limit} if ids is None else {"limit": limit, "ids": id_list(ids)}
        with self.reading() as connection:
            rows = run(connection, f"SELECT id, vector FROM staged {where} ORDER BY id LIMIT :limit", values).all()
        return np.array([row[0] for row in rows], np.int64), [row[1] for row in rows]

    def staged_count(self) -> int:
        with self.reading() as connection:
            return run(connection, "SELECT count(*) FROM staged").scalar_one()

    def register(self, add: Sequence[Shard], drop: Sequence[str], sealed: np.ndarray) -> None:
        """Shards in place of others, and of the staged vectors ``sealed`` (ids)."""
        with self.writing() as connection:
            for name in drop:
                run(connection, "DELETE FROM shards WHERE name = :name", {"name": name})
            for shard in add:
                run(connection, "INSERT INTO shards VALUES (:name, :rows, :size, :mtime_ns, :sha256)", vars(shard))
            run(
                connection,
                "DELETE FROM staged WHERE id IN (SELECT value FROM json_each(:ids))",
                {"ids": id_list(sealed)},
            )

    # Writing, see Catalog

    def set_root(self, path: str, options: Mapping[str, object]) -> None:
        with self.writing() as connection:
            run(
                connection,
                "INSERT INTO roots VALUES (:p, :o) ON CONFLICT (path) DO UPDATE SET options = excluded.options",
                {"p": printable(path), "o": json.dumps(dict(options), sort_keys=True)},
            )

    def drop_root(self, path: str) -> None:
        with self.writing() as connection:
            run(connection, "DELETE FROM roots WHERE path = :p", {"p": printable(path)})

    def record(self, file: FileRecord) -> None:
        """Note a file's status; its passages stay as they are."""
        path = printable(file.path)
        with self.writing() as connection:
            _note(connection, file)
            if file.status == "indexed":
                run(
                    connection,
                    "UPDATE documents SET mtime_ns = :m WHERE path = :p AND died IS NULL AND mtime_ns <> :m",
                    {"m": file.mtime_ns, "p": path},
                )

    def remove(self, paths: Iterable[str]) -> int:
        """Forget files: hidden from the next commit on. The number that were known."""
        removed = 0
        with self.writing() as connection:
            generation = self.state()[0] + 1
            for path in map(printable, paths):
                removed += run(connection, "DELETE FROM files WHERE path = :p", {"p": path}).rowcount
                _discard(connection, path, generation)
                run(
                    connection,
                    "UPDATE documents SET died = :g, outdated = 0 WHERE path = :p AND died IS NULL",
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
        with self.writing() as connection:
            _note(connection, file)
            _discard(connection, path, self.state()[0] + 1)
            run(connection, "UPDATE documents SET outdated = 1 WHERE path = :p AND died IS NULL", {"p": path})
            old: dict[bytes, list[int]] = {}
            for number, digest in run(
                connection, "SELECT id, digest FROM documents WHERE path = :p AND died IS NULL ORDER BY id", {"p": path}
            ):
                old.setdefault(digest, []).append(number)
            counters = dict(run(connection, "SELECT name, seq FROM sqlite_sequence").all())
            document_id, passage_id = counters.get("documents", 0), counters.get("passages", 0)
            first = passage_id + 1
            documents: list[dict[str, object]] = []
            passages: list[dict[str, object]] = []
            same: list[int] = []
            for document, parts in contents:
                total += len(parts)
                digest = document_digest(document, parts)
                if old.get(digest):
                    same.append(old[digest].pop(0))
                    kept += len(parts)
                    continue
                document_id += 1
                documents.append(document_row(document_id, path, file.mtime_ns, document, digest, len(parts)))
                for part in parts:
                    passage_id += 1
                    passages.append(passage_row(passage_id, document_id, part))
                if len(passages) >= 5000:
                    _insert(connection, documents, passages)
            _insert(connection, documents, passages)
            run(
                connection,
                "UPDATE documents SET outdated = 0, mtime_ns = :m WHERE id IN (SELECT value FROM json_each(:ids))",
                {"ids": id_list(same), "m": file.mtime_ns},
            )
            twins = run(
                connection,
                "SELECT n.id, (SELECT o.id FROM passages o WHERE o.digest = n.digest AND o.embedded = 1 "
                "AND o.text = n.text LIMIT 1) AS twin FROM passages n WHERE n.id >= :first AND twin IS NOT NULL",
                {"first": first},
            ).all()
        return total, kept, dict(twins)

    def unembedded(self, limit: int) -> list[tuple[int, str]]:
        """The first passage of each distinct text that waits for a vector, oldest first."""
        found: dict[str, int] = {}
        after = 0
        with self.reading() as connection:
            while len(found) < limit:
                rows = run(
                    connection,
                    "SELECT id, text FROM passages WHERE embedded = 0 AND id > :after ORDER BY id LIMIT :n",
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
        with self.reading() as connection:
            count, tokens = run(
                connection,
                "SELECT count(*), coalesce(sum(tokens), 0) FROM "
                "(SELECT tokens FROM passages WHERE embedded = 0 GROUP BY digest)",
            ).one()
        return count, tokens

    def embed(self, vectors: Mapping[int, bytes], twins: bool = True, terms: Mapping[int, bytes] | None = None) -> None:
        """Give passages their vectors, and their packed terms where there are any; with ``twins`` every waiting
        passage of the same text gets them too."""
        if not vectors:
            return
        like = {number: number for number in vectors}
        with self.writing() as connection:
            if twins:
                others = run(
                    connection,
                    "SELECT n.id, o.id FROM passages o JOIN passages n ON n.digest = o.digest AND n.text = o.text "
                    "WHERE o.id IN (SELECT value FROM json_each(:ids)) AND n.embedded = 0 AND n.id <> o.id",
                    {"ids": id_list(vectors)},
                ).all()
                like |= {n: o for n, o in others if n not in vectors}
            ids = id_list(like)
            waiting = "id IN (SELECT value FROM json_each(:ids)) AND embedded = 0"
            known = set(run(connection, f"SELECT id FROM passages WHERE {waiting}", {"ids": ids}).scalars())
            if not known:
                return
            ids = id_list(known)
            rows = [{"id": n, "vector": vectors[o]} for n, o in like.items() if n in known]
            run(connection, "INSERT INTO staged VALUES (:id, :vector)", rows)
            if terms is not None:
                rows = [{"id": n, "terms": terms[o]} for n, o in like.items() if n in known]
                run(connection, "INSERT INTO sparse VALUES (:id, :terms)", rows)
            run(
                connection,
                "UPDATE documents SET missing = missing - n FROM (SELECT document_id, count(*) AS n FROM passages "
                f"WHERE {waiting} GROUP BY document_id) WHERE documents.id = document_id",
                {"ids": ids},
            )
            run(connection, f"UPDATE passages SET embedded = 1 WHERE {waiting}", {"ids": ids})

    def commit(self) -> int:
        """Publish what is complete and make it all durable, in one step. The generation that results."""
        with self.writing() as connection:
            generation = self.state()[0] + 1
            values = {"g": generation}
            # A changed file is held back until the last of its new documents is complete; a new file need not wait.
            run(
                connection,
                "UPDATE documents SET born = :g WHERE born IS NULL AND missing = 0 AND path NOT IN ("
                "SELECT path FROM documents WHERE born IS NULL AND missing > 0 AND path IN ("
                "SELECT path FROM documents WHERE outdated = 1 AND died IS NULL))",
                values,
            )
            run(
                connection,
                "UPDATE documents SET died = :g, outdated = 0 WHERE outdated = 1 AND died IS NULL "
                "AND path NOT IN (SELECT path FROM documents WHERE born IS NULL)",
                values,
            )
            run(
                connection,
                "INSERT INTO words (rowid, title, text) SELECT p.id, coalesce(d.title, ''), p.text "
                "FROM documents d JOIN passages p ON p.document_id = d.id WHERE d.born = :g AND d.died IS NULL",
                values,
            )
            run(
                connection,
                "UPDATE state SET generation = :g "
                "WHERE EXISTS (SELECT 1 FROM documents WHERE born = :g AND died IS NULL) "
                "OR EXISTS (SELECT 1 FROM documents WHERE died = :g AND born < :g)",
                values,
            )
        self.flush()
        return self.state()[0]

    def forget_dead(self) -> None:
        with self.writing() as connection:
            generation = self.state()[0]
            dead = "SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id WHERE d.died <= :g"
            run(
                connection,
                "INSERT INTO words (words, rowid, title, text) "
                f"SELECT 'delete', id, title, text FROM words_content WHERE id IN ({dead})",
                {"g": generation},
            )
            run(connection, "DELETE FROM documents WHERE died <= :g", {"g": generation})
            run(connection, "UPDATE state SET oldest = generation")

    def embedded(self) -> np.ndarray:
        """(n,) int64, ascending: every passage that has a vector, shown or not."""
        return self.ids("SELECT id FROM passages WHERE embedded = 1", {})

    def lose(self, ids: np.ndarray) -> int:
        """Passages whose vectors are gone: their documents wait for new ones, unseen. The number of documents."""
        with self.writing() as connection:
            values: dict[str, object] = {"ids": id_list(ids), "g": self.state()[0] + 1}
            ours = "id IN (SELECT value FROM json_each(:ids))"
            lost = run(
                connection,
                "SELECT id FROM documents WHERE died IS NULL AND id IN "
                f"(SELECT document_id FROM passages WHERE {ours})",
                values,
            )
            values["lost"] = id_list(lost.scalars())
            theirs = "(SELECT value FROM json_each(:lost))"
            for statement in (
                "INSERT INTO words (words, rowid, title, text) SELECT 'delete', id, title, text FROM words_content "
                f"WHERE id IN (SELECT id FROM passages WHERE document_id IN {theirs})",
                f"UPDATE passages SET embedded = 0 WHERE {ours} AND document_id IN {theirs}",
                f"DELETE FROM staged WHERE {ours}",
                f"DELETE FROM sparse WHERE {ours}",
                "UPDATE documents SET born = NULL, missing = (SELECT count(*) FROM passages "
                f"WHERE document_id = documents.id AND embedded = 0) WHERE id IN {theirs}",
                "UPDATE state SET generation = :g, oldest = :g",
            ):
                run(connection, statement, values)
        return len(json.loads(str(values["lost"])))


def _best_words(
    connection: Connection, match: str, k: int, generation: int, filter: Filter | None
) -> Sequence[tuple[int, float]]:
    """(passage id, BM25, lower is better) of the k best that the generation shows and the filter lets through."""
    where, values = conditions(filter)
    values |= {"match": match, "g": generation, "k": k}
    joined = "JOIN passages p ON p.id = w.id JOIN documents d ON d.id = p.document_id"
    found = "SELECT rowid AS id, bm25(words, 2.0, 1.0) AS score FROM words WHERE words MATCH :match"
    if not where:  # nearly all that match are shown: look only the best up in the other tables
        wanted = k + 50
        while True:
            rows = run(
                connection,
                f"SELECT w.id, w.score, {_LIVE} FROM ({found} ORDER BY score, rowid LIMIT :wanted) w {joined} "
                "ORDER BY w.score, w.id",
                {**values, "wanted": wanted},
            ).all()
            shown = [(number, score) for number, score, live in rows if live]
            if len(shown) >= k or len(rows) < wanted:
                return shown[:k]
            wanted *= 4
    return run(
        connection,
        f"SELECT w.id, w.score FROM ({found}) w {joined} WHERE {_LIVE}{where} ORDER BY w.score, w.id LIMIT :k",
        values,
    ).all()


def _note(connection: Connection, file: FileRecord) -> None:
    run(
        connection,
        "INSERT OR REPLACE INTO files VALUES (:path, :root, :size, :mtime_ns, :digest, :status, :reason)",
        file_row(file),
    )


def _discard(connection: Connection, path: str, generation: int) -> None:
    """Contents that never came to be shown: dead from birth, so that the vectors they have can still be reused."""
    pending = "(SELECT id FROM documents WHERE path = :p AND born IS NULL)"
    run(connection, f"DELETE FROM passages WHERE embedded = 0 AND document_id IN {pending}", {"p": path})
    run(
        connection,
        "UPDATE documents SET born = :g, died = :g, missing = 0, outdated = 0 WHERE path = :p AND born IS NULL",
        {"p": path, "g": generation},
    )


def _insert(connection: Connection, documents: list[dict[str, object]], passages: list[dict[str, object]]) -> None:
    """Write the rows and empty the lists."""
    if documents:
        run(
            connection,
            "INSERT INTO documents (id, path, record, kind, title, fields, mtime_ns, digest, missing) "
            "VALUES (:id, :path, :record, :kind, :title, :fields, :mtime_ns, :digest, :missing)",
            documents,
        )
    if passages:
        run(
            connection,
            "INSERT INTO passages VALUES (:id, :document_id, :text, :digest, :start, :end, :line_start, "
            ":line_end, :tokens, :page, 0)",
            passages,
        )
    documents.clear()
    passages.clear()
