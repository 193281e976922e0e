"""Collection over a folder: what people write in Python."""

import pickle
import threading

import pytest
import torch

from indexer.embedding import precision
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.errors import PrecisionError
from indexer.parts import ray_run
from indexer.parts.folder import ShardFolder
from indexer.parts.part import WHOLE
from indexer.parts.produce import ThisProcess
from semsearch import (
    Collection,
    CollectionNotFound,
    Encoder,
    EncoderOverrides,
    MismatchError,
    ReadOptions,
    SearchRequest,
    UsageError,
)

HASH = EncoderOverrides(model="hash:64")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "docs"
    path.mkdir()
    (path / "boats.md").write_text("# Boats\n\nA sailing boat crosses the bay.\n")
    (path / "bread.md").write_text("# Bread\n\nKnead the dough, then let it rise.\n")
    (path / "ports.csv").write_text("id,text,land\n1,Hull,England\n2,Kiel,Germany\n")
    return path


@pytest.fixture
def docs(folder, tmp_path):
    with Collection("docs", create=True, home=tmp_path / "home", encoder=HASH) as made:
        made.index(folder)
        yield made


def test_index_search_get_and_status(docs, folder):
    answer = docs.search("boat in a bay", k=1)
    assert (len(answer), answer[0].path, answer.notes) == (1, str(folder / "boats.md"), ())
    assert docs.get(answer[0]).text == "# Boats\n\nA sailing boat crosses the bay."
    assert docs.similar(folder / "boats.md", k=1)[0].path != str(folder / "boats.md")
    status = docs.status()
    assert (status.name, status.counts.files, status.roots) == ("docs", 3, (str(folder),))
    (folder / "bread.md").unlink()
    assert docs.index().deleted == 1
    assert docs.remove([folder / "boats.md"]) == 1
    assert {hit.kind for hit in docs.search("boat")} == {"csv"}
    docs.compact()
    assert docs.status().counts.tombstones == 0
    assert docs.doctor() == []


def test_requests_and_many_at_once(docs):
    request = SearchRequest("dough", k=1)
    assert docs.search(request) == docs.search("dough", k=1)
    assert docs.search_many([request, "boat"]) == [docs.search("dough", k=1), docs.search("boat")]
    assert docs.search_many([]) == []
    with pytest.raises(UsageError, match="says everything"):
        docs.search(request, k=3)


def test_wrong_names_fail_with_the_nearest(docs, tmp_path):
    with pytest.raises(CollectionNotFound, match="did you mean 'docs'"):
        Collection("dcos", home=tmp_path / "home")
    with pytest.raises(UsageError, match="did you mean 'hybrid'"):
        docs.search("x", mode="hybird")
    with pytest.raises(UsageError, match="did you mean 'land'"):
        docs.search("x", filter="lnd=England")
    with pytest.raises(TypeError):
        docs.search("x", mod="dense")


def test_a_collection_in_int8_is_kept_where_the_device_has_none(folder, tmp_path, tiny_llama, monkeypatch):
    home, said = tmp_path / "home", []
    with Collection("docs", create=True, home=home, encoder=EncoderOverrides(model=str(tiny_llama), precision="int8"),
                    device="cpu") as made:  # fmt: skip
        made.index(folder)
        before = made.search("boat in a bay", mode="dense")
    monkeypatch.setattr(precision, "available", lambda _: ["fp32", "bf16"])
    with Collection("docs", home=home, device="cpu", note=said.append) as docs:
        found = docs.search("boat in a bay", mode="dense")
        assert [hit.path for hit in found] == [hit.path for hit in before]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in before], abs=0.02)
        assert (docs.spec.precision, docs.encoder.spec.precision) == ("int8", precision.default(torch.device("cpu")))
        assert len(said) == 1
        assert "made in int8, texts are encoded in" in said[0]
        assert docs.doctor() == []
    with (
        Collection("docs", home=home, device="cpu", encoder=EncoderOverrides(precision="int8")) as docs,
        pytest.raises(PrecisionError, match="precision int8 cannot be had"),
    ):
        docs.search("boat in a bay", mode="dense")


