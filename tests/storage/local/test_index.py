"""The index of a collection in a folder: planned, measured, grown; samples and filters that list no ids."""

import shutil

import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.errors import UsageError
from indexer.progress import IndexBuilt, IndexPlanned
from indexer.storage import open_store
from indexer.storage.local import snapshot as snapshots
from indexer.storage.local import writer as writers
from indexer.storage.local.index import building, measuring
from indexer.storage.local.index.faiss_index import FaissIndex
from indexer.storage.local.index.refined import Effort, RefinedIndex
from indexer.storage.local.on_disk.manifest_file import ManifestFile
from indexer.storage.sql.reading import CatalogReader
from indexer.storage.vectors import ExactIndex
from indexer.types import Filter
from tests.storage.contract.values import ENCODER, add, dense, ids, remove
from tests.storage.local.helpers import build, check

FILES = [(f"/data/{n}.{'md' if n % 5 else 'txt'}", [f"text number {n} of {n % 7}"]) for n in range(400)]
PLANS = ["SQ8", "HNSW32,SQ8", "IVF8,SQ8", "RR32,IVF8,RaBitQfs4"]


@pytest.fixture(scope="module", params=PLANS)
def made(request, tmp_path_factory):
    return build(tmp_path_factory.mktemp("index") / "c", FILES, index_plan=request.param).path


@pytest.fixture
def store(made, tmp_path):
    return open_store(shutil.copytree(made, tmp_path / "c"))


def finish(store):
    heard = []
    with store.writer() as writer:
        writer.finish(heard.append)
    return heard


