"""The gate on the real default encoder: broken, and with nothing changed that matters."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from indexer import embedding
from indexer.embedding.encoder import Encoder
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec, Role
from indexer.embedding.weights import models
from semsearch.cli import run
from semsearch.evaluation import gate, runner
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.sentences.task_data import Data
from semsearch.evaluation.sentences.vector_cache import Vectors, encode
from tests.conftest import ROOT

pytestmark = pytest.mark.model
PLAIN = EncoderSpec()


@pytest.fixture(scope="module")
def loaded(shared_data: Path) -> list[Data]:
    return runner.load(["STSBenchmark-dev"], shared_data, quick=True)


def opened(spec: EncoderSpec) -> Encoder:
    return embedding.open_encoder(embedding.resolve(spec), device="cpu")


class Stored(HashEncoder):
    """Gives vectors that another encoder made, with noise of a given share of their spread."""

    def __init__(self, vectors: Vectors, texts: Sequence[str], noise: float = 0.0):
        super().__init__()
        self._vectors, self._random = vectors, np.random.default_rng(5)
        self._noise = noise * float(vectors[texts].std(axis=0).mean())
        self.dim = vectors[texts].shape[1]

    def encode_batches(
        self, texts: Sequence[str], role: Role = "passage", normalize: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        vectors = self._vectors[texts]
        yield np.arange(len(texts)), vectors + self._random.normal(0, self._noise, vectors.shape).astype(np.float32)


@pytest.fixture(scope="module")
def whole(loaded: list[Data]) -> Vectors:
    """The vectors of the encoder as it should be."""
    return encode(opened(PLAIN), loaded[0].parts["dev"].texts, None)


@pytest.fixture(scope="module")
def before(whole: Vectors, loaded: list[Data]) -> list[Score]:
    return runner.score(loaded, Stored(whole, loaded[0].parts["dev"].texts))


def failed(before: Sequence[Score], after: Sequence[Score]) -> bool:
    return gate.compare(gate.rounded(before), gate.rounded(after)).failed


def test_the_figure_is_near_the_known_one(before: list[Score]) -> None:
    """66.0 on all 1,500 pairs; these are 150 of them."""
    assert before[0].value == pytest.approx(66.0, abs=6)


@pytest.mark.parametrize(
    "template", ["{text}", PLAIN.template.removesuffix(':"')], ids=["no prompt", "its end cut off"]
)
def test_a_wrong_prompt_fails(template: str, before: list[Score], loaded: list[Data]) -> None:
    assert failed(before, runner.score(loaded, opened(replace(PLAIN, template=template))))


def test_coarse_vectors_fail_and_rounding_does_not(whole: Vectors, before: list[Score], loaded: list[Data]) -> None:
    """Noise as large as the spread between texts is a broken quantisation; a hundredth of it is bf16."""
    texts = loaded[0].parts["dev"].texts
    assert failed(before, runner.score(loaded, Stored(whole, texts, noise=1.0)))
    assert not failed(before, runner.score(loaded, Stored(whole, texts, noise=0.01)))


def test_a_shuffled_adapter_fails(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each block gets the matrices that were trained for another: nothing crashes, and the vectors are worse."""
    shipped = models.locate(EncoderSpec(adapter="default")).adapter
    assert shipped is not None
    folder = shutil.copytree(shipped, tmp_path / "shuffled")
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(
        {re.sub(r"layers\.(\d+)", lambda m: f"layers.{(int(m[1]) + 7) % 30}", k): v for k, v in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    baseline = against("gate", shared_data)
    assert run(["eval", "gate", "--adapter", str(folder), "--tasks", "STSBenchmark", *baseline]) == 5
    assert "FAIL: quality dropped: STSBenchmark" in capsys.readouterr().out


@pytest.mark.parametrize(("record", "adapter"), [("gate", "default"), ("gate-fast", "fast")])
def test_the_project_passes_its_own_gate(record: str, adapter: str, shared_data: Path) -> None:
    """What CI is for: the shipped encoders score what the recorded baselines say, on all seven STS tasks."""
    assert run(["eval", "gate", "--adapter", adapter, *against(record, shared_data)]) == 0


def test_the_project_passes_its_own_gate_of_search(shared_data: Path, tmp_path: Path) -> None:
    """The same of dense, lexical and hybrid search: abstracts from MEDLINE, some of those of a few queries.

    Recorded by `semsearch eval gate --tasks med-part --adapter default --data FOLDER --record …`, where FOLDER is what
    `some_queries` writes.
    """
    some_queries(shared_data / "retrieval" / "med", tmp_path / "retrieval" / "med-part", every=3, share=2)
    assert run(["eval", "gate", "--adapter", "default", *against("gate-search", tmp_path)]) == 0


def against(record: str, data: Path) -> list[str]:
    baseline = ROOT / "scripts" / "results" / "eval" / f"{record}.json"
    return ["--baseline", str(baseline), "--data", str(data)]


def some_queries(collection: Path, to: Path, every: int, share: int) -> None:
    """Write every ``every``-th query of a BEIR folder, and one in ``share`` of the documents relevant to them."""
    (to / "qrels").mkdir(parents=True)
    queries = [json.loads(line) for line in (collection / "queries.jsonl").open(encoding="utf-8")][::every]
    judged = [line.split("\t") for line in (collection / "qrels" / "test.tsv").open(encoding="utf-8")]
    asked = {query["_id"] for query in queries}
    relevant = {document for query, document, *_ in judged if query in asked}
    with gzip.open(collection / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = [row for row in map(json.loads, file) if row["_id"] in relevant][::share]
    kept = {document["_id"] for document in documents}
    judged = [judged[0], *(row for row in judged if row[0] in asked and row[1] in kept)]
    for name, rows in (("queries", queries), ("corpus", documents)):
        (to / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (to / "qrels" / "test.tsv").write_text("".join("\t".join(row) for row in judged), encoding="utf-8")
