"""Random operations: the SQLite catalog, and a whole store on disk, do what the catalog in memory does."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from indexer.errors import ReadError
from indexer.storage.local import store as store_module
from indexer.storage.local.catalog import Catalog, MemoryCatalog
from indexer.storage.local.postings import pack
from indexer.storage.local.sql_catalog import SqlCatalog
from indexer.storage.local.store import Store
from indexer.types import Filter
from tests.storage.helpers import ENCODER, check, document, file, give, manifest

PATHS = st.sampled_from(["/data/a.txt", "/data/b.md", "/data/sub/c.txt", "/data/\udcff"])
TEXTS = st.lists(st.sampled_from(["red fox", "blue bird", "green fox", "old bird", "fox", ""]), max_size=3)
RECORDS = st.lists(st.tuples(st.sampled_from("xyz"), TEXTS), max_size=3, unique_by=lambda record: record[0])
TIMES = st.integers(0, 3)
FILTERS = st.sampled_from(
    [
        None,
        Filter(paths=("*.txt",)),
        Filter(kinds=("md",)),
        Filter(fields=(("n", "x"), ("n", "z"))),
        Filter(paths=("?",)),
    ]
)


def contents(path: str, records: list[tuple[str, list[str]]]):
    return [document(path, texts, record=name, fields={"n": name}) for name, texts in records]


def packed(rows: list[tuple[int, str]]) -> dict[int, bytes]:
    _, terms = ENCODER.encode_terms([text for _, text in rows])
    return {number: pack(each) for (number, _), each in zip(rows, terms, strict=True)}


def copied(catalog: Catalog, twins: dict[int, int]) -> dict[int, bytes]:
    """What the store does with passages whose text is known."""
    return {new: catalog.terms(np.array([old]))[1][0] for new, old in twins.items()}


class Comparison(RuleBasedStateMachine):
    """One rule for each verb of the catalog, done to both; the invariants compare all that can be asked."""

    @initialize()
    def start(self) -> None:
        self.memory = MemoryCatalog()
        self.folder = Path(tempfile.mkdtemp())
        self.catalog: Catalog = self.make()
        self.readable = {0}

    def make(self) -> Catalog:
        return SqlCatalog.create(self.folder / "catalog.sqlite")

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.close()
            shutil.rmtree(self.folder)

    def close(self) -> None:
        self.catalog.close()

    def embed(self, rows: list[tuple[int, str]]) -> None:
        vectors = ENCODER.encode([text for _, text in rows]).astype(np.float16)
        self.catalog.embed(
            {number: vector.tobytes() for (number, _), vector in zip(rows, vectors, strict=True)}, terms=packed(rows)
        )

    def stage(self, record, documents) -> None:
        ours, theirs = self.catalog.stage(record, documents), self.memory.stage(record, documents)
        assert (ours[0], ours[1], sorted(ours[2])) == (theirs[0], theirs[1], sorted(theirs[2]))
        for catalog, twins in ((self.catalog, ours[2]), (self.memory, theirs[2])):
            catalog.embed({number: b"\0" * 64 for number in twins}, twins=False, terms=copied(catalog, twins))

    @rule(path=PATHS, records=RECORDS, mtime=TIMES)
    def staging(self, path, records, mtime) -> None:
        self.stage(file(path, mtime_ns=mtime), contents(path, records))

    @rule(path=PATHS, records=RECORDS)
    def failing(self, path, records) -> None:
        def broken():
            yield from contents(path, records)
            raise ReadError("torn")

        with pytest.raises(ReadError):
            self.catalog.stage(file(path, size=9), broken())

    @rule(path=PATHS, status=st.sampled_from(["indexed", "failed", "skipped"]), mtime=TIMES)
    def recording(self, path, status, mtime) -> None:
        record = file(path, status=status, mtime_ns=mtime)
        self.catalog.record(record)
        self.memory.record(record)

    @rule(paths=st.lists(PATHS, max_size=2, unique=True))
    def removing(self, paths) -> None:
        assert self.catalog.remove(paths) == self.memory.remove(paths)

    @rule(limit=st.integers(1, 5))
    def embedding(self, limit) -> None:
        rows = self.memory.unembedded(limit)
        self.embed(rows)
        self.memory.embed({number: b"" for number, _ in rows}, terms=packed(rows))

    @rule(name=st.sampled_from("pq"), value=st.integers())
    def rooting(self, name, value) -> None:
        self.catalog.set_root(name, {"v": value})
        self.memory.set_root(name, {"v": value})

    @rule(name=st.sampled_from("pq"))
    def unrooting(self, name) -> None:
        self.catalog.drop_root(name)
        self.memory.drop_root(name)

    @rule()
    def committing(self) -> None:
        assert self.catalog.commit() == self.memory.commit()
        self.readable.add(self.memory.state()[0])

    @rule()
    def rolling_back(self) -> None:
        self.catalog.rollback()
        self.memory.rollback()
        self.readable = {g for g in self.readable if self.memory.state()[1] <= g <= self.memory.state()[0]}

    @rule()
    def forgetting(self) -> None:
        self.committing()
        self.catalog.forget_dead()
        self.memory.forget_dead()
        self.committing()
        self.readable = {self.memory.state()[0]}

    @invariant()
    def same(self) -> None:
        assert self.catalog.state() == self.memory.state()
        assert list(self.catalog.files()) == list(self.memory.files())
        assert list(self.catalog.files("failed")) == list(self.memory.files("failed"))
        assert self.catalog.roots() == self.memory.roots()
        assert self.catalog.unembedded(3) == self.memory.unembedded(3)
        assert self.catalog.unembedded_count() == self.memory.unembedded_count()
        for generation in sorted(self.readable)[-3:]:
            ours, theirs = self.catalog.counts(generation), self.memory.counts(generation)
            # How much a reader that lags behind could still see is a matter of bookkeeping.
            assert replace(ours, tombstones=0) == replace(theirs, tombstones=0)
            assert ours.tombstones >= theirs.tombstones
            assert list(self.catalog.passages(generation)) == list(self.memory.passages(generation))
            live = self.memory.live(generation)
            ids, terms = self.catalog.terms(live)
            assert ids.tolist() == live.tolist()
            assert terms == self.memory.terms(live)[1]
            for a, b in zip(
                self.catalog.changes(min(self.readable), generation),
                self.memory.changes(min(self.readable), generation),
                strict=True,
            ):
                np.testing.assert_array_equal(a, b)

    @rule(
        filter=FILTERS,
        query=st.sampled_from(["fox", "BIRD old", "none", "green red blue", '"old bird"', 're* "fox"', '"red fox']),
    )
    def searching(self, filter, query) -> None:
        for generation in self.readable:
            np.testing.assert_array_equal(self.catalog.live(generation, filter), self.memory.live(generation, filter))
            ours = self.catalog.search_text(query, 50, generation, filter)
            theirs = self.memory.search_text(query, 50, generation, filter)
            assert set(ours.ids[0]) == set(theirs.ids[0])
            assert (np.diff(ours.scores[0][ours.ids[0] >= 0]) <= 0).all()

    @rule(path=PATHS)
    def reading_one_file(self, path) -> None:
        generation = self.memory.state()[0]
        ours, theirs = self.catalog.passages(generation, path), list(self.memory.passages(generation, path))
        assert list(ours) == theirs
        ids = [p.id for p in reversed(theirs)] + [10**9]
        assert self.catalog.get(ids) == self.memory.get(ids) == theirs[::-1]


class StoreComparison(Comparison):
    """The same through a Store with its files, which is closed and opened again, sealed and compacted at will."""

    def make(self) -> Catalog:
        self.seal = store_module.SEAL_AT
        store_module.SEAL_AT = 4
        self.store = Store.create(self.folder / "c", manifest(sparse=128))
        return self.store.catalog

    def close(self) -> None:
        store_module.SEAL_AT = self.seal
        self.store.close()

    def embed(self, rows: list[tuple[int, str]]) -> None:
        give(self.store, rows)

    def stage(self, record, documents) -> None:
        total, kept, twins = self.memory.stage(record, documents)
        self.memory.embed({number: b"" for number in twins}, twins=False, terms=copied(self.memory, twins))
        staged = self.store.stage(record, documents)
        assert (staged.passages, staged.reused) == (total, kept + len(twins))

    @rule()
    def committing(self) -> None:
        assert self.store.commit() == self.memory.commit()
        self.readable.add(self.memory.state()[0])
        check(self.store)

    @rule()
    def reopening(self) -> None:
        self.store.close()
        self.memory.rollback()
        self.readable = {g for g in self.readable if self.memory.state()[1] <= g <= self.memory.state()[0]}
        self.store = Store.open(self.folder / "c", writable=True)
        self.catalog = self.store.catalog
        assert self.store.swept == []
        check(self.store)

    @rule()
    def forgetting(self) -> None:
        self.store.compact()
        self.memory.commit()
        self.memory.forget_dead()
        self.memory.commit()
        self.readable = {self.memory.state()[0]}
        check(self.store)

    @rule()
    @precondition(lambda self: self.memory.state()[0] > 2)
    def finishing(self) -> None:
        self.store.commit()
        self.store._seal()
        self.store._rewrite(forget=False)
        self.store.save_index(0.3)
        self.memory.commit()
        self.readable.add(self.memory.state()[0])
        check(self.store)


TestSqlCatalog = Comparison.TestCase
TestSqlCatalog.settings = settings(max_examples=20, stateful_step_count=25, deadline=None, report_multiple_bugs=False)
TestStore = StoreComparison.TestCase
TestStore.settings = settings(max_examples=12, stateful_step_count=25, deadline=None, report_multiple_bugs=False)
