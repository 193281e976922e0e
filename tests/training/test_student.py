"""The model in training gives the vectors, and the gradients, of plain transformers and peft."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from indexer import embedding
from indexer.embedding import precision
from indexer.embedding.spec import EncoderSpec
from indexer.errors import ConfigError, ModelError
from semsearch.training.recipe import Lora
from semsearch.training.step import fused
from semsearch.training.step.student import Student, check_gradients
from tests.models import make

TEXTS = ["A man is riding a horse.", "dogs", "What is the boundary layer of a flat plate?", "Two dogs run on the beach"]
SPEC = EncoderSpec(model="", template='This sentence : "{text}" means in one word:"')


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    made = {}

    def get(name):
        if name not in made:
            made[name] = make(name, root)
        return replace(SPEC, model=str(made[name]), pooling="mean" if name == "bert" else "last")

    return get


def randomise(student):
    """An adapter that matters (LoRA starts with B = 0), of values that bf16 files hold."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.copy_(parameter.normal_(0, 0.2).bfloat16())
    student.refresh()


@pytest.mark.parametrize("name", ["llama", "opt", "opt-350m", "gpt2", "qwen3", "gemma3", "bert"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("whole", [False, True])
def test_fast_forms_change_neither_vectors_nor_gradients(family, name, dropout, whole, monkeypatch):
    """``whole``: the forms of a GPU, which makes the weight's gradient, and norms by one kernel."""
    layer, norm = fused.FastLora, fused.fast_norm
    monkeypatch.setattr(fused, "FastLora", lambda wrapped, dtype, _: layer(wrapped, dtype, whole))
    monkeypatch.setattr(fused, "fast_norm", lambda wrapped, one_kernel: norm(wrapped, whole))
    results = []
    for fast in (True, False):
        student = Student(family(name), Lora(rank=3, alpha=6, base="fp32", dropout=dropout), device="cpu", fast=fast)
        randomise(student)
        student.train()
        torch.manual_seed(1)
        vectors = student.embed(student.prompts(TEXTS, 40))
        (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
        student.collect()
        check_gradients(student)
        results.append((vectors.detach(), {n: p.grad for n, p in student.peft.named_parameters() if p.requires_grad}))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    for parameter, grad in results[0][1].items():
        torch.testing.assert_close(grad, results[1][1][parameter], rtol=1e-3, atol=1e-4)


def test_llama_runs_in_the_fast_form(family):
    student = Student(family("llama"), Lora(rank=2, base="fp32"), device="cpu")
    assert student.notes["fast"]
    assert student.model.config._attn_implementation == "semsearch_short"
    assert student._prefix


@pytest.mark.parametrize("base", ["fp32", "bf16"])
def test_saved_adapter_gives_the_vectors_of_training_to_plain_peft_and_to_the_encoder(family, tmp_path, base):
    from peft import PeftModel
    from transformers import AutoModel

    spec = family("llama")
    student = Student(spec, Lora(rank=3, alpha=6, base=base), device="cpu")
    randomise(student)
    student.save(tmp_path)
    vectors = student.encode(TEXTS)
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if base == "fp32" else {"rtol": 0.1, "atol": 0.12}

    plain = PeftModel.from_pretrained(AutoModel.from_pretrained(spec.model), tmp_path).eval()
    with torch.no_grad():
        rows = [plain(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] for ids in student.prompts(TEXTS, 512)]
    np.testing.assert_allclose(vectors, torch.stack(rows).numpy(), **tolerance)

    encoder = embedding.open_encoder(replace(spec, adapter=str(tmp_path), precision=base), device="cpu")
    np.testing.assert_allclose(vectors, encoder.encode(TEXTS, normalize=False), **tolerance)


@pytest.mark.parametrize("layers", [2, (0, 2)])
def test_adapter_of_a_cut_model_touches_its_blocks_of_a_full_one_only(family, tmp_path, layers):
    student = Student(replace(family("llama"), layers=layers), Lora(rank=2, base="fp32"), device="cpu")
    assert student._prefix  # the template's beginning goes through the model once, as in a full one
    randomise(student)
    student.save(tmp_path)
    blocks = [0, 1] if layers == 2 else [0, 2]
    assert json.loads((tmp_path / "encoder.json").read_text())["layers"] == (2 if layers == 2 else blocks)
    targets = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert {int(name.split(".")[1]) for name in targets} == set(blocks)
    encoder = embedding.open_encoder(
        replace(family("llama"), layers=layers, adapter=str(tmp_path), precision="fp32"), device="cpu"
    )
    np.testing.assert_allclose(student.encode(TEXTS), encoder.encode(TEXTS, normalize=False), rtol=1e-3, atol=1e-4)


def test_nf4_base_passes_gradients_on_after_an_evaluation(family):
    student = Student(family("llama"), Lora(rank=2, base="nf4"), device="cpu")
    randomise(student)
    student.encode(TEXTS)
    student.train()
    student.embed(student.prompts(TEXTS, 40)).float().pow(2).sum().backward()
    check_gradients(student)
    assert all(bool(p.grad.abs().sum() > 0) for p in student.parameters())


def test_checkpointing_changes_no_gradient(family):
    results = []
    for checkpointing in (False, True):
        student = Student(family("llama"), Lora(rank=2, base="fp32"), device="cpu", checkpointing=checkpointing)
        randomise(student)
        student.train()
        assert student.model.is_gradient_checkpointing is checkpointing
        student.embed(student.prompts(TEXTS, 40)).pow(2).sum().backward()
        results.append([p.grad for p in student.parameters()])
    for plain, again in zip(*results, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("head", [False, True])
def test_training_goes_on_from_an_adapter(family, tmp_path, head):
    """Its vectors at the start are the adapter's, also of one that peft saved from a model with its LM head."""
    first = Student(family("llama"), Lora(rank=3, alpha=6, base="fp32"), device="cpu")
    randomise(first)
    first.save(tmp_path)
    if head:
        names = load_file(tmp_path / "adapter_model.safetensors")
        longer = {name.replace("base_model.model.", "base_model.model.model."): value for name, value in names.items()}
        save_file(longer, tmp_path / "adapter_model.safetensors")
    lora = Lora(rank=3, alpha=6, base="fp32", init=str(tmp_path))
    second = Student(family("llama"), lora, device="cpu")
    np.testing.assert_allclose(second.encode(TEXTS), first.encode(TEXTS), rtol=1e-5, atol=1e-6)
    wider = Student(family("llama"), replace(lora, rank=5, alpha=10), device="cpu")
    np.testing.assert_allclose(wider.encode(TEXTS), first.encode(TEXTS), rtol=1e-5, atol=1e-6)
    wider.embed(wider.prompts(TEXTS, 40)).pow(2).sum().backward()
    assert all(p.grad[:, 3:].any() for n, p in wider.peft.named_parameters() if "lora_B" in n)  # what is more learns
    for other in ({"rank": 4}, {"rank": 2, "alpha": 4}):
        with pytest.raises(ConfigError, match=r"set lora\.rank = 3 and lora\.alpha = 6"):
            Student(family("llama"), replace(lora, **other), device="cpu")
    with pytest.raises(ModelError, match="another model"):
        Student(family("gpt2"), lora, device="cpu")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(ConfigError, match="more than plain LoRA"):
        Student(family("llama"), lora, device="cpu")


def test_normalisation_in_training_may_differ_from_that_in_use(family):
    """The authors trained on the text as it is and evaluated it normalised."""
    student = Student(family("llama"), Lora(rank=2, base="fp32"), device="cpu")
    with_full_stop = student.prompts(["Two dogs run."], 40, normalise=False)
    assert student.prompts(["Two dogs run"], 40) == with_full_stop
    assert student.prompts(["Two dogs run"], 40, normalise=False) != with_full_stop


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_four_bit_weights_are_computed_with_in_what_the_processor_has(family, monkeypatch, has_bf16, dtype):
    """A processor without bf16 emulates it, many times slower than it computes in fp32; the weights are the same."""
    monkeypatch.setattr(precision, "has_bf16", lambda device: has_bf16)
    student = Student(family("llama"), Lora(rank=2, base="nf4"), device="cpu")
    layer = student.model.layers[1].mlp.up_proj.base_layer
    assert student.dtype == layer.weight.dtype == dtype
    assert torch.equal(layer.weight.float(), layer.weight.bfloat16().float())