def test_workers_of_a_cluster_take_another_precision_where_they_lack_a_collections(
    folder, tmp_path, tiny_llama, monkeypatch
):
    """An index in int8 grows by what a machine without int8 embeds, unless a person asked for int8."""
    home, opened = tmp_path / "home", []

    class HereAlone(ray_run.RayWorkers):
        """What a worker does with a task that was sent to it, in this process."""

        def run(self, jobs):
            task = pickle.loads(pickle.dumps(self._task))
            opened.append(task.open_encoder())
            here, made = ShardFolder(task.destination.folder), task.destination.manifest
            yield from ThisProcess(here, WHOLE, made, task.open_splitter(), lambda: opened[-1]).run(jobs)

    monkeypatch.setattr(ray_run, "RayWorkers", HereAlone)
    chosen = EncoderOverrides(model=str(tiny_llama), precision="int8")
    with Collection("docs", create=True, home=home, encoder=chosen, device="cpu") as made:
        made.index_on_ray(folder)
    assert opened[-1].spec.precision == "int8"
    monkeypatch.setattr(precision, "available", lambda _: ["fp32", "bf16"])
    (folder / "tea.md").write_text("# Tea\n\nPour the water over the leaves.\n")
    with Collection("docs", home=home, device="cpu") as docs:
        assert docs.index_on_ray(folder).report.new == 1
        assert docs.spec.precision == "int8"
        assert opened[-1].spec.precision == precision.default(torch.device("cpu"))
        assert docs.search("leaves", mode="lexical")[0].path == str(folder / "tea.md")
    (folder / "milk.md").write_text("# Milk\n\nWarm it slowly.\n")
    with Collection("docs", home=home, device="cpu", encoder=EncoderOverrides(precision="bf16")) as docs:
        docs.index_on_ray(folder)
    assert opened[-1].spec.precision == "bf16"
    (folder / "rice.md").write_text("# Rice\n\nRinse it three times.\n")
    with (
        Collection("docs", home=home, device="cpu", encoder=EncoderOverrides(precision="int8")) as docs,
        pytest.raises(PrecisionError, match="precision int8 cannot be had"),
    ):
        docs.index_on_ray(folder)


def test_an_encoder_can_be_shared(docs, folder, tmp_path):
    loaded = Encoder(HashEncoder(EncoderSpec(model="hash:64")))
    with Collection("docs", home=tmp_path / "home", encoder=loaded) as again:
        assert again.encoder is loaded.backend
        assert again.search("boat") == docs.search("boat")
    with Collection("other", create=True, home=tmp_path / "home", encoder=loaded) as other:
        other.index(folder, options=ReadOptions(text_fields=("land",)))
        assert other.search("Germany", k=1)[0].document == "2"
    with pytest.raises(MismatchError, match="cannot search it"):
        Collection("docs", home=tmp_path / "home", encoder=HashEncoder(EncoderSpec(model="hash:32")))


def test_reindex_rename_export_import_and_delete(docs, tmp_path):
    before = [hit.path for hit in docs.search("boat", mode="lexical")]
    done = docs.reindex(EncoderOverrides(model="hash:48"))
    assert (done.name, done.before, done.spec.model) == ("docs", "docs-before", "hash:48")
    assert [hit.path for hit in docs.search("boat", mode="lexical")] == before
    assert docs.reindex(EncoderOverrides(model="hash:48")) is None
    docs.rename("papers")
    assert docs.name == "papers"
    assert docs.export(tmp_path / "out") == 4
    with Collection.import_(tmp_path / "out", "copy", home=tmp_path / "home") as copy:
        assert [hit.path for hit in copy.search("boat", mode="lexical")] == before
        copy.delete()
    with pytest.raises(CollectionNotFound):
        Collection("copy", home=tmp_path / "home")


def test_a_reader_goes_on_while_its_collection_is_replaced(docs, tmp_path):
    with Collection("docs", home=tmp_path / "home") as reader:
        first = reader.search("boat in a bay")
        docs.reindex(EncoderOverrides(model="hash:48"))
        then = reader.search("boat in a bay")  # read by the new encoder
        assert [hit.path for hit in then] == [hit.path for hit in first]
        assert reader.spec.model == "hash:48"


def test_many_threads_search_while_files_are_indexed(docs, folder):
    stop, failed = threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                assert docs.search("boat in a bay", k=1)[0].path == str(folder / "boats.md")
            except BaseException as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"Something else altogether, number {number}.")
        docs.index(folder)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []


def test_judgements(docs, folder, tmp_path):
    (tmp_path / "judged.tsv").write_text("a sailing boat\tboats.md\nrising dough\tbread.md\n")
    found = docs.evaluate(tmp_path / "judged.tsv")
    assert found["scores"]["lexical"]["nDCG@10"] == 1.0
    assert docs.search("boat")


def test_a_failed_first_run_leaves_no_collection(tmp_path):
    made = Collection("new", create=True, home=tmp_path / "home", encoder=HASH)
    with pytest.raises(UsageError):
        made.index("/")
    with pytest.raises(CollectionNotFound):
        Collection("new", home=tmp_path / "home")


def test_a_dry_run_of_a_new_collection_makes_none(folder, tmp_path):
    made = Collection("new", create=True, home=tmp_path / "home", encoder=HASH)
    assert made.index(folder, dry_run=True).to_embed == 4
    with pytest.raises(CollectionNotFound):
        made.search("boat")
    assert made.index(folder).total == 4
