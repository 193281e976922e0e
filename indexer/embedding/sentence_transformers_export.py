"""An encoder as a folder that sentence-transformers (5.6 or newer) loads with no code of ours.

The prompt becomes a chat template: sentence-transformers restores a chat template's end after truncation, and
normalisation can be written in it. The vectors are those of ``encode`` (unit length); only a text that is cut may
differ, since there the limit counts the tokens of the whole prompt.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from indexer.embedding import quiet
from indexer.embedding.prompts.prompt import MIN_CAPITALS, MIN_SHARE, PromptTemplate
from indexer.embedding.weights import depth, loading, models, projection, tokens
from indexer.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from indexer.embedding.spec import EncoderSpec, Precision

POOLINGS = {"last": "lasttoken", "mean": "mean", "cls": "cls"}
_CLASSES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def export(spec: EncoderSpec, target: Path) -> None:
    """Write the encoder into ``target``, a folder that does not exist yet; an adapter is merged.

    Written in the spec's precision, fp32 where it names none.

    Raises:
        ModelError: sentence-transformers cannot express the encoder.
        ConfigError: ``target`` exists.
    """
    if target.exists():
        raise ConfigError(f"{target} exists; give a folder that does not, or remove it first")
    if spec.pooling not in POOLINGS:
        raise ModelError(
            f"pooling {spec.pooling} has no counterpart in sentence-transformers; {', '.join(POOLINGS)} have"
        )
    precision: Precision = spec.precision or "fp32"
    if precision not in ("fp32", "bf16", "fp16"):
        raise ModelError(f"{precision} weights cannot be exported; choose fp32, bf16 or fp16")
    if spec.dimensions is not None and precision != "fp32":
        raise ModelError(
            f"sentence-transformers cuts vectors in fp32 alone; export fp32, or {precision} with all dimensions"
        )
    if spec.adapter is not None and not spec.merge_adapter:
        raise ModelError("an export holds merged weights, and this encoder keeps its adapter apart (merge_adapter)")
    spec = models.resolve(replace(spec, precision=precision))
    located = models.locate(spec)
    model: Any = loading.load(located, spec, precision, torch.device("cpu"), whole=True)
    if isinstance(spec.layers, tuple):
        depth.rename(model)
    aside = target.with_name(target.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with quiet.loading_weights():
            model.save_pretrained(aside)
        _write_tokenizer(located.model, spec, loading.max_positions(model.config), aside)
        width = loading.width(model.config)
        kept = None if spec.dimensions is None else projection.load(located.adapter, width, spec.dimensions)
        _write_modules(width, kept, spec, aside)
        (aside / "encoder.json").write_text(json.dumps(spec.to_dict(), indent=2) + "\n", "utf-8")
        aside.replace(target)
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def is_bare(spec: EncoderSpec) -> bool:
    """Return whether a prompt is nothing but its text."""
    prompts = [PromptTemplate.of(spec, role) for role in ("passage", "query")]
    return all(prompt.render(text) == text for prompt in prompts for text in ('a "b"', "A" * MIN_CAPITALS))


def chat_template(spec: EncoderSpec, before: str, after: str) -> str:
    """Return the prompt as a Jinja template over one message, between the tokenizer's special tokens."""
    lines = ['{%- set text = messages[0]["content"] -%}']
    if spec.capitals == "lower":
        lines += [
            '{%- set small = text | select("lower") | list | length -%}',
            '{%- set large = text | select("upper") | list | length -%}',
            f"{{%- if large >= {MIN_CAPITALS} and large >= {MIN_SHARE} * small -%}}",
            '{%- set text = text | replace("\u0130", "i") | lower -%}{%- endif -%}',
        ]
    if spec.normalize_text:
        lines += [
            """{%- if text and text[-1] not in ".?\\"'" -%}{%- set text = text + "." -%}{%- endif -%}""",
            """{%- set text = text | replace('"', "'") -%}""",
            """{%- if text and text[-1] == "?" -%}{%- set text = text[:-1] + "." -%}{%- endif -%}""",
        ]
    passage, query = (_around(PromptTemplate.of(spec, role), before, after) for role in ("passage", "query"))
    if passage == query:
        lines.append(passage)
    else:
        lines.append(f'{{%- if task is defined and task == "query" -%}}{query}{{%- else -%}}{passage}{{%- endif -%}}')
    return "".join(lines)


def _around(prompt: PromptTemplate, before: str, after: str) -> str:
    # JSON's string literals are Jinja's
    prefix, suffix = (json.dumps(part, ensure_ascii=False) for part in (before + prompt.prefix, prompt.suffix + after))
    return f"{{{{- {prefix} + text + {suffix} -}}}}"


def _write_tokenizer(folder: Path, spec: EncoderSpec, positions: int | None, target: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    backend = tokens.load(folder).backend
    sample = backend.encode("a", add_special_tokens=True)
    special = [token if mask else None for token, mask in zip(sample.tokens, sample.special_tokens_mask, strict=True)]
    text = [i for i, token in enumerate(special) if token is None]
    before, after = ("".join(filter(None, part)) for part in (special[: text[0]], special[text[-1] + 1 :]))
    around = len(backend.encode(PromptTemplate.of(spec).render(""), add_special_tokens=True).ids)
    longest = around + spec.max_tokens + spec.normalize_text  # normalisation may add a period
    tokenizer.model_max_length = min(longest, positions or longest)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = None if is_bare(spec) else chat_template(spec, before, after)
    tokenizer.save_pretrained(target)


def _write_modules(width: int, kept: Tensor | None, spec: EncoderSpec, target: Path) -> None:
    """Write the modules; ``kept`` (n, d): what makes vectors of d = ``width`` numbers shorter."""
    names = [name for name in _CLASSES if name != "Dense" or kept is not None]
    folders = {name: "" if i == 0 else f"{i}_{name}" for i, name in enumerate(names)}
    output = {"method": "forward", "method_output_name": "last_hidden_state"}
    modalities: dict[str, Any] = {"text": output}
    if not is_bare(spec):
        modalities["message"] = {**output, "format": "flat"}
    _dump(
        target / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": modalities,
            "module_output_name": "token_embeddings",
        },
    )
    _dump(
        target / folders["Pooling"] / "config.json",
        {"embedding_dimension": width, "pooling_mode": POOLINGS[spec.pooling], "include_prompt": True},
    )
    vector = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    if kept is not None:
        shape: dict[str, Any] = {"in_features": width, "out_features": len(kept), "bias": False}
        shape["activation_function"] = "torch.nn.modules.linear.Identity"
        _dump(target / folders["Dense"] / "config.json", shape | vector)
        save_file({"linear.weight": kept.contiguous()}, target / folders["Dense"] / "model.safetensors")
    _dump(target / folders["Normalize"] / "config.json", vector)
    _dump(
        target / "modules.json",
        [{"idx": i, "name": str(i), "path": folders[name], "type": _CLASSES[name]} for i, name in enumerate(names)],
    )
    _dump(
        target / "config_sentence_transformers.json",
        {"model_type": "SentenceTransformer", "prompts": {"query": "", "document": ""}, "default_prompt_name": None,
         "similarity_fn_name": "cosine"},
    )  # fmt: skip


def _dump(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
