"""Part 5: a real training of the default adapter at the paper's batch, as many steps as there is time for."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from common import ROOT, MissingError, Part, default_model, free

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from semsearch.training.recipe import Recipe
    from semsearch.training.trainer import Prepared

    Ready = tuple[Prepared, Mapping[int, np.ndarray]]

BATCH = 256
"""Rows of a step: the paper's."""
TRIAL = 6
"""Steps that are timed to choose the length of the run."""
CHECKS = 6


def main() -> int:
    """Read the rows while other parts have the card, then train."""
    part = Part(__doc__ or "")
    ready: list[Ready] = []
    part.do("rows", 0, read, part, ready)
    part.wait()
    signal.signal(signal.SIGTERM, ended)
    try:
        for prepared, near in ready:
            part.do("training", 10, train, part, prepared, near)
    finally:
        keep(part.options.out)
    return 0


def read(part: Part, ready: list[Ready]) -> None:
    """Put the recipe with its rows, and what tells alike ones, into ``ready``.

    Raises:
        MissingError: The model or the data are not on this machine.
    """
    from semsearch.training import trainer
    from semsearch.training.data import alike

    began = time.monotonic()
    recipe, data = (tiny if part.small else full)(part)
    prepared = trainer.prepare(recipe, data)
    rows = sum(len(source.rows) for source in prepared.sources)
    part.row("rows", rows, "rows", note=f"read in {time.monotonic() - began:.0f} s")
    near = {i: alike.signatures(source.rows) for i, source in enumerate(prepared.sources) if source.source.alike}
    ready.append((prepared, near))


def full(part: Part) -> tuple[Recipe, Path]:
    """Return the recipe of all-mpnet-base-v2's vectors at the paper's batch, and a folder with its data.

    Without a teacher its rows are learned by contrast.
    """
    from semsearch.training.recipe import Loss, Recipe

    name, source = default_model(part), part.options.data
    if source is None or not (source / "nli").is_dir():
        raise MissingError("no training data: give their folder with --data")
    data = part.options.out / "data"
    data.mkdir(exist_ok=True)
    for entry in source.iterdir():
        link = data / entry.name
        if not link.exists():
            link.symlink_to(entry)
    if not (data / "development" / "texts.txt").is_file():
        script = ROOT / "scripts" / "research" / "make_dev_collections.py"
        target = data / "development"
        subprocess.run([sys.executable, str(script), "--data", str(source), "--out", str(target)], check=True)
    recipe = Recipe.preset("mpnet")
    train = replace(
        recipe.train, batch=BATCH, lr=6e-4, warmup=20, schedule="linear", average=0.0, steps=2000, micro_tokens=65_536,
        keep_tokens=48_000, save_every=10_000,
    )  # fmt: skip
    recipe = replace(recipe, train=train, encoder=replace(recipe.encoder, model=name))
    if part.options.teacher is None or recipe.distill is None:
        return replace(recipe, loss=Loss(margin=0.0), distill=None), data
    teacher, rules = str(described(part)), replace(recipe.distill, map_alone=20)
    return replace(recipe, loss=replace(recipe.loss, teacher=teacher), distill=rules), data


def described(part: Part) -> Path:
    """Return the teacher's encoder file; a folder with all-mpnet-base-v2 gets one, wherever it was carried to."""
    teacher: Path = part.options.teacher
    if not teacher.is_dir():
        return teacher
    file = part.options.out / "teacher.toml"
    fields = 'template = "{text}"\nnormalise = false\npooling = "mean"\nmax_tokens = 384\n'
    file.write_text(f'model = "{teacher.as_posix()}"\n{fields}', "utf-8")
    return file


def tiny(part: Part) -> tuple[Recipe, Path]:
    """Return a recipe of some steps of a tiny model, and its data."""
    from indexer.embedding.spec import EncoderSpec
    from semsearch.training.recipe import Clean, Dev, Lora, Recipe, Source, Train

    data = part.options.out / "data"
    data.mkdir(exist_ok=True)
    topics = ("horse", "market", "beach", "jockey", "dogs", "plate")
    rows = [{"anchor": f"The {a} is here", "positive": f"Two of the {a} in the park", "negative": f"The {b} is here"}
            for a in topics for b in topics if a != b]  # fmt: skip
    pairs = [{"sentence1": f"means {a} on Friday", "sentence2": f"the {b} fell", "score": 5 * (a == b)}
             for a in topics for b in topics]  # fmt: skip
    for name, records in (("triplets", rows), ("dev", pairs)):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    made = Recipe(
        name="tiny", encoder=EncoderSpec(model=default_model(part)), lora=Lora(rank=4, alpha=8, base="fp32"),
        train=Train(batch=8, steps=2, lr=0.01, warmup=2), clean=Clean(), sources=(Source(path="triplets.jsonl"),),
        dev=(Dev(path="dev.jsonl"),),
    )  # fmt: skip
    return made, data


