"""Exports are read by other programs, and come back as they were."""

import json

import numpy as np
import pytest

from indexer.errors import DataError, UsageError
from indexer.storage.local.store import Store
from indexer.storage.transfer import export, take_in
from indexer.types import FileRecord
from tests.storage.helpers import DIM, ENCODER, check, document, embed, file, manifest, nearest

PATH = "/data/t\u2028.csv"


@pytest.fixture(params=[("fp16", None), ("fp32", None), ("fp16", 128)], ids=["fp16", "fp32", "sparse"])
def store(tmp_path, request):
    with Store.create(tmp_path / "c", manifest(vector_dtype=request.param[0], sparse=request.param[1])) as store:
        store.set_root("/data", {"text_fields": ["a"]})
        records = [
            document(PATH, [f"record {n} é", "shared"], record=str(n), fields={"n": str(n)}, kind="csv", title="T")
            for n in range(30)
        ]
        store.stage(file(PATH), records)
        store.stage(file("/data/b.txt"), [document("/data/b.txt", ["line\n\nbreak \u2028 odd", "shared"])])
        embed(store)
        store.finish()
        records[4] = document(PATH, ["another"], record="4", kind="csv")
        store.stage(file(PATH, mtime_ns=9), records)
        embed(store)
        store.stage(file("/data/pending.txt"), [document("/data/pending.txt", ["not yet"])])
        store.record(FileRecord("/data/bad", "/data", 1, 1, None, "failed", "torn"))
        store.commit()
        yield store


def content(store: Store) -> list[object]:
    rows = sorted((p.path, str(p.record), p.passage.start, p) for p in store.passages())
    values = [(p.passage, p.path, p.kind, p.record, p.title, p.fields, p.mtime_ns) for *_, p in rows]
    terms = None if store.manifest.sparse is None else store.terms([p.id for *_, p in rows])
    return [values, store.vectors([p.id for *_, p in rows]).tolist(), store.roots(), list(store.files()), terms]


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
class TestRoundTrip:
    def test_comes_back(self, store, tmp_path, form):
        assert export(store, tmp_path / "out", form) == 61
        assert take_in(tmp_path / "out", tmp_path / "again") == 61
        with Store.open(tmp_path / "again") as again:
            assert content(again) == content(store)
            assert again.manifest.with_index(None) == store.manifest.with_index(None)
            check(again)
            assert nearest(again, "record 17 é", 1) == ["record 17 é"]

    def test_an_existing_folder_is_left_alone(self, store, tmp_path, form):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").write_text("x")
        with pytest.raises(UsageError, match="exists"):
            export(store, tmp_path / "out", form)

    def test_an_empty_collection(self, tmp_path, form):
        with Store.create(tmp_path / "e", manifest()) as store:
            assert export(store, tmp_path / "out", form) == 0
        assert take_in(tmp_path / "out", tmp_path / "again") == 0

    def test_a_torn_export_makes_no_collection(self, store, tmp_path, form):
        export(store, tmp_path / "out", form)
        for name in ("passages.parquet", "passages.jsonl", "vectors-00000.safetensors", "files.jsonl", "roots.json"):
            path = tmp_path / "out" / name
            if path.exists():
                whole = path.read_bytes()
                path.write_bytes(whole[: len(whole) // 2])
                with pytest.raises(DataError, match="out"):
                    take_in(tmp_path / "out", tmp_path / "again")
                assert not (tmp_path / "again").exists()
                path.write_bytes(whole)
        with pytest.raises(DataError, match="no export"):
            take_in(tmp_path, tmp_path / "again")


def test_other_programs_read_parquet(store, tmp_path):
    from pyarrow import parquet

    export(store, tmp_path / "out", "parquet")
    table = parquet.read_table(tmp_path / "out/passages.parquet")
    assert table.num_rows == 61
    vectors = np.stack(table.column("vector").to_numpy())
    assert vectors.shape == (61, DIM)
    np.testing.assert_allclose(vectors, ENCODER.encode(table.column("text").to_pylist()), atol=1e-3)


def test_other_programs_read_safetensors(store, tmp_path):
    from safetensors.numpy import load_file

    export(store, tmp_path / "out", "safetensors")
    arrays = load_file(tmp_path / "out/vectors-00000.safetensors")
    rows = [json.loads(line) for line in (tmp_path / "out/passages.jsonl").read_text().split("\n") if line]
    assert [row["id"] for row in rows] == arrays["ids"].tolist()
    np.testing.assert_allclose(arrays["vectors"], ENCODER.encode([row["text"] for row in rows]), atol=1e-3)
