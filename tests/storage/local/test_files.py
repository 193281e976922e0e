"""The files of a folder: sealed, merged, compacted, derived anew; read-only media; interrupts."""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from indexer.errors import CollectionNotFound, LockedError, StoreError
from indexer.storage import create_store, exists, list_stores, open_store
from indexer.storage.local import writer
from indexer.storage.local.on_disk.manifest_file import ManifestFile
from indexer.storage.local.words import fts
from indexer.types import Filter
from tests.storage.contract.values import ENCODER, add, dense, document, ids, lexical, manifest, now, parsed, remove
from tests.storage.local.helpers import build, check

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path):
    return create_store(tmp_path / "c", manifest())


def finish(store) -> None:
    with store.writer() as writer:
        writer.finish()


def shards(store) -> int:
    return len(list((store.path / "vectors").iterdir()))


class TestForms:
    def test_sealing_and_reopening(self, store, monkeypatch):
        monkeypatch.setattr(writer, "SEAL_AT", 20)
        for n in range(10):
            add(store, f"/data/{n}", [f"text {n} {m}" for m in range(7)])
        assert shards(store) == 3
        check(store)
        finish(store)
        check(open_store(store.path))
        assert open_store(store.path).sizes()["index"] > 0

    def test_small_shards_are_merged(self, store):
        for n in range(12):
            add(store, f"/data/{n}", [f"text {n}"])
            finish(store)
        assert shards(store) < 12
        check(store)

    def test_many_tombstones_are_compacted_by_finish(self, store):
        for n in range(10):
            add(store, f"/data/{n}", [f"text {n}"])
        finish(store)
        for gone, tombstones in (("0", 1), ("1", 2), ("5", 0)):
            remove(store, f"/data/{gone}")
            finish(store)
            with store.snapshot() as snapshot:
                assert snapshot.counts().tombstones == tombstones
        check(store)

    def test_compact_gives_space_back(self, tmp_path):
        long = [(f"/data/{n}", [f"text {n} {m} " + "word " * 200 for m in range(20)]) for n in range(20)]
        store = build(tmp_path / "c", long, sparse=128)
        before = store.sizes()
        remove(store, *(f"/data/{n}" for n in range(19)))
        store.compact()
        after = store.sizes()
        assert set(after) == {"catalog", "vectors", "index", "terms"}
        assert all(after[name] < before[name] / 4 for name in after)
        check(store)

    def test_few_changes_leave_the_index_file_alone(self, tmp_path):
        store = build(tmp_path / "c", [(f"/data/{n}", [f"text {n}"]) for n in range(200)])
        note = ManifestFile.load(store.path).index
        remove(store, "/data/3")
        add(store, "/data/4", ["wholly other words"])
        finish(store)
        assert ManifestFile.load(store.path).index == note
        with store.snapshot() as snapshot:
            assert dense(snapshot, "wholly other words", 1) == ["wholly other words"]
            assert "text 3" not in dense(snapshot, "text 3", 200)
        check(store)
        store.compact()
        assert ManifestFile.load(store.path).index != note
        check(store)

    def test_snapshots_that_share_an_index_do_not_change_each_other(self, tmp_path):
        store = build(tmp_path / "c", [(f"/data/{n}", [f"text {n}"]) for n in range(200)])
        first = store.snapshot()
        assert dense(first, "text 3", 1) == ["text 3"]
        remove(store, "/data/3")
        with store.snapshot() as second:
            assert dense(second, "text 3", 1) != ["text 3"]
            assert dense(first, "text 3", 1) == ["text 3"]
        store.compact()
        assert dense(first, "text 3", 1) == ["text 3"]
        first.close()

    def test_a_missing_index_is_no_loss(self, tmp_path):
        store = build(tmp_path / "c", [("/data/a", ["one", "two"])])
        for path in store.path.glob("*.faiss"):
            path.unlink()
        with open_store(store.path).snapshot() as snapshot:
            assert dense(snapshot, "two", 1) == ["two"]

    @pytest.mark.parametrize("dtype", ["fp16", "fp32"])
    def test_vectors_come_back_as_they_were_stored(self, tmp_path, dtype):
        store = build(tmp_path / "d", [("/data/a", ["one two three", "two"])], finish=False, vector_dtype=dtype)
        vectors = ENCODER.encode(["one two three", "two"])
        expected = vectors.astype(np.float16).astype(np.float32) if dtype == "fp16" else vectors
        for _ in range(2):
            with store.snapshot() as snapshot:
                np.testing.assert_array_equal(snapshot.vectors(ids(snapshot)), expected)
            finish(store)

    def test_another_kind_of_index(self, tmp_path):
        files = [(f"/data/{n}", [f"text number {n}"]) for n in range(300)]
        store = build(tmp_path / "c", files, index_plan="HNSW32,SQ8", index_recall=1.0)
        assert ManifestFile.load(store.path).index.factory == "HNSW32,SQ8"
        with open_store(store.path).snapshot() as snapshot:
            assert dense(snapshot, "number 77", 1) == ["text number 77"]

    def test_a_long_read_is_not_disturbed_by_a_compaction(self, store):
        rows = [document("/data/a", [f"text {n}"], record=str(n)) for n in range(2500)]
        add(store, "/data/a", *rows)
        with store.snapshot() as snapshot:
            shown = snapshot.documents()
            first = next(shown)
            remove(store, "/data/a")
            store.compact()
            rest = [d.passages[0].passage.text for d in shown]
            assert [first.passages[0].passage.text, *rest] == [f"text {n}" for n in range(2500)]
        assert now(store) == []
        check(store)