def train(part: Part, prepared: Prepared, near: Mapping[int, np.ndarray]) -> None:
    """Time a few steps, then make a run of the length that fits; write its curve and keep its adapter."""
    import torch

    from semsearch.training import trainer
    from semsearch.training.data.batch_plan import plan

    def run(steps: int, check_every: int, folder: Path) -> tuple[list[dict[str, Any]], Any]:
        recipe = prepared.recipe.with_train(steps=steps, check_every=check_every)
        sizes = [len(source.rows) for source in prepared.sources]
        weights = [source.weight for source in recipe.sources]
        batches = plan(sizes, weights, recipe.train.batch, steps, recipe.train.seed, near)
        entries: list[dict[str, Any]] = []
        shutil.rmtree(folder, ignore_errors=True)
        chosen = replace(prepared, recipe=recipe, batches=batches)
        vectors = part.options.out / "vectors"  # of the teacher
        done = trainer.train(chosen, folder, device=part.device, progress=entries.append, vectors=vectors)
        return entries, done

    for _ in range(3):
        began = time.monotonic()
        try:
            entries, _ = run(TRIAL, TRIAL, part.options.out / "trial")
            break
        except torch.OutOfMemoryError:
            free()
            settings = prepared.recipe.train
            smaller = prepared.recipe.with_train(
                micro_tokens=settings.micro_tokens // 2, keep_tokens=settings.keep_tokens // 3
            )
            prepared = replace(prepared, recipe=smaller)
            part.row("out of memory", smaller.train.micro_tokens, "tokens at once", note="trying again with so many")
    wall = time.monotonic() - began
    steps_only = [entry["seconds"] for entry in entries if entry["event"] == "step"]
    step = sorted(steps_only)[len(steps_only) // 2]
    around = max(0.0, wall - sum(steps_only))  # loading, and two checks
    room = part.left - 2 - around * (1 + CHECKS / 2)
    most = 8 if part.small else int(prepared.recipe.train.steps or 2000)
    steps = max(2, min(most, int(room / max(step, 1e-3))))
    part.row("training, a step", 1 / max(step, 1e-9), "steps/s", batch=prepared.recipe.train.batch, chosen_steps=steps)
    folder = part.options.out / "run"
    entries, result = run(steps, max(1, steps // CHECKS), folder)
    checks = [entry for entry in entries if entry["event"] == "check"]
    for entry in checks:
        each = ", ".join(f"{name} {score:.2f}" for name, score in entry["scores"].items())
        part.row(f"dev after {entry['step']} steps", entry["dev"], "points", note=each, best=entry["best"])
    tokens = sum(entry["tokens"] for entry in entries if entry["event"] == "step")
    seconds = sum(entry["seconds"] for entry in entries if entry["event"] == "step")
    teacher = prepared.recipe.loss.teacher or "none: contrastive"
    part.row("training", tokens / max(seconds, 1e-9), "tokens/s", note=f"{result.steps} steps, teacher {teacher}")
    part.row("adapter", result.best, "points of dev", note=f"step {result.best_step}; before {result.first}")


def keep(out: Path) -> None:
    """Copy the best adapter, and what tells of the run, to where the report is."""
    folder, adapter = out / "run", out / "adapter"
    if not (folder / "adapter_model.safetensors").is_file():
        return
    shutil.rmtree(adapter, ignore_errors=True)
    adapter.mkdir()
    kept = ("adapter_config.json", "adapter_model.safetensors", "projection.safetensors", "encoder.json", "README.md")
    for name in (*kept, "provenance.json"):
        if (folder / name).is_file():
            shutil.copy(folder / name, adapter / name)
    for name in ("log.jsonl", "evaluation.json"):
        if (folder / name).is_file():
            shutil.copy(folder / name, out / f"training-{name}")


def ended(*_: object) -> None:
    """End in an orderly way when the time is over: the best adapter so far is kept."""
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
