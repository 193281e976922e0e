"""Stores that outlive their process: what another one finds there, and looking after them."""

import numpy as np
import pytest

from indexer.errors import CollectionNotFound, LockedError
from indexer.types import Waiting
from tests.storage.contract.factories import FACTORIES, maintenance
from tests.storage.contract.test_judgements import judged
from tests.storage.contract.values import ENCODER, add, dense, embed, lexical, now, parsed, remove, shown


@pytest.fixture(params=[factory for factory in FACTORIES if factory.reopen], ids=str)
def factory(request):
    return request.param


@pytest.fixture
def reopen(factory, store, tmp_path):
    """Return a function that opens the store as another process would."""
    others = []

    def again():
        others.append(factory.reopen(tmp_path / "store0"))
        return others[-1]

    assert store.name
    yield again
    for other in others:
        other.close()


def test_everything_committed_is_there(store, reopen):
    add(store, "/data/a", ["one", "two words"])
    store.annotate("weights", {"dense": 0.5})
    store.judge([judged(1), judged(0, "other")])
    with store.writer() as writer:
        writer.set_root("/data", {"x": [1]})
        writer.stage(parsed("/data/b", ["three"]))
        writer.commit()
        writer.stage(parsed("/data/c", ["lost"]))
    store.close()
    again = reopen()
    assert again.manifest == store.manifest
    assert again.annotation("weights") == {"dense": 0.5}
    assert again.judgements() == [judged(1), judged(0, "other")]
    with again.snapshot() as snapshot:
        assert shown(snapshot) == ["one", "two words", "three"]
        assert dense(snapshot, "two words", 1) == lexical(snapshot, "words") == ["two words"]
        assert snapshot.roots() == {"/data": {"x": [1]}}
    with again.writer() as writer:
        assert writer.waiting() == Waiting(1, 1)
        assert embed(again, writer) == ["three"]
        writer.finish()
    with again.snapshot() as snapshot:
        assert dense(snapshot, "three", 1) == ["three"]


def test_others_see_commits_and_one_writes(factory, store, reopen):
    other = reopen()
    version = other.version()
    with store.writer() as writer:
        if factory.writers == 1:
            with pytest.raises(LockedError, match="process"):
                other.writer()
        writer.stage(parsed("/data/a", ["one"]))
        writer.commit()
        assert other.version() != version
        assert now(other) == ["one"]
    add(other, "/data/b", ["two"])
    assert now(store) == ["one", "two"]


def test_maintenance(store):
    add(store, "/data/a", [f"some text {n}" for n in range(50)])
    with store.writer() as writer:
        writer.finish()
    sizes = maintenance(store).sizes()
    assert set(sizes) == {"catalog", "vectors", "index"}
    assert all(sizes.values())
    assert maintenance(store).examine(mend=False, open_encoder=lambda _: ENCODER) == []
    store.judge([judged(1)])
    maintenance(store).compact()
    maintenance(store).rename("other")
    assert store.name == "other"
    assert len(now(store)) == 50
    store.judge([judged(2, "renamed")])
    assert store.judgements() == [judged(1), judged(2, "renamed")]
    maintenance(store).delete()
    with pytest.raises(CollectionNotFound):
        store.snapshot()
    with pytest.raises(CollectionNotFound):
        store.judge([judged(1)])


def test_what_a_snapshot_found_of_words_is_not_taken_for_those_after_a_compaction(store, reopen):
    add(store, "/data/a", [f"walrus {n}" for n in range(4)])
    add(store, "/data/b", ["walrus and piano", "piano", "meadow"])
    remove(store, "/data/a")
    with store.snapshot() as before:
        maintenance(store).compact()
        for query in ("walrus", "walrus piano", "meadow"):
            before.lexical([query], 9)
            with store.snapshot() as after, reopen().snapshot() as fresh:
                assert before.version == after.version
                found, expected = after.lexical([query], 9), fresh.lexical([query], 9)
                np.testing.assert_array_equal(found.ids, expected.ids)
                np.testing.assert_array_equal(found.scores, expected.scores)
                np.testing.assert_array_equal(found.full, expected.full)
