"""Part 4: the paper's recipe on the shape of LLaMA 7B: steps a second and memory, in NF4 and in bf16."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import replace
from typing import Any

from common import WORDS, Part, default_model, free, peak_memory, synchronise
from speed import quantised, shape


def main() -> int:
    """Time some steps of each."""
    part = Part(__doc__ or "")
    part.wait()
    for base in ("nf4", "bf16"):
        part.do(f"LLaMA 7B, the paper's recipe, {base}", 12, train, part, base)
    return 0


def train(part: Part, base: str) -> None:
    """Take some steps, with fewer tokens at once where they do not fit into the card's memory."""
    import torch

    for tokens in (256,) if part.small else (3072, 1536, 768):
        try:
            steps(part, base, tokens)
            return
        except torch.OutOfMemoryError:
            free()
    raise MemoryError("not even 768 tokens at once fit into the card's memory")


def steps(part: Part, base: str, at_once: int) -> None:
    """Take some steps: 256 triplets of up to 32 tokens, LoRA of rank 64 on every linear layer.

    The student is the product's own. Its base is made on the card and put where it would load one: writing and reading
    13 GB of random numbers would take all the time there is.
    """
    import torch

    from indexer.embedding.weights import loading, models, tokens
    from semsearch.training.data.rows import Row
    from semsearch.training.recipe import Recipe, Source
    from semsearch.training.run.ranks import Ranks
    from semsearch.training.step.learner import Learner
    from semsearch.training.step.student import Student

    if base == "nf4":
        part.optional("NF4", "bitsandbytes", "bitsandbytes")
    name = default_model(part)
    recipe = Recipe.preset("paper")
    batch = 8 if part.small else recipe.train.batch
    settings = replace(recipe.train, batch=batch, micro_tokens=at_once, keep_tokens=0)
    recipe = replace(
        recipe, train=settings, encoder=replace(recipe.encoder, model=name), lora=replace(recipe.lora, base=base)
    )
    located = models.locate(models.resolve(recipe.encoder))
    words = tokens.load(located.model).backend.get_vocab_size()
    model: Any = shape(part, "LLaMA 7B", torch.bfloat16, words)
    if base == "nf4":
        quantised(model, "nf4", part.device)
        model.is_loaded_in_4bit = part.device == "cuda"  # as transformers marks it, for PEFT
    real = loading.load
    loading.load = lambda *_, **__: model
    try:
        # its fast forms keep the base's weights three times, once in fp32
        student = Student(recipe.encoder, recipe.lora, device=part.device, fast=part.small)
    finally:
        loading.load = real
    learner = Learner(student, recipe, None)
    draw = random.Random(1)

    def text() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(8, 24)))

    seconds, count = [], 0
    room = part.left / 2
    for step in range(3 if part.small else 12):
        rows = [Row(text(), text(), (text(),)) for _ in range(settings.batch)]
        synchronise(part.device)
        began = time.perf_counter()
        student.train()
        loss, count = learner.step(learner.ready(Source(path="random"), rows), Ranks(part.device), step)
        learner.optimizer.step()
        learner.optimizer.zero_grad(set_to_none=True)
        student.refresh()
        synchronise(part.device)
        seconds.append(time.perf_counter() - began)
        if not loss == loss:  # NaN
            raise FloatingPointError(f"the loss of step {step + 1} is no number")
        if sum(seconds) + 2 * seconds[-1] > room:  # the other base takes as long
            break
    best = sorted(seconds[1:] or seconds)[len(seconds[1:] or seconds) // 2]
    part.row(
        f"LLaMA 7B, the paper's recipe, {base}", 1 / best, "steps/s", tokens_per_second=round(count / best),
        batch=settings.batch, tokens_per_step=count, memory_gib=peak_memory(part.device), steps=len(seconds),
        note=f"{settings.batch} triplets, {count:,} tokens a step, {count / best:,.0f} tokens/s",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
