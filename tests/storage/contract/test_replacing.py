"""The replacement of one collection by another."""

import pytest

from indexer.errors import LockedError, StoreError
from tests.storage.contract.factories import maintenance
from tests.storage.contract.test_judgements import judged
from tests.storage.contract.values import ENCODER, OTHER, add, dense, embed, manifest, now, parsed


class TestReplacing:
    def test_a_new_collection_in_the_place_of_the_old_one(self, store):
        add(store, "/data/a", ["one"])
        store.annotate("weights", {"dense": 0.5})
        old, version = store.snapshot(), store.version()
        new = maintenance(store).beside(manifest(OTHER))
        assert new.manifest.fingerprint == OTHER.spec.fingerprint
        with new.writer() as writer:
            writer.stage(parsed("/data/a", ["one"]))
            writer.commit()
        again = maintenance(store).beside(manifest(OTHER))  # gone on with
        with again.writer() as writer:
            assert embed(again, writer, encoder=OTHER) == ["one"]
            writer.finish()
        before = maintenance(store).replace(again, version)
        assert before not in ("", store.name)
        assert store.version() != version
        assert store.manifest.fingerprint == OTHER.spec.fingerprint
        assert store.annotation("weights") is None  # tuned for the old vectors
        with store.snapshot() as snapshot:
            assert dense(snapshot, "one", encoder=OTHER) == ["one"]
            assert snapshot.vectors([p.id for p in next(snapshot.documents()).passages]).shape == (1, 16)
        assert dense(old, "one") == ["one"]
        old.close()

    def test_judgements_go_over_also_those_made_meanwhile(self, store):
        add(store, "/data/a", ["one"])
        store.judge([judged(1, "before"), judged(1, "taken back")])
        new = maintenance(store).beside(manifest(OTHER))
        store.judge([judged(0, "meanwhile"), judged(None, "taken back")])
        with new.writer() as writer:
            writer.stage(parsed("/data/a", ["one"]))
            embed(new, writer, encoder=OTHER)
            writer.finish()
        maintenance(store).replace(new, store.version())
        assert store.judgements() == [judged(1, "before"), judged(0, "meanwhile")]
        store.judge([judged(2, "after")])
        assert [each.query for each in store.judgements()] == ["before", "meanwhile", "after"]

    def test_one_for_another_encoder_is_begun_anew(self, store):
        half = maintenance(store).beside(manifest(OTHER))
        with half.writer() as writer:
            writer.stage(parsed("/data/a", ["one"]))
            writer.commit()
        half.close()
        assert now(maintenance(store).beside(manifest(ENCODER, vector_dtype="fp32"))) == []

    def test_what_came_since_is_not_lost(self, store):
        add(store, "/data/a", ["one"])
        version = store.version()
        new = maintenance(store).beside(manifest(OTHER))
        add(store, "/data/b", ["two"])
        with pytest.raises(StoreError, match="changed"):
            maintenance(store).replace(new, version)
        assert now(store) == ["one", "two"]
        assert store.manifest.fingerprint == ENCODER.spec.fingerprint

    def test_not_while_somebody_writes(self, store):
        new = maintenance(store).beside(manifest(OTHER))
        for writing in (store, new):
            with writing.writer(), pytest.raises(LockedError):
                maintenance(store).replace(new, store.version())
        maintenance(store).replace(new, store.version())
        assert now(store) == []