class TestMeasured:
    def test_what_is_kept_is_what_a_search_finds(self, store):
        report = store.index_report()
        assert report.factory in PLANS
        assert (report.rows, report.sampled, report.asked) == (400, 400, 0.95)
        assert report.recall >= 0.95
        with store.snapshot() as snapshot:
            numbers = ids(snapshot)
            vectors = snapshot.vectors(numbers)
            exact = ExactIndex(vectors.shape[1])
            exact.add(numbers, vectors)
            ours, theirs = snapshot.dense(vectors, 11), exact.search(vectors, 11)
        found = []
        for row, number in enumerate(numbers):
            others = theirs.ids[row] != number
            least = np.sort(theirs.scores[row][others])[-10]
            right = (ours.scores[row] >= least - 1e-6) & (ours.ids[row] != number) & (ours.ids[row] >= 0)
            found.append(min(10, right.sum()) / 10)
        assert np.mean(found) == pytest.approx(report.recall, abs=0.002)
        same = ours.ids == theirs.ids
        np.testing.assert_array_equal(ours.scores[same], theirs.scores[same])  # whatever the index's codes

    def test_it_is_told_before_and_after(self, store):
        add(store, "/data/new", [f"fresh words {n}" for n in range(40)])
        planned, built = finish(store)
        assert isinstance(planned, IndexPlanned)
        assert isinstance(built, IndexBuilt)
        assert (planned.factory, planned.rows) == (built.report.factory, 440)
        assert planned.bytes > 0
        assert planned.seconds > 0
        assert built.report == store.index_report()
        assert finish(store) == []

    def test_doctor_measures_again_and_mends_an_index_that_finds_too_little(self, store):
        before = store.index_report()
        assert store.examine(mend=True) == []
        assert store.index_report().recall is not None
        if not before.search.keys() & {"efSearch", "nprobe"}:
            return
        with store.writer() as writer:  # an index that has been spoilt in a way no checksum shows
            saved = FaissIndex.load(store.path / writer.file.index.name, 32, before.factory, mapped=False)
            vectors = writer.raw(saved.ids)
            spoilt = FaissIndex(32, before.factory)
            spoilt.add(saved.ids, np.concatenate([vectors[:4], vectors[4:] * np.float32(-1)]))
            path = store.path / writer.file.index.name
            spoilt.save(path)
            stat = path.stat()
            from dataclasses import replace

            from indexer.storage.local.on_disk.files import sha256

            note = replace(writer.file.index, size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256(path))
            writer.file = writer.file.with_index(note)
            writer.file.save(store.path)
        (problem,) = store.examine(mend=True)
        assert (problem.part, problem.mended) == ("index", True)
        assert store.index_report().recall >= 0.95
        check(store)

    def test_no_claim_without_a_measurement(self, tmp_path):
        store = build(tmp_path / "one", [("/data/a", ["alone"])])
        assert store.index_report().recall is None
        assert store.index_report().sampled == 0

    def test_effort_follows_what_is_asked(self):
        vectors = np.random.default_rng(0).standard_normal((3000, 24)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        numbers = np.arange(3000)
        codes = FaissIndex(24, "IVF32,SQ8")
        codes.add(numbers, vectors)
        index = RefinedIndex(codes, lambda wanted: vectors[wanted])
        known = measuring.truth(numbers, lambda wanted: vectors[wanted], numbers[::6])
        efforts = [measuring.choose(index, known, asked).search["nprobe"] for asked in (0.5, 0.9, 0.99)]
        assert efforts == sorted(set(efforts))
        for asked, effort in zip((0.5, 0.9, 0.99), efforts, strict=True):
            assert measuring.recall(index.trying(Effort({"nprobe": effort})), known) >= asked
        assert measuring.recall(index.trying(Effort({"nprobe": 1})), known) < 0.9

    def test_twins_do_not_count_against_it(self):
        """Which of many equal vectors are found does not matter."""
        vectors = np.tile(np.eye(8, dtype=np.float32), (30, 1))
        known = measuring.truth(np.arange(240), lambda wanted: vectors[wanted], np.arange(50))
        index = RefinedIndex(FaissIndex(8, "Flat"))
        index.add(np.arange(240), vectors)
        assert measuring.recall(index, known) == 1.0


class TestChanging:
    def test_it_grows_and_forgets_without_being_built_anew(self, store, monkeypatch):
        made = []
        real = building.Builder.built
        monkeypatch.setattr(building.Builder, "built", lambda *given: made.append(given) or real(*given))
        add(store, "/data/new", [f"fresh words {n}" for n in range(40)])
        remove(store, *(f"/data/{n}.md" for n in (1, 2, 3)))
        finish(store)
        check(store)
        scanned = store.index_report().factory == "SQ8"
        assert bool(made) == scanned
        with open_store(store.path).snapshot() as snapshot:
            assert "text number 1 of 1" not in dense(snapshot, "text number 1", 437)
            assert dense(snapshot, "fresh words 7", 1) == ["fresh words 7"]
        monkeypatch.setattr(writers, "TOMBSTONES", 2.0)
        remove(store, *(path for path, _ in FILES[10:150]))
        finish(store)
        assert made  # a quarter of it was dead
        check(store)

    def test_another_plan_is_made_when_it_is_asked_for_and_kept(self, store):
        for plan, named in (("HNSW8,SQ8", "HNSW8,SQ8"), ("auto", None)):
            store.ask_for_index(plan, None)
            finish(store)
            assert ManifestFile.load(store.path).manifest.index_plan == named
            assert store.index_report().factory == (named or "SQfp16")
            assert finish(store) == []
        store.ask_for_index(None, 1.0)
        finish(store)
        assert store.index_report().asked == 1.0

    def test_a_plan_that_does_not_fit_changes_nothing(self, store):
        before = ManifestFile.load(store.path)
        for plan in ("magic", "RR576,IVF8,RaBitQfs4"):
            with pytest.raises(UsageError, match="index plan"):
                store.ask_for_index(plan, None)
        assert ManifestFile.load(store.path) == before

    def test_a_collection_of_another_encoder_keeps_only_a_plan_that_can_fit(self, store):
        from indexer.reindex import reindex

        encoder = HashEncoder(EncoderSpec(model="hash:16"))
        reindex(store, lambda: encoder)
        assert ManifestFile.load(store.path).manifest.index_plan is None


class TestListingNothing:
    """Queries, filters and samples ask the catalog for few ids, however many there are."""

    @pytest.fixture(autouse=True)
    def counted(self, monkeypatch):
        self.asked = []
        real = CatalogReader.live

        def live(reader, *given, **named):
            found = real(reader, *given, **named)
            self.asked.append(len(found))
            return found

        monkeypatch.setattr(CatalogReader, "live", live)
        monkeypatch.setattr(snapshots, "FEW", 20)
        monkeypatch.setattr(snapshots, "SMALL", 30)

    def test_a_query(self, store):
        with store.snapshot() as snapshot:
            snapshot.dense(ENCODER.encode(["text"]), 5)
        assert self.asked == []

    def test_a_filter_that_lets_many_through(self, store):
        with store.snapshot() as snapshot:
            found = snapshot.dense(ENCODER.encode(["text number 7", "of 3"]), 3, Filter(kinds=("md",)))
            assert all(path.path.endswith(".md") for path in snapshot.get(found.ids.ravel()))
        assert max(self.asked) <= 2 * 3 * snapshots.DEEPER

    def test_one_that_the_best_few_do_not_pass(self, store, monkeypatch):
        """Then all that it lets through are listed, once for all queries with it."""
        monkeypatch.setattr(snapshots, "DEEPER", 1)
        wanted, queries = Filter(kinds=("txt",)), ENCODER.encode(["text number 7", "of 3"])
        with store.snapshot() as snapshot:
            found = [snapshot.dense(queries, 60, wanted) for _ in range(2)][1]
            numbers = np.array([n for n, p in zip(ids(snapshot), snapshot.get(ids(snapshot)), strict=True)
                                if p.path.endswith(".txt")])  # fmt: skip
            exact = ExactIndex(32)
            exact.add(numbers, snapshot.vectors(numbers))
            theirs = exact.search(queries, 60)
        assert self.asked.count(80) == 1
        assert (found.ids >= 0).all()
        assert np.isin(found.ids, numbers).all()
        recall = np.mean([np.isin(a, b).mean() for a, b in zip(theirs.ids, found.ids, strict=True)])
        assert recall >= 0.9

    def test_a_sample(self, store):
        remove(store, *(path for path, _ in FILES[::2]))
        self.asked.clear()
        with store.snapshot() as snapshot:
            drawn = snapshot.sample(25, 1)
            assert drawn.shape == (25, 32)
            assert len(np.unique(snapshot.sample(1000, 1), axis=0)) == len(np.unique(drawn_all(snapshot), axis=0))
        assert self.asked[0] <= 100

    def test_sparse(self, tmp_path):
        store = build(tmp_path / "s", FILES, sparse=16)
        _, terms = ENCODER.encode_terms(["text number 7", "of 3"])
        with store.snapshot() as snapshot:
            whole = snapshot.sparse(terms, 400)
            self.asked.clear()
            found = snapshot.sparse(terms, 3, Filter(kinds=("md",)))
            paths = {p.id: p.path for p in snapshot.get(ids(snapshot))}
        expected = [[n for n in row.tolist() if n >= 0 and paths[n].endswith(".md")][:3] for row in whole.ids]
        assert found.ids.tolist() == expected


def drawn_all(snapshot):
    return snapshot.vectors(ids(snapshot))
