import subprocess
import sys

import numpy as np
import pytest

from indexer.errors import ModelError
from semsearch.search.ranking.rerank import CrossEncoderReranker


def classifier(folder, labels):
    """The folder of a tiny random sequence classifier."""
    import torch
    import transformers

    from tests.models import make

    base = make("bert", folder / f"{labels}")
    config = transformers.AutoConfig.from_pretrained(base, num_labels=labels)
    torch.manual_seed(labels)
    transformers.BertForSequenceClassification(config).save_pretrained(base)
    return base


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("cross"), 1)


def test_scores_are_the_models_own_and_each_texts(cross_encoder):
    import torch
    import transformers

    texts = ["Two dogs are running on the beach", "The stock market fell", "a " * 3000]
    scores = CrossEncoderReranker(str(cross_encoder), "cpu").score("dogs", texts)
    assert (scores.shape, scores.dtype) == ((3,), np.float32)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(cross_encoder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(cross_encoder)
    with torch.no_grad():
        logits = [model(**tokenizer("dogs", text, return_tensors="pt")).logits.item() for text in texts[:2]]
    assert np.argsort(logits).tolist() == np.argsort(scores[:2]).tolist()
    assert scores[:2] == pytest.approx(1 / (1 + np.exp(-np.array(logits))), abs=1e-5)


def test_a_model_that_is_none_or_gives_several_numbers(cross_encoder, tmp_path):
    with pytest.raises(ModelError, match="gives 3 numbers"):
        CrossEncoderReranker(str(classifier(tmp_path, 3))).score("a", ["b"])
    with pytest.raises(ModelError, match="cannot be loaded"):
        CrossEncoderReranker(str(tmp_path)).score("a", ["b"])


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match=r"semsearch\[rerank\]"):
        CrossEncoderReranker("any").score("a", ["b"])


def test_it_is_not_imported_before_it_is_used():
    code = "import sys, semsearch.search.answering; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "sentence_transformers" not in loaded
    assert "torch" not in loaded
