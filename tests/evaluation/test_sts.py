"""STS figures: against mteb, against SciPy on a plain forward pass, and where a correlation is not defined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.errors import ModelError
from semsearch.evaluation import runner
from semsearch.evaluation.sentences import task_data
from semsearch.evaluation.sentences.senteval_files import Items
from semsearch.evaluation.sentences.task_data import Data
from semsearch.evaluation.sentences.tasks import STS, TASKS
from tests.evaluation.conftest import Changed


def made(pairs: list[tuple[str, str, float]]) -> Data:
    first, second, gold = zip(*pairs, strict=True)
    return Data(TASKS["STSBenchmark"], {"test": Items(first, second, np.array(gold))}, "folder")


def test_agrees_with_mteb(shared_data: Path, tmp_path: Path) -> None:
    """Each task of the seven, the same pairs, the same vectors: mteb's cosine Spearman to two decimals and beyond."""
    import mteb
    from datasets import Dataset, DatasetDict
    from mteb.models import ModelMeta

    # sums of hashed words are tied by the hundred, and which rounding breaks a tie is nobody's figure: mix them
    mix = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    encoder = Changed(32, vectors=lambda v: v @ mix)

    class Model:
        mteb_model_meta = ModelMeta.create_empty()

        def __init__(self, *a: object) -> None: ...

        def encode(self, inputs, **_: object) -> np.ndarray:
            texts = [text for batch in inputs for text in batch["text"]]
            return HashEncoder(encoder.spec, 32).encode(texts, normalize=False) @ mix

        def similarity(self, a, b):
            raise NotImplementedError

        def similarity_pairwise(self, a, b):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    loaded = runner.load(STS, shared_data, quick=False)
    scores = runner.score(loaded, encoder, pearson=True)
    for each, ours in zip(loaded, scores, strict=True):
        task = mteb.get_task({"SICKRelatedness": "SICK-R"}.get(each.task.name, each.task.name))
        parts = each.parts.values()
        columns = {
            "sentence1": [t for p in parts for t in p.first],
            "sentence2": [t for p in parts for t in p.second],
            "score": [g for p in parts for g in p.gold.tolist()],
        }
        task.dataset, task.data_loaded = DatasetDict({"test": Dataset.from_dict(columns)}), True
        theirs = (
            mteb.evaluate(Model(), task, cache=None, show_progress_bar=False, encode_kwargs={"batch_size": 4096})
            .task_results[0]
            .scores["test"][0]
        )
        assert ours.value == pytest.approx(100 * theirs["cosine_spearman"], abs=0.005), each.task.name
        assert ours.details["pearson"] == pytest.approx(100 * theirs["cosine_pearson"], abs=0.005), each.task.name


def test_agrees_with_scipy_on_a_plain_forward_pass(shared_data: Path, tiny_llama: Path) -> None:
    """The whole path for a real architecture: prompt, left context, last token, cosine, ranks over all subsets."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from indexer import embedding

    some = task_data.quick(task_data.load(TASKS["STS16"], shared_data))
    short = {
        name: items.take(
            [i for i, pair in enumerate(zip(items.first, items.second, strict=True)) if len(max(pair, key=len)) < 60]
        )
        for name, items in some.parts.items()
    }  # the tiny model has few positions
    one = Data(some.task, short, some.source)
    spec = embedding.resolve(EncoderSpec(model=str(tiny_llama), precision="fp32"))
    ours = runner.score([one], embedding.open_encoder(spec, device="cpu"))[0]

    tokenizer, model = AutoTokenizer.from_pretrained(tiny_llama), AutoModel.from_pretrained(tiny_llama)

    def forward(text: str) -> np.ndarray:
        text = text if not text or text[-1] in ".?\"'" else text + "."
        text = text.replace('"', "'")
        text = text[:-1] + "." if text.endswith("?") else text
        ids = tokenizer(f'This sentence : "{text}" means in one word:"', return_tensors="pt")
        with torch.no_grad():
            return model(**ids).last_hidden_state[0, -1].double().numpy()

    similarities, gold = [], []
    for items in one.parts.values():
        for a, b, score in zip(items.first, items.second, items.gold, strict=True):
            u, v = forward(a), forward(b)
            similarities.append(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
            gold.append(score)
    assert len(gold) > 40
    assert ours.value == pytest.approx(100 * spearmanr(similarities, gold).statistic, abs=0.005)


def test_all_mean_and_weighted_mean(shared_data: Path) -> None:
    one = task_data.load(TASKS["STS13"], shared_data)
    encoder = HashEncoder()
    score = runner.score([one], encoder, pearson=True)[0]
    subsets, sizes, pearsons = [], [], []
    for items in one.parts.values():
        u, v = (encoder.encode(side, normalize=False).astype(float) for side in (items.first, items.second))
        similarities = ((u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)).round(10)
        subsets.append(100 * spearmanr(similarities, items.gold).statistic)
        pearsons.append(100 * pearsonr(similarities, items.gold).statistic)
        sizes.append(len(items))
    assert [s["spearman"] for s in score.details["subsets"].values()] == pytest.approx(subsets, abs=0.01)
    assert score.details["mean"] == pytest.approx(np.mean(subsets), abs=0.01)
    assert score.details["wmean"] == pytest.approx(np.average(subsets, weights=sizes), abs=0.01)
    assert score.details["mean_pearson"] == pytest.approx(np.mean(pearsons), abs=0.01)
    assert abs(score.value - score.details["mean"]) > 1  # "all" is not the mean


def test_a_constant_encoder_scores_nothing_and_says_so() -> None:
    pairs = [("a b", "c d", 1.0), ("e", "f g", 2.0), ("h", "i", 4.0)]
    score = runner.score([made(pairs)], Changed(vectors=np.ones_like))[0]
    assert score.value == 0.0
    assert "no correlation is defined" in score.details["notes"][0]


def test_zero_vectors_have_similarity_zero() -> None:
    encoder = Changed(vectors=lambda v: np.zeros_like(v))
    assert runner.score([made([("a", "b", 1.0), ("c", "d", 2.0)])], encoder)[0].items.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_no_numbers_are_an_error(bad: float) -> None:
    encoder = Changed(vectors=lambda v: np.where(np.arange(len(v))[:, None] == 1, bad, v))
    with pytest.raises(ModelError, match="NaN or infinity for 1 of"):
        runner.score([made([("a", "b", 1.0), ("c", "d", 2.0)])], encoder)


def test_duplicate_pairs_count_and_are_encoded_once() -> None:
    encoder = Changed()
    pairs = [("the cat", "the dog", 3.0)] * 3 + [("the cat", "a bird", 0.0), ("x", "x", 5.0)]
    score = runner.score([made(pairs), made(pairs)], encoder)[0]
    assert sorted(encoder.asked) == sorted({"the cat", "the dog", "a bird", "x"})
    assert len(score.items) == 5
    assert score.items[0] == score.items[2]


def test_length_of_vectors_does_not_matter() -> None:
    pairs = [("the cat sat", "the cat", 4.0), ("one two", "two three", 2.0), ("dogs bark", "fish", 0.0)]
    plain = runner.score([made(pairs)], Changed())[0]
    scaled = runner.score([made(pairs)], Changed(vectors=lambda v: v * 7))[0]
    assert scaled.items == pytest.approx(plain.items)