class TestWords:
    def test_words_that_are_everywhere_do_not_change_the_order(self, store, monkeypatch):
        with store.writer() as writer:
            for n in range(30):
                writer.stage(parsed(f"/data/{n}", [f"each text {'rare ' * (n % 3)}" + "filler " * n]))
            writer.commit()
        with store.snapshot() as snapshot:
            whole = snapshot.lexical(["each rare text"], 20)
            monkeypatch.setattr(fts, "MANY", 10)
            ours = snapshot.lexical(["each rare text"], 20)
            np.testing.assert_array_equal(ours.ids, whole.ids)
            np.testing.assert_allclose(ours.scores, whole.scores, rtol=1e-3)
            assert (snapshot.lexical(["each text"], 30).ids > 0).all()

    def test_scores_of_common_words_add_up_to_what_fts5_says_of_all_together(self, store, monkeypatch):
        draw = np.random.default_rng(0)
        vocabulary = [f"w{n}" for n in range(30)]
        with store.writer() as writer:
            for n in range(200):
                words = [vocabulary[i] for i in np.minimum(draw.geometric(0.12, 20) - 1, 29)]
                title = f"about {words[0]}"
                writer.stage(
                    parsed(f"/data/{n}.{'md' if n % 3 else 'txt'}", document("/data", [" ".join(words)], title=title))
                )
            writer.commit()
            writer.remove([f"/data/{n}.txt" for n in range(0, 60, 3)])
            writer.commit()
        queries = ["w0 w1", "w0", "w3 w3 w9", "w1 w20 w25", '"w0 w1" w2', "about w5", "w2* nothing", "w29"]
        for condition in (None, Filter(kinds=("txt",)), Filter(paths=("/data/1*",))):
            for k in (3, 40, 200):
                monkeypatch.setattr(fts, "COMMON", 10**9)
                with store.snapshot() as snapshot:
                    whole = snapshot.lexical(queries, k, condition)
                monkeypatch.setattr(fts, "COMMON", 15)
                store._shared.clear()
                with store.snapshot() as snapshot:
                    for _ in range(2):  # the second time from what was kept
                        ours = snapshot.lexical(queries, k, condition)
                        np.testing.assert_allclose(ours.scores, whole.scores, rtol=1e-6)
                        np.testing.assert_allclose(ours.full, whole.full)
                        different = ours.ids != whole.ids
                        assert different.mean() < 0.02, "only where scores are the same to the sixth digit"

    def test_scores_that_are_kept_are_let_go_where_they_grow_too_many(self, monkeypatch):
        monkeypatch.setattr(fts, "KEPT", 25)
        known, looked = fts.Known(), []

        def look(name):
            looked.append(name)
            return np.arange(10), np.ones(10)

        for name in "abacba":
            known.common_scores(name, lambda name=name: look(name))
        assert looked == ["a", "b", "c", "b", "a"]

    def test_many_dead_matches_do_not_hide_others(self, store):
        add(store, "/data/a", ["word in a rather long passage that comes last of all"])
        with store.writer() as writer:
            for n in range(300):
                writer.stage(parsed(f"/data/{n}", ["word"]))
            writer.commit()
            writer.remove([f"/data/{n}" for n in range(300)])
            writer.commit()
        with store.snapshot() as snapshot:
            assert lexical(snapshot, "word", 1) == ["word in a rather long passage that comes last of all"]


