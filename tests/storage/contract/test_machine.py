"""Random operations: every store does what MemoryStore does, and what both show is right."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from indexer.storage.memory import MemoryStore
from indexer.types import Filter, Judgement, Parsed
from tests.storage.contract.factories import FACTORIES, Factory, maintenance
from tests.storage.contract.values import ENCODER, TERMS, document, embedded, file, manifest

if TYPE_CHECKING:
    from indexer.storage.store import Snapshot
    from indexer.types import Neighbours, StoredDocument, Work

PATHS = st.sampled_from(["/data/a.txt", "/data/sub/b.md", "/data/\udcff"])
TEXTS = st.lists(st.sampled_from(["red fox", "blue bird", "green fox", "old bird", "fox", ""]), min_size=1, max_size=3)
RECORDS = st.lists(
    st.tuples(st.sampled_from("xyz"), TEXTS | st.just([])), min_size=1, max_size=3, unique_by=lambda record: record[0]
)
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
QUERIES = st.sampled_from(["fox", "BIRD old", "none", "green red blue", '"old bird"', 're* "fox"', '"red fox'])
JUDGEMENTS = st.builds(
    Judgement, st.sampled_from(["fox", " old  bird", "\ud800"]), PATHS, st.sampled_from([None, 0, 1, 2])
)
MAX_HELD = 3


def contents(path: str, mtime: int, records: list[tuple[str, list[str]]]) -> Parsed:
    documents = (document(path, texts, record=name, title=name, fields={"n": name}) for name, texts in records)
    return Parsed(
        file(path, mtime_ns=mtime, ctime_ns=mtime, inode=mtime << 62, warnings=("w",) * mtime), tuple(documents)
    )


FILES = st.builds(contents, PATHS, TIMES, RECORDS | RECORDS | st.just([]))


def described(each: StoredDocument) -> tuple[object, ...]:
    """Return all of a document but the ids of its passages."""
    d = each.document
    assert {(p.path, p.kind, p.record, p.title, p.mtime_ns) for p in each.passages} <= {
        (d.path, d.kind, d.record, d.title, each.mtime_ns)
    }
    assert all(d.text[p.passage.start : p.passage.end] == p.passage.text for p in each.passages)
    return d, tuple(p.passage for p in each.passages), each.mtime_ns


OPERATIONS = st.one_of(
    *[st.tuples(st.just("staging"), st.lists(FILES, min_size=1, max_size=3))] * 3,
    st.tuples(st.just("removing"), st.lists(PATHS, min_size=1, max_size=2, unique=True)),
    st.tuples(st.just("noting"), PATHS, st.sampled_from(["indexed", "failed", "skipped", "root", "no root"]), TIMES),
    st.tuples(st.just("claiming"), st.integers(1, 5)),
    st.tuples(st.just("putting"), st.integers(1, 5)),
    *[st.tuples(st.just("embedding_everything"))] * 2,
    *[st.tuples(st.just("committing"))] * 2,
    st.tuples(st.just("ending"), st.sampled_from(["rollback", "finish", "reopen", "compact"])),
    st.tuples(st.just("holding")),
    st.tuples(st.just("judging"), st.lists(JUDGEMENTS, max_size=3)),
    st.tuples(st.just("searching"), QUERIES, FILTERS),
)
"""The verbs of ``Comparison`` with their values; the frequent ones stand there more often."""


class Pair:
    """Two snapshots of the same moment, and which passages of one are which of the other."""

    def __init__(self, ours: Snapshot, theirs: Snapshot):
        self.ours, self.theirs = ours, theirs
        pairs = [
            (their_part.id, our_part.id)
            for our_document, their_document in zip(ours.documents(), theirs.documents(), strict=True)
            for our_part, their_part in zip(our_document.passages, their_document.passages, strict=True)
        ]
        self.numbers = np.array(sorted(pairs), np.int64).reshape(-1, 2)  # (n, 2): theirs, ours
        assert (np.diff(self.numbers[:, 1]) > 0).all()  # ids grow in the order of staging

    def mapped(self, found: Neighbours) -> list[list[int]]:
        """Return their results in our ids."""
        known = dict(self.numbers.tolist())
        return [[known.get(number, -1) for number in row] for row in found.ids.tolist()]

    def compare(self) -> None:
        ours, theirs = self.ours, self.theirs
        assert list(map(described, ours.documents())) == list(map(described, theirs.documents()))
        assert list(ours.files()) == list(theirs.files())
        assert list(ours.files("failed")) == list(theirs.files("failed"))
        assert ours.roots() == theirs.roots()
        assert ours.facets() == theirs.facets()
        assert replace(ours.counts(), tombstones=0) == replace(theirs.counts(), tombstones=0)
        our_ids = self.numbers[:, 1]
        assert [p.id for p in ours.get(our_ids[::-1])] == our_ids[::-1].tolist()
        have = ours.embedded(our_ids)
        assert have.tolist() == theirs.embedded(self.numbers[:, 0]).tolist()
        texts = [p.passage.text for p in ours.get(our_ids[have])]
        vectors, terms = ENCODER.encode_terms(texts)
        np.testing.assert_array_equal(ours.vectors(our_ids[have]), vectors.astype(np.float16).astype(np.float32))
        assert ours.terms(our_ids[have]) == terms
        np.testing.assert_array_equal(np.unique(ours.sample(2, 1), axis=0), np.unique(theirs.sample(2, 1), axis=0))

    def search(self, query: str, condition: Filter | None) -> None:
        ours, theirs = self.ours, self.theirs
        vectors, terms = ENCODER.encode_terms([query, "fox"])
        for k in (2, 50):
            for our_found, their_found in (
                (ours.dense(vectors, k, condition), theirs.dense(vectors, k, condition)),
                (ours.sparse(terms, k, condition), theirs.sparse(terms, k, condition)),
            ):
                assert our_found.ids.tolist() == self.mapped(their_found)
                np.testing.assert_array_equal(our_found.scores, their_found.scores)
        # Scores by words may differ: a store may count passages that are not shown any more until it is compacted.
        our_found, their_found = ours.lexical([query], 50, condition), theirs.lexical([query], 50, condition)
        assert set(our_found.ids[0].tolist()) == set(self.mapped(their_found)[0])
        kept = our_found.ids[0] >= 0
        assert (np.diff(our_found.scores[0][kept]) <= 0).all()


class Comparison(RuleBasedStateMachine):
    """One method for each verb of a writer, done to both stores."""

    factory: Factory

    @initialize()
    def start(self) -> None:
        self.stack = ExitStack()
        self.stack.enter_context(self.factory.small())
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.store = self.factory.make(self.folder, manifest(sparse=TERMS))
        self.reference = MemoryStore(manifest(sparse=TERMS))
        self.ours, self.theirs = self.store.writer(), self.reference.writer()
        self.flight: list[tuple[Work, Work]] = []
        self.held: list[Pair] = []

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.letting_go()
            self.ours.close()
            self.store.close()
            self.stack.close()

    @rule(operation=OPERATIONS)
    def doing(self, operation) -> None:
        """Do one of the operations below. As rules of their own, each run would leave most of them out."""
        verb, *values = operation
        getattr(self, verb)(*values)

    def staging(self, files) -> None:
        for each in files:
            assert self.ours.stage(each) == self.theirs.stage(each)

    def removing(self, paths) -> None:
        assert self.ours.remove(paths) == self.theirs.remove(paths)

    def noting(self, path, status, mtime) -> None:
        record = file(path, status=status, mtime_ns=mtime, reason=None if status == "indexed" else "so")
        for writer in (self.ours, self.theirs):
            if status == "root":
                writer.set_root(path, {"v": mtime})
            elif status == "no root":
                writer.drop_root(path)
            else:
                writer.record(record)

    def claiming(self, n) -> None:
        ours, theirs = self.ours.claim(n), self.theirs.claim(n)
        assert [(work.text, work.tokens) for work in ours] == [(work.text, work.tokens) for work in theirs]
        self.flight += zip(ours, theirs, strict=True)

    def putting(self, n) -> None:
        """Give the vectors of the last n works in flight, the last first."""
        chosen, self.flight = self.flight[-n:][::-1], self.flight[:-n]
        for writer, works in zip((self.ours, self.theirs), zip(*chosen, strict=True), strict=False):
            writer.put(embedded(works, sparse=True))

    def embedding_everything(self) -> None:
        self.claiming(100)
        self.putting(100)
        self.commit("commit")

    def commit(self, verb: str) -> None:
        """Commit both, ours by the verb; the version and generation tell whether something changed."""
        before = self.reference.version(), self.store.version(), self.generation()
        if verb == "commit":
            assert self.ours.commit() == self.generation()
        else:
            self.ours.finish()
        self.theirs.commit()
        if self.reference.version() != before[0]:
            assert self.store.version() != before[1]
            assert self.generation() > before[2]
        assert self.generation() >= before[2]

    def generation(self) -> int:
        with self.store.snapshot() as snapshot:
            assert snapshot.version == self.store.version()
            return snapshot.generation

    def committing(self) -> None:
        self.commit("commit")

    def ending(self, how) -> None:
        if how == "rollback":
            self.ours.rollback()
            self.theirs.rollback()
            self.flight = []
        elif how == "finish":
            self.commit("finish")
        else:
            self.ours.close()
            self.theirs.close()
            self.flight = []
            if how == "compact":
                maintenance(self.store).compact()
                self.reference.compact()
            elif self.factory.reopen is not None:
                self.store.close()
                self.store = self.factory.reopen(self.folder)
            self.ours, self.theirs = self.store.writer(), self.reference.writer()

    def holding(self) -> None:
        if len(self.held) == MAX_HELD:
            self.letting_go()
        self.held.append(Pair(self.store.snapshot(), self.reference.snapshot()))

    def judging(self, judgements) -> None:
        """Judge, while both writers are open and whatever they have not committed."""
        self.store.judge(judgements)
        self.reference.judge(judgements)

    def letting_go(self) -> None:
        for pair in self.held:
            pair.ours.close()
        self.held = []

    def searching(self, query, condition) -> None:
        with self.store.snapshot() as snapshot:
            for pair in (Pair(snapshot, self.reference.snapshot()), *self.held):
                pair.search(query, condition)

    @invariant()
    def same(self) -> None:
        assert self.ours.waiting() == self.theirs.waiting()
        assert self.store.judgements() == self.reference.judgements()
        with self.store.snapshot() as snapshot:
            Pair(snapshot, self.reference.snapshot()).compare()
        for pair in self.held:
            pair.compare()


@pytest.mark.parametrize("factory", FACTORIES, ids=str)
def test_like_the_reference(factory):
    machine = type("Comparison", (Comparison,), {"factory": factory})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20 if factory.reopen is None else 10,
            stateful_step_count=25,
            deadline=None,
            report_multiple_bugs=False,
        ),
    )
