"""Part 2: tokens a second, and the share of the card's measured peak that models of several sizes reach."""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING, Any

from common import ROOT, WORDS, MissingError, Part, default_model, peak_memory, synchronise

sys.path.insert(0, str(ROOT / "scripts" / "bench"))

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

LLAMA = {"vocab_size": 32000}
SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "OPT 1.3B": ("opt", {"hidden_size": 2048, "ffn_dim": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
                         "word_embed_proj_dim": 2048}),
    "LLaMA 7B": ("llama", {**LLAMA, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
                           "num_attention_heads": 32}),
    "LLaMA 13B": ("llama", {**LLAMA, "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
                            "num_attention_heads": 40}),
}  # fmt: skip
TINY = {
    "OPT 1.3B": {"hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                 "word_embed_proj_dim": 64, "vocab_size": 500},
    "LLaMA 7B": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "LLaMA 13B": {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
}  # fmt: skip
TARGETS = {"default model": "target 800,000 tokens/s", "LLaMA 7B": "target 0.40"}


def main() -> int:
    """Measure what is most wanted first, as long as there is time."""
    part = Part(__doc__ or "")
    part.wait()
    peaks: dict[str, float] = {}
    for name in ("bf16", "fp16", "int8"):
        part.do(f"matrix product, {name}", 2, product, part, name, peaks)
    peak = max(peaks.get("bf16", 0.0), peaks.get("fp16", 0.0))
    texts = sentences(part)
    for precision in ("bf16", "fp16"):
        for what, chosen in texts.items():
            part.do(f"default model, {what}, {precision}", 5, default, part, what, chosen, precision, peak)
    part.do("default model, sentence-transformers bf16", 10, sentence_transformers, part, texts)
    for name in ("LLaMA 7B", "OPT 1.3B", "LLaMA 13B"):
        for precision in ("bf16", "fp16") if name == "LLaMA 7B" else ("bf16",):
            part.do(f"{name}, {precision}", 12, large, part, name, precision, peak)
    for name in ("LLaMA 7B", "LLaMA 13B", "OPT 1.3B"):
        for precision in ("nf4", "int8"):
            part.do(f"{name}, {precision}", 15, large, part, name, precision, peak)
    part.do("default model, vLLM", 0 if part.small else 40, vllm, part, texts)
    return 0


def product(part: Part, name: str, peaks: dict[str, float]) -> None:
    """Note the best operations a second of a large square product."""
    import torch

    side = 512 if part.small else 8192
    if name == "int8":
        if part.small:
            raise MissingError("int8 products are measured on a GPU only")
        a = torch.randint(-9, 9, (side, side), dtype=torch.int8, device=part.device)
        b = torch.randint(-9, 9, (side, side), dtype=torch.int8, device=part.device).t()
        run: Callable[[], Any] = lambda: torch._int_mm(a, b)  # noqa: E731
    else:
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
        x, y = (torch.randn(side, side, dtype=dtype, device=part.device) for _ in range(2))
        run = lambda: x @ y  # noqa: E731
    best = min(timed(part, run) for _ in range(3 if part.small else 30))
    peaks[name] = 2 * side**3 / best
    part.row(f"matrix product, {name}", peaks[name] / 1e12, "TFLOP/s", note="the peak of what follows")


def timed(part: Part, run: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    synchronise(part.device)
    began = time.perf_counter()
    run()
    synchronise(part.device)
    return time.perf_counter() - began


# -- the default model, with tokenising and all ------------------------------------------------------------------


def sentences(part: Part) -> dict[str, list[str]]:
    """Return texts of a sentence's length and of a passage's, each once."""
    draw = random.Random(0)
    count = 40 if part.small else 60_000
    short = [" ".join(draw.choices(WORDS, k=draw.randint(6, 16))) + f" {i}." for i in range(count)]
    passages = [" ".join(draw.choices(WORDS, k=100)) + f" {i}." for i in range(count // 6)]
    return {"sentences": short, "passages of 100 words": passages}


def default(part: Part, what: str, texts: list[str], precision: str, peak: float) -> None:
    """Encode texts with the default model: prompts of the whole text, vectors in the machine's memory."""
    import torch
    from bench_encode import Cost
    from transformers import AutoConfig

    from indexer.embedding import open_encoder, resolve
    from indexer.embedding.forward.attention import Grouped
    from indexer.embedding.precision import available
    from indexer.embedding.prompts.prompt import PromptTemplate
    from indexer.embedding.spec import EncoderSpec
    from indexer.embedding.weights import models

    if precision not in available(torch.device(part.device)):
        raise MissingError(f"{part.device} does not compute in {precision}")
    spec = resolve(EncoderSpec(model=default_model(part), precision=precision))
    encoder: Any = open_encoder(spec, device=part.device)
    lengths = [len(ids) for ids in encoder.tokens.prompts(PromptTemplate.of(spec), texts, spec.max_tokens).ids]
    encoder.encode(texts[:2000])
    before = encoder.stats.tokens
    seconds = timed(part, lambda: encoder.encode(texts))
    run = encoder.stats.tokens - before
    cost = Cost(AutoConfig.from_pretrained(models.locate(spec).model), True)(run, lengths)
    note = TARGETS["default model"] if what == "sentences" and precision == "bf16" else ""
    part.row(
        f"default model, {what}, {precision}", sum(lengths) / seconds, "prompt tokens/s", note=note, texts=len(texts),
        texts_per_second=round(len(texts) / seconds), tokens_run=run, mfu=round(cost / seconds / peak, 4),
        memory_gib=peak_memory(part.device),
    )  # fmt: skip
    forward = encoder._forward("last")
    ids = encoder.tokens.prompts(PromptTemplate.of(spec), texts[: len(texts) // 4], spec.max_tokens).ids
    ids.sort(key=len)
    size = max(1, encoder.batch_tokens // max(map(len, ids)))
    parts = [ids[i : i + size] for i in range(0, len(ids), size)]
    for name, attention in (("forward alone", None), ("forward alone, attention not packed", Grouped)):
        forward.attention = attention or forward.attention
        timed(part, lambda: forward(parts[0]))
        seconds = timed(part, lambda: [forward(each) for each in parts])
        part.row(f"default model, {what}, {precision}, {name}", sum(map(len, ids)) / seconds, "prompt tokens/s")
    if what == "sentences":
        one = [timed(part, lambda text=text: encoder.encode([text], "query")) for text in texts[:50]]
        part.row(f"default model, one query, {precision}", 1000 * sorted(one)[len(one) // 2], "ms", note="median")


def sentence_transformers(part: Part, texts: dict[str, list[str]]) -> None:
    """Encode the same as a user of sentence-transformers would."""
    import torch

    part.optional("the comparison", "sentence_transformers", "sentence-transformers")
    from sentence_transformers import SentenceTransformer

    from indexer.embedding import resolve
    from indexer.embedding.prompts.prompt import PromptTemplate
    from indexer.embedding.sentence_transformers_export import export
    from indexer.embedding.spec import EncoderSpec
    from indexer.embedding.weights import models, tokens

    spec = resolve(EncoderSpec(model=default_model(part)))
    folder = part.options.out / "sentence-transformers"
    export(spec, folder)
    model = SentenceTransformer(str(folder), device=part.device, model_kwargs={"dtype": torch.bfloat16})
    tokenizer = tokens.load(models.locate(spec).model)
    for what, chosen in texts.items():
        some = chosen[: max(20, len(chosen) // 6)]
        lengths = [len(ids) for ids in tokenizer.prompts(PromptTemplate.of(spec), some, spec.max_tokens).ids]
        model.encode(some[:64], batch_size=256)
        seconds = timed(part, lambda some=some: model.encode(some, batch_size=256, show_progress_bar=False))
        part.row(
            f"sentence-transformers, {what}, bf16", sum(lengths) / seconds, "prompt tokens/s", note="batches of 256"
        )


def vllm(part: Part, texts: dict[str, list[str]]) -> None:
    """Encode the same with vLLM."""
    part.optional("the comparison", "vllm", "vllm")
    import vllm as engine

    from indexer.embedding import resolve
    from indexer.embedding.prompts.prompt import PromptTemplate
    from indexer.embedding.spec import EncoderSpec
    from indexer.embedding.weights import models, tokens

    spec = resolve(EncoderSpec(model=default_model(part)))
    folder = models.locate(spec).model
    model = engine.LLM(str(folder), runner="pooling", dtype="bfloat16", gpu_memory_utilization=0.5)
    template, tokenizer = PromptTemplate.of(spec), tokens.load(folder)
    for what, chosen in texts.items():
        prompts = [template.render(text) for text in chosen[: len(chosen) // 6]]
        count = sum(len(ids) for ids in tokenizer.prompts(template, chosen[: len(chosen) // 6], spec.max_tokens).ids)
        model.embed(prompts[:64])
        seconds = timed(part, lambda prompts=prompts: model.embed(prompts))
        part.row(f"vLLM, {what}, bf16", count / seconds, "prompt tokens/s")


# -- large shapes with random weights ----------------------------------------------------------------------------


def shape(part: Part, name: str, dtype: Any, vocabulary: int | None = None) -> nn.Module:
    """Return a model of a shape, made on the card."""
    import torch
    import transformers

    kind, sizes = SHAPES[name]
    sizes = {**sizes, **(TINY[name] if part.small else {}), **({"vocab_size": vocabulary} if vocabulary else {})}
    made: Any = transformers.OPTConfig(**sizes) if kind == "opt" else transformers.LlamaConfig(**sizes)
    with torch.device(part.device):
        model: nn.Module = transformers.AutoModel.from_config(made, dtype=dtype).eval().requires_grad_(False)
    return model


def large(part: Part, name: str, precision: str, peak: float) -> None:
    """Run batches of 128 random tokens each, and say what share of the peak that is."""
    import torch
    from bench_encode import Cost

    from indexer.embedding.forward.attention import Grouped
    from indexer.embedding.forward.last_token import fast_forward

    if precision in ("nf4", "int8"):
        part.optional(precision, "bitsandbytes", "bitsandbytes")
    if precision == "fp16" and part.small:
        raise MissingError(f"{precision} is for GPUs")
    model: Any = shape(
        part, name, torch.bfloat16 if precision in ("bf16", "nf4") else torch.float32 if part.small else torch.float16
    )
    quantised(model, precision, part.device)
    forward = fast_forward(model)
    assert forward is not None
    draw = random.Random(2)
    length, count = (16, 4) if part.small else (128, 256)
    vocabulary = model.config.vocab_size
    batch = [[draw.randrange(5, vocabulary) for _ in range(length)] for _ in range(count)]
    ways = [("", forward.attention)] + ([(", attention not packed", Grouped)] if precision == "bf16" else [])
    for note, attention in ways:
        forward.attention = attention
        timed(part, lambda: forward(batch))
        repeats = 2 if part.small else 6
        seconds = min(timed(part, lambda: forward(batch)) for _ in range(repeats))
        share = Cost(model.config, True)(length * count, [length] * count) / seconds / peak
        part.row(
            f"{name}, {precision}{note}", length * count / seconds, "tokens/s", mfu=round(share, 4),
            memory_gib=peak_memory(part.device), note=f"MFU {share:.3f}",
        )  # fmt: skip
        if name in TARGETS and precision == "bf16" and not note:
            part.row(f"{name}, MFU", share, "of the peak", note=TARGETS[name])


def quantised(model: nn.Module, precision: str, device: str) -> None:
    """Quantise every linear layer in place, where that is what the precision is."""
    import torch

    from indexer.embedding.weights import quantise

    if precision in ("nf4", "int8"):
        (quantise.nf4 if precision == "nf4" else quantise.llm_int8)(model, torch.device(device))


if __name__ == "__main__":
    sys.exit(main())
