"""Blocks chosen by number: which lists are allowed, and that what is kept keeps its name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from indexer.embedding.spec import EncoderSpec
from indexer.embedding.weights import depth, llama, loading
from indexer.embedding.weights.models import Located
from indexer.errors import ConfigError, ModelError

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


def test_a_family_that_keeps_no_list_of_blocks_can_still_be_cut_short(tmp_path: Path) -> None:
    """ALBERT runs one block's weights as often as its configuration says."""
    sizes = {"hidden_size": 32, "embedding_size": 16, "num_attention_heads": 4, "intermediate_size": 48}
    transformers.AlbertModel(transformers.AlbertConfig(vocab_size=99, num_hidden_layers=3, **sizes)).save_pretrained(
        tmp_path
    )
    located = Located(tmp_path, None)

    def load(layers: int | tuple[int, ...]) -> torch.nn.Module:
        return loading.load(located, EncoderSpec(model=str(tmp_path), layers=layers), "fp32", torch.device("cpu"))

    assert load(2).config.num_hidden_layers == 2
    with pytest.raises(ModelError, match="AlbertModel has no list of blocks to choose from"):
        load((0, 2))


def test_weights_of_blocks_left_out_are_not_read(tiny: Tiny) -> None:
    model = llama.load(tiny("llama"), (0, 2), None)
    assert model is not None
    assert _numbers(model) == ["0", "2"]
    assert not any(parameter.is_meta for parameter in model.parameters())


def _numbers(model: torch.nn.Module) -> list[str]:
    return next(list(m._modules) for m in model.modules() if isinstance(m, torch.nn.ModuleList))
