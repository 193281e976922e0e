import subprocess
import sys

import numpy as np
import pytest

from indexer.errors import ModelError
from semsearch.rerank import CrossEncoderReranker


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    """Folders of tiny random sequence classifiers with one and with three outputs."""
    import torch
    import transformers

    from tests.models import make

    folder = make("bert", tmp_path_factory.mktemp("cross"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for labels in (1, 3):
        config = transformers.AutoConfig.from_pretrained(folder, num_labels=labels)
        torch.manual_seed(labels)
        target = folder.parent / f"{labels}"
        transformers.BertForSequenceClassification(config).save_pretrained(target)
        tokenizer.save_pretrained(target)
    return folder.parent


def test_scores_are_the_models_own_and_each_texts(cross_encoder):
    import torch
    import transformers

    texts = ["Two dogs are running on the beach", "The stock market fell", "a " * 3000]
    scores = CrossEncoderReranker(str(cross_encoder / "1"), "cpu").score("dogs", texts)
    assert (scores.shape, scores.dtype) == ((3,), np.float32)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(cross_encoder / "1").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(cross_encoder / "1")
    with torch.no_grad():
        logits = [model(**tokenizer("dogs", text, return_tensors="pt")).logits.item() for text in texts[:2]]
    assert np.argsort(logits).tolist() == np.argsort(scores[:2]).tolist()
    assert scores[:2] == pytest.approx(1 / (1 + np.exp(-np.array(logits))), abs=1e-5)


def test_a_model_that_is_none_or_gives_several_numbers(cross_encoder, tmp_path):
    with pytest.raises(ModelError, match="gives 3 numbers"):
        CrossEncoderReranker(str(cross_encoder / "3")).score("a", ["b"])
    with pytest.raises(ModelError, match="cannot be loaded"):
        CrossEncoderReranker(str(tmp_path)).score("a", ["b"])


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match=r"semsearch\[rerank\]"):
        CrossEncoderReranker("any").score("a", ["b"])


def test_it_is_not_imported_before_it_is_used():
    code = "import sys, semsearch.searcher; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "sentence_transformers" not in loaded
    assert "torch" not in loaded