class TestPlaces:
    @pytest.mark.parametrize("name", ["a b", "ä#?&%20", "c.d"])
    def test_any_folder_name(self, tmp_path, name):
        store = build(tmp_path / name, [("/data/a", ["one"])])
        assert now(open_store(store.path)) == ["one"]

    def test_no_collection(self, tmp_path):
        with pytest.raises(CollectionNotFound, match="semsearch index"):
            open_store(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(CollectionNotFound):
            open_store(tmp_path / "file")
        assert not exists(tmp_path)

    def test_create_refuses_an_existing_one(self, store):
        with pytest.raises(StoreError, match="already"):
            create_store(store.path, manifest())

    def test_listing(self, store, tmp_path):
        (tmp_path / "other").mkdir()
        assert list_stores(tmp_path) == ["c"]
        assert list_stores(tmp_path / "none") == []

    def test_renaming_and_deleting(self, tmp_path):
        store = build(tmp_path / "c", [("/data/a", ["one"])])
        (tmp_path / "taken").mkdir()
        with pytest.raises(StoreError, match="already"):
            store.rename("taken")
        store.rename("d")
        assert (store.name, now(store), exists(tmp_path / "c")) == ("d", ["one"], False)
        store.delete()
        assert list(tmp_path.iterdir()) == [tmp_path / "taken"]
        with pytest.raises(CollectionNotFound):
            store.snapshot()

    def test_two_writers(self, store):
        with store.writer(), pytest.raises(LockedError, match=r"process \d+ on"):
            open_store(store.path).writer()
        open_store(store.path).writer().close()


READ = """
import sys
from indexer.storage import open_store
from indexer.errors import StoreError
store = open_store(sys.argv[1])
with store.snapshot() as snapshot:
    print(snapshot.counts().passages, store.version() == snapshot.version)
try:
    store.writer()
except StoreError as error:
    print("refused" if "cannot lock" in str(error) else error)
"""


def _give_up_root() -> None:
    """Let the next program respect permissions, also where it is run by root (Linux)."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities of Linux")
def test_a_collection_on_a_read_only_medium_answers(tmp_path):
    folder = build(tmp_path / "c", [("/data/a", ["one"])]).path
    for left in folder.glob("catalog.sqlite-*"):
        left.unlink()
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=_give_up_root,
        check=False,
    )
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    assert done.stdout.split("\n")[:2] == ["1 True", "refused"], done.stderr


@pytest.mark.parametrize("at", range(1, 40, 3))
def test_an_interrupt_behind_any_statement_leaves_no_lock(tmp_path, monkeypatch, at):
    """Ctrl-C may come while a cursor is open; SQLAlchemy would then give up the connection and keep SQLite's lock."""
    store, count = build(tmp_path / "c", [("/data/a", ["one"])]), []
    real = SQLiteDialect_pysqlite.do_execute

    def interrupting(self, cursor, statement, parameters, context=None):
        real(self, cursor, statement, parameters, context)
        count.append(statement)
        if len(count) == at:
            raise KeyboardInterrupt

    held = store.writer()
    monkeypatch.setattr(SQLiteDialect_pysqlite, "do_execute", interrupting)
    try:
        held.stage(parsed("/data/b", ["two", "three"]))
        held.claim(3)
        held.commit()
    except KeyboardInterrupt as error:
        kept = error  # with its traceback, and the cursor in it, alive
        held.rollback()
        held.commit()
    else:
        kept = None
    monkeypatch.undo()
    held.close()
    monkeypatch.setattr("indexer.storage.local.sqlite.BUSY_SECONDS", 0.1)
    add(store, "/data/c", ["four"])
    assert "four" in now(store)
    assert (kept is not None) == (len(count) >= at)
