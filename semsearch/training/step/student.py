"""The model in training: base weights in bf16, fp32 or NF4, a LoRA adapter on every linear layer, text → vectors.

b batch, s sequence, d hidden.
"""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from indexer.embedding import precision
from indexer.embedding.forward.plain import PlainForward, padded
from indexer.embedding.forward.pooling import pool
from indexer.embedding.prompts.prompt import PromptTemplate
from indexer.embedding.weights import loading, models, tokens
from indexer.errors import ConfigError, ModelError, TrainingError
from semsearch.training.step import fused
from semsearch.training.step.batching import micro_batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from indexer.embedding.spec import EncoderSpec
    from semsearch.training.recipe import Lora

EVAL_TOKENS = 4096
"""Tokens of a micro-batch without gradients."""
WHOLE = 10**9
"""Weights in linear layers from which a GPU, too, is busy with products, and their gradients would take memory."""


class Student:
    """An encoder whose adapter is being trained.

    Attributes:
        device: Where it computes.
        spec: The encoder, its files found and hashed.
        tokens: Its tokenizer.
        notes: What was decided while loading, for the provenance.
        dtype: Of the base's arithmetic; the adapter's parameters are float32.
        dim: d.
        peft: PEFT's model.
        model: The transformers model inside it.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        lora: Lora,
        *,
        device: str | torch.device | None = None,
        checkpointing: bool = False,
        seed: int = 1,
        fast: bool = True,
    ) -> None:
        """Load the model and put a fresh adapter on it, or the one that ``lora.init`` names.

        Args:
            spec: The encoder; it has no adapter.
            lora: The adapter.
            device: None: the best there is.
            checkpointing: Whether each block's activations are computed again in the backward pass.
            seed: Of the adapter's first values.
            fast: Whether faster forms of the parts may be used (``fused``).

        Raises:
            ModelError: The model or ``lora.init`` cannot be found or read, or they do not belong together.
            ConfigError: ``lora.init`` is of a higher rank or another scale (alpha over rank), or more than plain LoRA.
            PrecisionError: The device does not compute in ``lora.base``.
        """
        self.device = torch.device(device) if device is not None else precision.pick_device(None)
        self.spec = models.resolve(spec)
        located = models.locate(self.spec)
        self.tokens = tokens.load(located.model)
        self.notes: dict[str, Any] = {}
        self._causal = spec.pooling == "last"
        # Rows that share a prefix would share its dropout too; on a GPU one more pass takes longer than the tokens do.
        shared = self._causal and self.device.type == "cpu"
        self._prefix = shared and not (lora.random or checkpointing)
        base = precision.default(self.device) if lora.base == "auto" else lora.base
        precision.check(base, self.device)
        # Weights in 4 bits are only rounded so on a CPU, and one without bf16 takes many times as long to emulate it.
        slow = base == "nf4" and self.device.type == "cpu" and not precision.has_bf16(self.device)
        self.dtype = torch.float32 if base == "fp32" or slow else torch.bfloat16
        self._quantised = base == "nf4" and self.device.type == "cuda"
        # On a CPU, "nf4" is weights rounded to NF4, which pass gradients on; bitsandbytes' own CPU layers stop doing
        # so after their first forward without gradients. There the file's precision is kept, to merge from.
        stored = base if base == "nf4" or self.device.type == "cuda" else "fp32"
        model: Any = loading.load(located, self.spec, stored, self.device, whole=True)
        if self.device.type == "cpu":
            model.float()
        self._limit = loading.max_positions(model.config)
        sample = [row[:48] for row in self._prompts(["a dog", "two people walk along the street"], 48, False)]
        expected = PlainForward(model, spec.pooling, self.tokens)(sample).float()
        self.dim = expected.shape[1]
        torch.manual_seed(seed)  # the adapter's first values
        self.peft = _adapt(model, lora, self.spec)
        self.model: Any = self.peft.base_model.model
        self._prefix = self._prefix and fast and self._same(sample, expected)
        self._fast = self._accelerate(sample, expected) if fast and not self._quantised else []
        if not self._quantised:
            self.model.to(self.dtype) if not self._fast else _cast_rest(self.model, self.dtype)
            for parameter in self.parameters():
                parameter.data = parameter.data.float()
        if lora.init is not None:
            self.restore(_initial(lora, self.spec, self.state()))
        if checkpointing:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._train_base = lora.base_dropout or checkpointing
        self.notes |= {"base": base, "device": str(self.device), "fast": bool(self._fast)}

    # -- texts → vectors --------------------------------------------------------------------------------------

    def prompts(
        self,
        texts: Sequence[str],
        max_tokens: int,
        *,
        query: Sequence[bool] | None = None,
        normalise: bool | None = None,
    ) -> list[list[int]]:
        """Return the token ids of each text's prompt, by the encoder's own prompt code.

        Args:
            texts: n texts.
            max_tokens: Of a text; more are cut.
            query: Whether each text is a query; None: none is.
            normalise: Whether the text is normalised; None: as the encoder does.
        """
        if query is None or self.spec.query_template is None:
            return self._prompts(texts, max_tokens, False, normalise)
        result: list[list[int]] = [[]] * len(texts)
        for role in (False, True):
            rows = [i for i, asked in enumerate(query) if asked is role]
            for i, ids in zip(rows, self._prompts([texts[i] for i in rows], max_tokens, role, normalise), strict=True):
                result[i] = ids
        return result

    def _prompts(
        self, texts: Sequence[str], max_tokens: int, query: bool, normalise: bool | None = None
    ) -> list[list[int]]:
        """Return the prompts of texts of one role."""
        spec = self.spec if normalise is None else replace(self.spec, normalize_text=normalise)
        template = PromptTemplate.of(spec, "query" if query else "passage")
        return self.tokens.prompts(template, texts, max_tokens, self._limit).ids

    def embed(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Return the vectors of prompts, (b, d), with a graph where grad mode is on.

        The prefix that all share is computed once.
        """
        shared = _shared(ids) if self._prefix and len(ids) > 1 else 0
        arguments: dict[str, Any] = {"use_cache": False} if self._causal else {}
        if shared:
            from transformers import DynamicCache

            cache = DynamicCache(config=self.model.config)
            prefix = torch.tensor([ids[0][:shared]], device=self.device)
            self.model(input_ids=prefix, past_key_values=cache, use_cache=True)
            layers: list[Any] = list(cache.layers)  # transformers has several kinds; these hold keys and values
            for layer in layers:
                layer.keys = layer.keys.expand(len(ids), -1, -1, -1)
                layer.values = layer.values.expand(len(ids), -1, -1, -1)
            arguments = {"past_key_values": cache, "use_cache": True}
        # (b, s): what is left; padding on the right, which causal attention never sees from the last real token
        table, mask = padded([row[shared:] for row in ids], self.tokens.pad_id, self.device)
        if not self._causal:
            arguments["attention_mask"] = mask
        hidden = self.model(input_ids=table, **arguments).last_hidden_state  # (b, s, d)
        return pool(hidden, mask, self.spec.pooling)

    @torch.no_grad()
    def encode(self, texts: Sequence[str], *, query: bool = False) -> np.ndarray:
        """Return the vectors that the finished encoder would give: (n, d) float32, not of unit length.

        Equal texts go through the model once.
        """
        self.peft.eval()
        distinct = list(dict.fromkeys(texts))
        ids = self._prompts(distinct, self.spec.max_tokens, query)
        vectors = np.empty((len(distinct), self.dim), np.float32)
        for batch in micro_batches([len(row) for row in ids], EVAL_TOKENS):
            vectors[list(batch.rows)] = self.embed([ids[i] for i in batch.rows]).float().cpu().numpy()
        place = {text: i for i, text in enumerate(distinct)}
        return vectors[[place[text] for text in texts]]

    # -- the adapter ------------------------------------------------------------------------------------------

    def parameters(self) -> list[nn.Parameter]:
        """Return the adapter's parameters."""
        return [p for p in self.peft.parameters() if p.requires_grad]

    def state(self) -> dict[str, Tensor]:
        """Return the adapter's tensors under PEFT's names; they are the parameters' own memory."""
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(self.peft, save_embedding_layers=False)  # "auto" asks the hub
        return {name: value.detach() for name, value in state.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Give the adapter the values of ``state``, which ``state()`` returned."""
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.peft, state)
        self.refresh()

    def refresh(self) -> None:
        """Follow a change of the adapter's parameters."""
        for layer in self._fast:
            layer.refresh()

    def collect(self) -> None:
        """Leave in the adapter's parameters what a backward pass has left in the fast forms."""
        for layer in self._fast:
            layer.collect()

    def train(self) -> None:
        """Turn on the adapter's dropout, and the base's where the recipe asks for it."""
        self.peft.train(self._train_base)
        for name, module in self.peft.named_modules():
            if name.endswith("lora_dropout.default"):
                module.train()

    def save(self, folder: Path) -> None:
        """Write PEFT's adapter_config.json and adapter_model.safetensors (bf16), and encoder.json beside them."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        config = self.peft.peft_config["default"]
        values = config.to_dict() | {"inference_mode": True}
        values = {k: sorted(v) if isinstance(v, set) else v for k, v in values.items()}
        (folder / "adapter_config.json").write_text(json.dumps(values, indent=2, default=str) + "\n", "utf-8")
        state = {name: value.bfloat16().contiguous().cpu() for name, value in self.state().items()}
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "encoder.json").write_text(json.dumps(description(self.spec), indent=2) + "\n", "utf-8")

    # -- loading ----------------------------------------------------------------------------------------------

    def _accelerate(self, sample: list[list[int]], expected: Tensor) -> list[fused.FastLora]:
        """Put the fast forms in place, each only if the vectors stay those of plain transformers; return the layers."""
        layers = [m for m in self.peft.modules() if hasattr(m, "lora_A") and isinstance(m.base_layer, nn.Linear)]
        if len(layers) != sum(hasattr(m, "lora_A") for m in self.peft.modules()):
            return []  # GPT-2's layers are of another class
        on_cpu = self.device.type == "cpu"
        if on_cpu and self._causal and not getattr(self.model.config, "sliding_window", None):
            plain = self.model.config._attn_implementation
            self.model.set_attn_implementation(fused.register())
            if not self._same(sample, expected):
                self.model.set_attn_implementation(plain)
        norms = [m for m in self.model.modules() if hasattr(m, "variance_epsilon") and hasattr(m, "weight")]
        for norm in norms:
            fused.fast_norm(norm, one_kernel=not on_cpu)
        if not self._same(sample, expected):
            for norm in norms:
                del norm.forward
        whole = not on_cpu and sum(layer.base_layer.weight.numel() for layer in layers) < WHOLE
        return [fused.FastLora(layer, self.dtype, whole) for layer in layers]

    @torch.no_grad()
    def _same(self, sample: list[list[int]], expected: Tensor) -> bool:
        """Return whether ``embed`` still gives the vectors of a plain forward."""
        self.peft.eval()
        share = 1e-3 if next(self.peft.parameters()).dtype == torch.float32 else 3e-2
        try:
            seen = self.embed(sample).float()
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):  # a family that cannot do it
            return False
        return bool(torch.allclose(seen, expected, rtol=share, atol=share * float(expected.abs().max())))


def description(spec: EncoderSpec) -> dict[str, object]:
    """Return the fields of encoder.json, which say how to use the adapter."""
    names = ("model", "revision", "template", "query_template", "demonstrations", "normalise", "capitals", "pooling",
             "layers", "dimensions", "max_tokens", "merge_adapter")  # fmt: skip
    values = spec.to_dict()
    return {name: values[name] for name in names}


def begun_from(lora: Lora, spec: EncoderSpec) -> Path | None:
    """Return the folder of the adapter that a training goes on from; None: it begins with a fresh one."""
    return models.locate(replace(spec, adapter=lora.init, adapter_weights=None)).adapter


def check_gradients(student: Student) -> None:
    """Check that every parameter of the adapter has got a gradient.

    Raises:
        TrainingError: One has not.
    """
    missing = [name for name, p in student.peft.named_parameters() if p.requires_grad and p.grad is None]
    if missing:
        raise TrainingError(
            f"{len(missing)} of {len(student.parameters())} adapter parameters got no gradient, the first is "
            f'{missing[0]}; the base\'s layers do not pass gradients on (try lora.base = "bf16")'
        )


def _adapt(model: Any, lora: Lora, spec: EncoderSpec) -> Any:
    """Return PEFT's model: a fresh adapter on every linear layer."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it misses optional kernels aloud when peft loads it
    from peft import LoraConfig, TaskType, get_peft_model

    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # BERT's, which no vector of ours goes through
    conv = tuple(m for m in model.modules() if type(m).__name__ == "Conv1D")  # GPT-2's linear layer
    names = {name for name, m in model.named_modules() if isinstance(m, nn.Linear) or m in conv}
    if spec.layers is None:  # else each by its whole name: a full model has more blocks than this one
        names = {name.rpartition(".")[2] for name in names}
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT computes with any number
        lora_dropout=lora.dropout,
        bias="none",
        fan_in_fan_out=bool(conv),
        target_modules=sorted(names),
        task_type=TaskType.FEATURE_EXTRACTION,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's calls of transformers
        adapted = get_peft_model(model, config)
    kept: Any = adapted.peft_config["default"]
    kept.base_model_name_or_path, kept.revision = spec.model, spec.revision
    return adapted


def _initial(lora: Lora, spec: EncoderSpec, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``lora.init``'s tensors under the names of ``state``; a layer that it leaves alone stays as it began."""
    from safetensors.torch import load_file

    folder = begun_from(lora, spec)
    assert folder is not None
    rank, alpha = plain_lora(folder)
    if rank > lora.rank or alpha * lora.rank != lora.alpha * rank:
        raise ConfigError(
            f"lora.init {lora.init} has rank {rank} and alpha {alpha:g}, the recipe {lora.rank} and {lora.alpha:g}; "
            f"set lora.rank = {rank} and lora.alpha = {alpha:g}, or the same multiple of both"
        )
    try:
        found = load_file(folder / "adapter_model.safetensors")
    except Exception as error:  # safetensors has its own
        raise ModelError(f"the adapter {folder} cannot be read: {error}") from error
    # The adapter of a model with an LM head has that model's longer names.
    longer = {name: name.replace("base_model.model.", "base_model.model.model.", 1) for name in state}
    result = {name: _widened(found.get(name, found.get(longer[name], value)), value, rank)
              for name, value in state.items()}  # fmt: skip
    if all(result[name] is value for name, value in state.items()) or any(
        result[name].shape != value.shape for name, value in state.items()
    ):
        raise ModelError(f"the adapter {folder} was trained on another model than {spec.model}")
    return result


def _widened(found: Tensor, fresh: Tensor, rank: int) -> Tensor:
    """Return a matrix of an adapter of a higher rank that does what ``found``, of ``rank``, does.

    The rows of A and the columns of B that are more stay as ``fresh`` has them: of B they are zero.
    """
    if [a for a, b in zip(found.shape, fresh.shape, strict=True) if a != b] != [rank]:
        return found  # it needs nothing more, or is of another model
    wide = fresh.clone()
    wide[: found.shape[0], : found.shape[1]] = found
    return wide


def plain_lora(folder: Path) -> tuple[int, float]:
    """Return the rank and alpha of an adapter.

    Raises:
        ConfigError: The adapter is more than plain LoRA.
    """
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    more = [name for name in ("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern")
            if config.get(name)]  # fmt: skip
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or more:
        raise ConfigError(
            f"the adapter {folder} is more than plain LoRA ({', '.join(more) or config.get('peft_type')}): training "
            "cannot go on from it"
        )
    return int(config["r"]), float(config["lora_alpha"])


def _cast_rest(model: nn.Module, dtype: torch.dtype) -> None:
    """Put all but the adapter into ``dtype``; the linear layers' weights are merged ones already."""
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.to(dtype)


def _shared(ids: Sequence[Sequence[int]]) -> int:
    """Return the length of the token prefix that all rows share, leaving each row at least one token."""
    low, high = min(map(tuple, ids)), max(map(tuple, ids))
    longest = min(map(len, ids)) - 1
    return next((i for i in range(longest) if low[i] != high[i]), longest)
