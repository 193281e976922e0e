"""The real default model against vectors of transformers without our encoder (scripts/research/make_golden.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding import open_encoder, resolve
from indexer.embedding.hf_encoder import HFEncoder
from indexer.embedding.prompts.prompt import PromptTemplate
from indexer.embedding.spec import EncoderSpec
from indexer.embedding.weights import packaged

pytestmark = pytest.mark.model

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "default_model.json").read_text("utf-8"))
TEXTS = [row["text"] for row in GOLDEN["rows"]]
VECTORS = np.array([row["vector"] for row in GOLDEN["rows"]], np.float32)


@pytest.fixture(scope="module")
def exact() -> HFEncoder:
    return open_encoder(EncoderSpec(precision="fp32"), device="cpu")


def test_same_weights() -> None:
    assert resolve(EncoderSpec()).weights == GOLDEN["origin"]["model"]


def test_token_ids(exact: HFEncoder) -> None:
    prompts = exact.tokens.prompts(PromptTemplate.of(exact.spec), TEXTS, 512)
    assert prompts.ids == [row["ids"] for row in GOLDEN["rows"]]


def test_vectors_in_fp32(exact: HFEncoder) -> None:
    np.testing.assert_allclose(exact.encode(TEXTS, normalize=False), VECTORS, atol=2e-3, rtol=1e-3)
    alone = np.concatenate([exact.encode([text], normalize=False) for text in TEXTS])
    np.testing.assert_allclose(alone, VECTORS, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(("precision", "near"), [("bf16", 0.999), ("int8", 0.98)])
def test_vectors_in_other_precisions(precision: str, near: float) -> None:
    vectors = open_encoder(EncoderSpec(precision=precision), device="cpu").encode(TEXTS)
    cosine = (vectors * VECTORS).sum(1) / np.linalg.norm(VECTORS, axis=1)
    assert cosine.min() > near


def test_terms(exact: HFEncoder) -> None:
    for row, terms in zip(GOLDEN["rows"], exact.terms(TEXTS, 5), strict=True):
        assert [term for term, _ in terms] == [term for term, _ in row["terms"]]
        np.testing.assert_allclose([p for _, p in terms], [p for _, p in row["terms"]], atol=2e-3)


def test_a_query_waits_neither_for_transformers_nor_for_the_network() -> None:
    """What a cold start imports decides how long it takes."""
    packaged.embedded()
    code = (
        "import socket, sys; socket.socket.connect = None\n"
        "from indexer.embedding import EncoderSpec, open_encoder\n"
        "open_encoder(EncoderSpec(), device='cpu').encode(['a'])\n"
        "print([m for m in ('transformers', 'peft', 'scipy', 'accelerate', 'torch._dynamo') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
