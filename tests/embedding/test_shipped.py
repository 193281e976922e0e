"""The adapters that come along: small, described, and the same to plain peft as to our encoder."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from indexer import embedding
from indexer.embedding import open_encoder
from indexer.embedding.spec import EncoderSpec
from indexer.embedding.weights import models

ADAPTERS = embedding.shipped_adapters()
FOLDER = models.ADAPTERS
TEXTS = ["A jockey is riding a horse.", "Why do birds sing at dawn?", 'He said "no"', "stock markets"]


def spec_of(name: str) -> EncoderSpec:
    return EncoderSpec.from_dict({**embedding.adapter_description(name), "adapter": name, "precision": "fp32"})


@pytest.mark.parametrize("name", ADAPTERS)
def test_small_and_described(name):
    folder = FOLDER / name
    assert (folder / "adapter_model.safetensors").stat().st_size < 25e6
    assert json.loads((folder / "adapter_config.json").read_text("utf-8"))["r"] <= {"default": 32, "fast": 80}[name]
    card = (folder / "README.md").read_text("utf-8")
    for heading in ("## How it was made", "## Data", "## Scores", "## Limits"):
        assert heading in card


@pytest.mark.model
@pytest.mark.parametrize("name", ADAPTERS)
def test_peft_alone_gives_the_same_vectors(name):
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer

    spec = spec_of(name)
    base = models.locate(spec).model
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(base, dtype=torch.float32), FOLDER / name).eval()
    if spec.blocks is not None:  # as the card says
        decoder = model.base_model.model
        decoder.layers = torch.nn.ModuleList([decoder.layers[block] for block in spec.blocks])
        decoder.config.num_hidden_layers = len(spec.blocks)
    tokenizer = AutoTokenizer.from_pretrained(base)
    normalised = ["A jockey is riding a horse.", "Why do birds sing at dawn.", "He said 'no'", "stock markets."]
    theirs = []
    with torch.inference_mode():
        for text in normalised:
            ids = tokenizer(spec.template.replace("{text}", text), return_tensors="pt", add_special_tokens=False)
            theirs.append(model(**ids, use_cache=False).last_hidden_state[0, -1].numpy())
    states = np.array(theirs)
    if spec.dimensions is not None:  # as the card says
        shorter = load_file(FOLDER / name / "projection.safetensors")["weight"].float()[: spec.dimensions]
        states = states @ shorter.numpy().T
    ours = open_encoder(spec, device="cpu").encode(TEXTS, normalize=False)
    np.testing.assert_allclose(ours, states, atol=5e-3, rtol=1e-3)
