"""Blocks chosen by number: which lists are allowed, and that what is kept keeps its name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from indexer.embedding import depth, llama, loading
from indexer.embedding.encoder import EncoderSpec
from indexer.embedding.models import Located
from indexer.errors import ConfigError

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("layers", [[], [1, 2], [0, 2, 1], [0, 1, 1], [0, 1.0], [0, True], ["0"], 0, -1, 1.5, True])
def test_layers_that_name_no_blocks(layers: object) -> None:
    with pytest.raises(ConfigError, match=r"layers is .* a whole number from 1 up, or the numbers of the blocks"):
        EncoderSpec.from_dict({"layers": layers})


def test_a_list_is_written_and_read_back() -> None:
    spec = EncoderSpec.from_dict({"layers": [0, 2]})
    assert (spec.layers, spec.blocks) == ((0, 2), (0, 2))
    assert spec.to_dict()["layers"] == [0, 2]
    assert EncoderSpec.from_dict(spec.to_dict()) == spec
    assert EncoderSpec(layers=2).blocks == (0, 1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert", "t5"])
def test_blocks_keep_their_names_until_they_are_renamed(tiny: Tiny, family: str) -> None:
    located = Located(tiny(family), None)
    spec = EncoderSpec(model=str(located.model), layers=(0, 2))
    model = loading.load(located, spec, "fp32", torch.device("cpu"), whole=True)
    assert _numbers(model) == ["0", "2"]
    assert model.config.num_hidden_layers == 2
    depth.rename(model)
    assert _numbers(model) == ["0", "1"]


def test_weights_of_blocks_left_out_are_not_read(tiny: Tiny) -> None:
    model = llama.load(tiny("llama"), (0, 2), None)
    assert model is not None
    assert _numbers(model) == ["0", "2"]
    assert not any(parameter.is_meta for parameter in model.parameters())


def _numbers(model: torch.nn.Module) -> list[str]:
    return next(list(m._modules) for m in model.modules() if isinstance(m, torch.nn.ModuleList))
