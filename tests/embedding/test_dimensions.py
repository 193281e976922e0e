"""Shorter vectors: the first numbers of each, after the adapter's projection where it has one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from indexer.embedding import open_encoder, resolve
from indexer.embedding.forward.linear import Dense, steady
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.embedding.weights import projection
from indexer.errors import ConfigError, MismatchError, ModelError
from tests.models import make_lora

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tiny = Callable[[str], Path]

TEXTS = ["a man is riding a horse", "two dogs", "", "the woman walks along a street and sees two horses", "two dogs"]
N = 5


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def turned(width: int, rows: int | None = None) -> torch.Tensor:
    """Random orthonormal directions (rows, width), as half precision keeps them."""
    torch.manual_seed(3)
    return torch.linalg.qr(torch.randn(width, width))[0][:rows].half().float()


@pytest.fixture
def spec(tiny: Tiny, tmp_path: Path) -> EncoderSpec:
    """A model with an adapter that has no projection yet."""
    base = tiny("llama")
    adapter = make_lora(base, tmp_path / "adapter", ["q_proj"])
    return EncoderSpec(model=str(base), adapter=str(adapter), precision="fp32")


def folder(spec: EncoderSpec) -> Path:
    from pathlib import Path

    assert spec.adapter is not None
    return Path(spec.adapter)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_without_a_projection_the_first_numbers_stay(tiny: Tiny, family: str) -> None:
    whole = EncoderSpec(model=str(tiny(family)), precision="fp32", pooling="mean")
    full, short = open_encoder(whole), open_encoder(replace(whole, dimensions=N))
    assert short.dim == N
    np.testing.assert_allclose(short.encode(TEXTS), unit(full.encode(TEXTS)[:, :N]), atol=1e-6)
    np.testing.assert_allclose(
        short.encode(TEXTS, normalize=False), full.encode(TEXTS, normalize=False)[:, :N], atol=1e-5
    )


def test_with_a_projection_the_vectors_are_turned_first(spec: EncoderSpec) -> None:
    full = open_encoder(spec).encode(TEXTS)
    directions = turned(full.shape[1])
    projection.write(directions, folder(spec))
    short = open_encoder(replace(spec, dimensions=N)).encode(TEXTS)
    np.testing.assert_allclose(short, unit(full @ directions[:N].numpy().T), atol=1e-5)
    all_of_them = open_encoder(replace(spec, dimensions=full.shape[1])).encode(TEXTS)
    np.testing.assert_allclose(all_of_them @ all_of_them.T, full @ full.T, atol=1e-3)  # turning changes no similarity
    np.testing.assert_array_equal(open_encoder(spec).encode(TEXTS), full)  # nobody asked


def test_a_shorter_vector_has_the_same_bits_in_any_batch(spec: EncoderSpec) -> None:
    if steady(torch.float32) is Dense:
        pytest.skip("the machine has no products that keep a row's bits")
    projection.write(turned(open_encoder(spec).dim), folder(spec))
    encoder = open_encoder(replace(spec, dimensions=N), device="cpu")
    many = [" ".join(f"word{(i * j) % 7}" for j in range(i % 9)) for i in range(70)]
    together = encoder.encode(many)
    np.testing.assert_array_equal(together, np.concatenate([encoder.encode([text]) for text in many]))


def test_terms_are_those_of_the_whole_state(spec: EncoderSpec) -> None:
    """Words come of what the model says, which the vectors' length does not change."""
    full, short = open_encoder(spec), open_encoder(replace(spec, dimensions=N))
    vectors, terms = short.encode_terms(TEXTS)
    np.testing.assert_array_equal(vectors, short.encode(TEXTS))
    assert terms == full.encode_terms(TEXTS)[1]
    states = short.encode(TEXTS, normalize=False)
    assert short.terms(TEXTS, 4, states=states) == full.terms(TEXTS, 4)


def test_queries_with_an_adapter_of_their_own_get_the_projection_of_passages(
    tiny: Tiny, spec: EncoderSpec, tmp_path: Path
) -> None:
    queries = make_lora(tiny("llama"), tmp_path / "queries", ["v_proj"])
    both = replace(spec, query_adapter=str(queries))
    full = open_encoder(both).encode(TEXTS, "query")
    directions = turned(full.shape[1])
    projection.write(directions, folder(spec))
    projection.write(directions.flip(0), queries)
    short = open_encoder(replace(both, dimensions=N)).encode(TEXTS, "query")
    np.testing.assert_allclose(short, unit(full @ directions[:N].numpy().T), atol=1e-5)


def test_they_are_part_of_the_fingerprint_with_the_projection(spec: EncoderSpec) -> None:
    whole = resolve(spec).fingerprint
    short = resolve(replace(spec, dimensions=N))
    assert short.fingerprint not in (whole, resolve(replace(spec, dimensions=N + 1)).fingerprint)
    projection.write(turned(open_encoder(spec).dim), folder(spec))
    assert resolve(spec).fingerprint == whole  # which does not use it
    assert resolve(replace(spec, dimensions=N)).fingerprint != short.fingerprint
    with pytest.raises(MismatchError, match="adapter"):
        resolve(short)


def test_more_than_there_are(spec: EncoderSpec) -> None:
    width = open_encoder(spec).dim
    with pytest.raises(ConfigError, match=rf"dimensions is {width + 1}; the model's vectors have {width} numbers"):
        open_encoder(replace(spec, dimensions=width + 1))
    projection.write(turned(width, rows=N), folder(spec))
    with pytest.raises(ConfigError, match=rf"dimensions is {N + 1}; the projection in .* gives {N} numbers"):
        open_encoder(replace(spec, dimensions=N + 1))
    with pytest.raises(ConfigError, match="hash:64"):
        HashEncoder(EncoderSpec(model="hash:64", dimensions=8))
    for wrong in (0, -1, 1.5, True, "8"):
        with pytest.raises(ConfigError, match="dimensions is"):
            EncoderSpec.from_dict({"dimensions": wrong})


def test_a_projection_that_is_not_the_models(spec: EncoderSpec) -> None:
    projection.write(turned(open_encoder(spec).dim + 1), folder(spec))
    with pytest.raises(ModelError, match="numbers"):
        open_encoder(replace(spec, dimensions=N))
    (folder(spec) / projection.FILE).write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        open_encoder(replace(spec, dimensions=N))


@pytest.mark.parametrize("rows", [4, 300])
def test_principal_axes_are_numpys(rows: int) -> None:
    """Against the eigenvectors of the second moment; of few vectors there are as many axes as vectors."""
    random = np.random.default_rng(1)
    vectors = unit(random.normal(size=(rows, 12)) * np.linspace(3, 0.1, 12) + 0.3).astype(np.float32)
    found = projection.principal_axes(vectors).numpy()
    assert found.shape == (min(rows, 12), 12)
    np.testing.assert_allclose(found @ found.T, np.eye(len(found)), atol=1e-5)
    best = np.linalg.eigh(vectors.T.astype(float) @ vectors)[1][:, ::-1].T[: len(found)]
    np.testing.assert_allclose(np.abs((found * best).sum(1)), 1, atol=1e-4)  # the same lines, either way round
