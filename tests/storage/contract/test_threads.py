"""Readers in threads while a writer commits, compacts and replaces: one consistent state each, no retry, no error."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from indexer.errors import LockedError
from tests.storage.contract.factories import maintenance
from tests.storage.contract.values import ENCODER, OTHER, embed, embedded, ids, manifest, parsed, shown

ENCODERS = {encoder.spec.fingerprint: encoder for encoder in (ENCODER, OTHER)}
READERS = 2
ROUNDS = 9


WORDS = [
    "walrus",
    "piano",
    "lantern",
    "copper",
    "meadow",
    "harbour",
    "violin",
    "saddle",
    "glacier",
    "pepper",
    "anchor",
    "thimble",
]
"""One for each round."""


def contents(number: int) -> list[str]:
    return [f"round {number} passage {n} {WORDS[number]}" for n in range(4)]


def write_round(store, number: int, encoder=ENCODER) -> None:
    """Replace two files in one commit: a snapshot shows the same round in both."""
    with store.writer() as writer:
        for path in ("/data/a", "/data/b"):
            writer.stage(parsed(path, contents(number), mtime_ns=number))
        embed(store, writer, encoder=encoder)
        writer.set_root("/data", {"round": number})
        writer.commit()


def look(snapshot) -> int:
    """Ask everything of a snapshot and check that it is one round's. Return the round."""
    encoder = ENCODERS[snapshot.manifest.fingerprint]
    number = int(str(snapshot.roots()["/data"]["round"]))
    assert shown(snapshot) == contents(number) * 2
    assert {f.mtime_ns for f in snapshot.files()} == {number}
    numbers = ids(snapshot)
    assert snapshot.counts().passages == len(numbers) == 8
    assert [p.id for p in snapshot.get(numbers)] == numbers.tolist()
    assert snapshot.embedded(numbers).all()
    for passage, vector in zip(snapshot.get(numbers), snapshot.vectors(numbers), strict=True):
        np.testing.assert_allclose(vector, encoder.encode([passage.passage.text])[0], atol=1e-3)
    found = snapshot.dense(encoder.encode(contents(number)[2:3]), 8)
    assert sorted(found.ids[0].tolist()) == numbers.tolist()
    assert found.scores[0, 0] == pytest.approx(1, abs=2e-3)
    assert sorted(snapshot.lexical([WORDS[number]], 8).ids[0].tolist()) == numbers.tolist()
    assert (snapshot.lexical([WORDS[number - 1]], 8).ids == -1).all()
    assert len(np.unique(snapshot.sample(100, 1), axis=0)) == 4
    return number


def read_on(store, stop: threading.Event) -> list[int]:
    """Take snapshots until told to stop, and look at each twice. Return the rounds that they showed."""
    rounds = []
    while True:
        last = stop.is_set()
        with store.snapshot() as snapshot:
            rounds.append(look(snapshot))
            assert look(snapshot) == rounds[-1]
        if last:
            return rounds


def race(store, change) -> None:
    """Read in threads while ``change`` runs. Check that no reader saw time run backwards, and all saw its end."""
    stop = threading.Event()
    with ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(read_on, store, stop) for _ in range(READERS)]
        try:
            end = change()
        finally:
            stop.set()
        for reader in readers:
            rounds = reader.result()
            assert rounds == sorted(rounds)
            assert rounds[-1] == end


def test_commits_and_finishing(store):
    write_round(store, 0)

    def change() -> int:
        for number in range(1, ROUNDS):
            write_round(store, number)
            if number % 4 == 3:
                with store.writer() as writer:
                    writer.finish()
        return ROUNDS - 1

    race(store, change)


def test_compaction(store):
    write_round(store, 0)

    def change() -> int:
        for number in range(1, ROUNDS):
            write_round(store, number)
            maintenance(store).compact()
        return ROUNDS - 1

    race(store, change)


def test_replacement_by_another_encoder(store):
    write_round(store, 0)
    first = store.snapshot()

    def change() -> int:
        for number in range(1, 5):
            encoder = (ENCODER, OTHER)[number % 2]
            new = maintenance(store).beside(manifest(encoder))
            write_round(new, number, encoder)
            maintenance(store).replace(new, store.version())
            assert store.manifest.fingerprint == encoder.spec.fingerprint
        return 4

    race(store, change)
    assert look(first) == 0
    first.close()


def test_one_snapshot_for_many_threads(sparse_store):
    store = sparse_store
    with store.writer() as writer:
        writer.stage(parsed("/data/a", [f"text {n} {n % 7}" for n in range(60)]))
        embed(store, writer)
        writer.commit()
    with store.snapshot() as snapshot, ThreadPoolExecutor(4) as pool:
        start = threading.Barrier(4)

        def ask(number: int) -> list:
            start.wait()  # all of them first, so that what is computed once is wanted by all at the same time
            queries = [f"text {number} {number % 7}"]
            return [
                snapshot.dense(ENCODER.encode(queries), 5).ids.tolist(),
                snapshot.lexical(queries, 5).ids.tolist(),
                snapshot.sparse(ENCODER.encode_terms(queries)[1], 5).ids.tolist(),
                [p.passage.text for p in snapshot.get([1, 2, 3])],
                len(list(snapshot.documents())),
            ]

        together = list(pool.map(ask, range(4)))
        start = threading.Barrier(1)
        assert together == [ask(number) for number in range(4)]


def test_one_of_many_threads_gets_the_writer(factory, store):
    start, done = threading.Barrier(4), threading.Barrier(4)

    def try_it(number: int) -> bool:
        start.wait()
        try:
            writer = store.writer()
        except LockedError:
            done.wait()
            return False
        with writer:
            done.wait()
            writer.stage(parsed(f"/data/{number}", ["one"]))
            writer.put(embedded(writer.claim(1), False))
            writer.commit()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(try_it, range(4))) == factory.writers
