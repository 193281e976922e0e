"""Exports are read by other programs, and come back as they were."""

import json
from dataclasses import replace

import numpy as np
import pytest

from indexer.errors import DataError, StoreError, UsageError
from indexer.exchange import export, import_from
from indexer.types import FileRecord, Heading, ParsedDocument
from tests.storage.contract.values import DIM, ENCODER, add, dense, document, parsed

PATH = "/data/t\u2028.csv"


@pytest.fixture(params=[("fp16", None), ("fp32", None), ("fp16", 128)], ids=["fp16", "fp32", "sparse"])
def filled(make, request):
    store = make(vector_dtype=request.param[0], sparse=request.param[1])
    records = [
        document(PATH, [f"record {n} é", "shared"], record=str(n), fields={"n": str(n)}, kind="csv", title="T")
        for n in range(30)
    ]
    add(store, PATH, *records)
    add(store, "/data/b.txt", ["line\n\nbreak \u2028 odd", "shared"], warnings=("page 2 is empty",))
    two = document("/data/c.md", ["one", "two"])
    rich = replace(
        two.document, text="one\ntwo\n\n", line_start=3, page_starts=(0, 4), headings=(Heading(0, 3, 1, "one"),)
    )
    parts = tuple(replace(part, heading="one", page=n) for n, part in enumerate(two.passages))
    add(store, "/data/c.md", ParsedDocument(rich, parts), ParsedDocument(two.document, two.passages))
    records[4] = document(PATH, ["another"], record="4", kind="csv")
    add(store, PATH, *records, mtime_ns=9)
    with store.writer() as writer:
        writer.set_root("/data", {"text_fields": ["a"]})
        writer.record(FileRecord("/data/bad", "/data", 1, 1, None, "failed", "torn"))
        writer.stage(parsed("/data/empty.csv"))
        writer.commit()
    return store


@pytest.fixture
def take(make):
    """Import a folder into a new store; return it."""

    def call(folder):
        made, discarded = [], []

        def new(manifest):
            values = {f: getattr(manifest, f) for f in ("vector_dtype", "sparse", "splitter", "created", "words")}
            made.append(make(**values))
            assert made[-1].manifest == manifest
            return made[-1]

        call.discarded = discarded
        call.count = import_from(folder, new, discarded.append)
        return made[0]

    return call


def out(store, folder, form):
    with store.snapshot() as snapshot:
        return export(snapshot, folder, form)


def content(store):
    with store.snapshot() as snapshot:
        documents = sorted(
            ((d.document.path, str(d.document.record), d) for d in snapshot.documents()), key=lambda each: each[:2]
        )
        values = [(d.document, d.mtime_ns, [p.passage for p in d.passages]) for *_, d in documents]
        numbers = [p.id for *_, d in documents for p in d.passages]
        terms = None if store.manifest.sparse is None else snapshot.terms(numbers)
        return [values, snapshot.vectors(numbers).tolist(), snapshot.roots(), list(snapshot.files()), terms]


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
class TestRoundTrip:
    def test_comes_back(self, filled, tmp_path, take, form):
        assert out(filled, tmp_path / "out", form) == 65
        again = take(tmp_path / "out")
        assert take.count == 65
        assert content(again) == content(filled)
        with again.snapshot() as snapshot:
            assert dense(snapshot, "record 17 é", 1) == ["record 17 é"]

    def test_an_export_of_version_0_1(self, filled, tmp_path, take, form):
        """Without the key ``before``, the warnings and ``words``; white space is made up."""
        if form == "parquet":
            from pyarrow import parquet

            out(filled, tmp_path / "out", form)
            path = tmp_path / "out/passages.parquet"
            parquet.write_table(parquet.read_table(path).drop_columns(["before", "document", "heading"]), path)
        else:
            out(filled, tmp_path / "out", form)
            path = tmp_path / "out/passages.jsonl"
            rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
            path.write_text(
                "".join(
                    json.dumps({k: v for k, v in r.items() if k not in ("before", "document", "heading")}) + "\n"
                    for r in rows
                )
            )
        for name, gone in (("files.jsonl", "warnings"), ("manifest.json", "words")):
            path = tmp_path / "out" / name
            lines = path.read_text("utf-8").split("\n") if name == "files.jsonl" else [path.read_text("utf-8")]
            values = [json.loads(line) for line in lines if line]
            path.write_text("".join(json.dumps({k: v for k, v in each.items() if k != gone}) + "\n" for each in values))
        ours, theirs = content(filled), content(take(tmp_path / "out"))
        plain = [
            (
                replace(d, text=d.text.rstrip("\n"), line_start=1, page_starts=(), headings=()),
                mtime,
                [replace(part, heading=None) for part in parts],
            )
            for d, mtime, parts in ours[0]
        ]
        assert [(replace(d, page_starts=()), *rest) for d, *rest in theirs[0]] == plain
        assert theirs[1] == ours[1]
        assert theirs[3] == [replace(file, warnings=()) for file in ours[3]]

    def test_an_existing_folder_is_left_alone(self, filled, tmp_path, form):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").write_text("x")
        with pytest.raises(UsageError, match="exists"):
            out(filled, tmp_path / "out", form)

    def test_what_is_partial_is_refused(self, filled, tmp_path, form):
        with filled.writer() as writer:
            writer.stage(parsed("/data/pending.txt", ["not yet"]))
            writer.commit()
        with pytest.raises(StoreError, match="1 passages"):
            out(filled, tmp_path / "out", form)

    def test_an_empty_collection(self, make, tmp_path, take, form):
        assert out(make(), tmp_path / "out", form) == 0
        take(tmp_path / "out")
        assert take.count == 0

    def test_a_torn_export_makes_no_collection(self, filled, tmp_path, take, form):
        out(filled, tmp_path / "out", form)
        for name in ("passages.parquet", "passages.jsonl", "vectors-00000.safetensors", "files.jsonl", "roots.json"):
            path = tmp_path / "out" / name
            if path.exists():
                whole = path.read_bytes()
                path.write_bytes(whole[: len(whole) // 2])
                with pytest.raises(DataError, match="out"):
                    take(tmp_path / "out")
                assert len(take.discarded) == (name not in ("files.jsonl", "roots.json"))
                path.write_bytes(whole)
        with pytest.raises(DataError, match="no export"):
            take(tmp_path)


def test_other_programs_read_parquet(filled, tmp_path):
    from pyarrow import parquet

    out(filled, tmp_path / "out", "parquet")
    table = parquet.read_table(tmp_path / "out/passages.parquet")
    assert table.num_rows == 65
    vectors = np.stack(table.column("vector").to_numpy())
    assert vectors.shape == (65, DIM)
    np.testing.assert_allclose(vectors, ENCODER.encode(table.column("text").to_pylist()), atol=1e-3)


def test_other_programs_read_safetensors(filled, tmp_path):
    from safetensors.numpy import load_file

    out(filled, tmp_path / "out", "safetensors")
    arrays = load_file(tmp_path / "out/vectors-00000.safetensors")
    rows = [json.loads(line) for line in (tmp_path / "out/passages.jsonl").read_text().split("\n") if line]
    assert [row["id"] for row in rows] == arrays["ids"].tolist()
    np.testing.assert_allclose(arrays["vectors"], ENCODER.encode([row["text"] for row in rows]), atol=1e-3)
