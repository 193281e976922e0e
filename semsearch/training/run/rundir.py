"""The folder of a run: adapter, recipe, log, evaluation, provenance and the checkpoint to resume from.

adapter_config.json, adapter_model.safetensors   PEFT's, of the best checkpoint so far
projection.safetensors                           to make its vectors shorter, once the run has ended
encoder.json                                     how to use it: template, normalisation, layers, …
recipe.toml  provenance.json  log.jsonl  evaluation.json  curves.svg  README.md
checkpoints/000150/                              the newest state, for --resume
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from semsearch.training.recipe import Recipe
    from semsearch.training.step.learner import Learner
    from semsearch.training.step.student import Student


@dataclass(frozen=True)
class State:
    """Where a run stands; also a JSON file."""

    step: int = 0
    """Steps that are done."""
    best: float | None = None
    """The best dev score so far."""
    best_step: int = 0
    worse: int = 0
    """Checkpoints since the best one."""
    seconds: float = 0.0
    tokens: int = 0


class RunFolder:
    """A run's folder. It writes whole files only: to a name aside, flushed, then renamed.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        """Name the folder; ``begin`` makes it."""
        self.path = path

    def begin(self, recipe: Recipe, fingerprint: str, resume: bool) -> State | None:
        """Claim the folder for a recipe on certain data.

        Args:
            recipe: The run's recipe.
            fingerprint: Of its data.
            resume: Whether to go on with the run that the folder holds.

        Returns:
            The state to go on from; None for a new run.

        Raises:
            ConfigError: The folder is another run's, or not empty.
        """
        mark = self.path / "run.json"
        if mark.is_file():
            known = json.loads(mark.read_text("utf-8"))
            if not resume:
                raise ConfigError(f"{self.path} holds a run already; continue it with --resume, or name another folder")
            if known != {"recipe": recipe.digest, "data": fingerprint}:
                what = "recipe" if known.get("recipe") != recipe.digest else "data"
                raise ConfigError(
                    f"{self.path} was begun with another {what}; resume with the recipe.toml in it and the same data, "
                    "or name another folder"
                )
            found = self._newest()
            if found is None:
                self._log_until(-1)
                return None
            state = State(**json.loads((found / "state.json").read_text("utf-8")))
            self._log_until(state.step)
            return state
        if self.path.exists() and any(self.path.iterdir()):
            raise ConfigError(f"{self.path} is not empty and holds no run; name a new folder")
        self.path.mkdir(parents=True, exist_ok=True)
        self.text("recipe.toml", recipe.to_toml())
        self.json("run.json", {"recipe": recipe.digest, "data": fingerprint})
        return None

    def checkpoint(self, learner: Learner, state: State) -> None:
        """Write all that the rest of the run depends on, and remove older checkpoints.

        The random numbers follow from seed and step.
        """
        from safetensors.torch import save_file

        target = self.path / "checkpoints" / f"{state.step:06d}"
        aside = target.with_name(f".{target.name}.partial")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_file({k: v.contiguous().cpu() for k, v in learner.student.state().items()}, aside / "adapter.safetensors")
        moments = {
            f"{number}.{name}": value.contiguous().cpu()
            for number, values in learner.optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        save_file(moments, aside / "optimizer.safetensors")
        if extra := learner.extra():
            save_file({k: v.contiguous().cpu() for k, v in extra.items()}, aside / "extra.safetensors")
        (aside / "state.json").write_text(json.dumps(vars(state)), "utf-8")
        for file in aside.iterdir():
            _flush(file)
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
        for other in target.parent.iterdir():
            if other.name < target.name or other.name.startswith("."):
                shutil.rmtree(other, ignore_errors=True)

    def restore(self, learner: Learner, state: State) -> None:
        """Put the learner where the checkpoint of ``state`` left it.

        Raises:
            TrainingError: The checkpoint is damaged.
        """
        from safetensors.torch import load_file

        folder = self.path / "checkpoints" / f"{state.step:06d}"
        try:
            learner.student.restore(load_file(folder / "adapter.safetensors"))
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in load_file(folder / "optimizer.safetensors").items():
                number, _, field = name.partition(".")
                moments.setdefault(int(number), {})[field] = value
            if learner.extra():
                learner.restore_extra(load_file(folder / "extra.safetensors"))
        except Exception as error:  # safetensors has its own
            raise TrainingError(f"the checkpoint {folder} is damaged: {error}; start the run anew") from error
        groups = learner.optimizer.state_dict()["param_groups"]
        learner.optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def adapter(self, student: Student) -> None:
        """Make the present adapter the run's result."""
        aside = self.path / ".adapter"
        student.save(aside)
        for file in sorted(aside.iterdir()):
            _flush(file)
            file.replace(self.path / file.name)
        aside.rmdir()

    def restore_best(self, student: Student) -> None:
        """Put the run's result back into the student."""
        from safetensors.torch import load_file

        student.restore(load_file(self.path / "adapter_model.safetensors"))

    def log(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """Return the lines of the log."""
        path = self.path / "log.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []

    def json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        self.text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read(self, name: str) -> Any:
        """Return the content of a JSON file."""
        return json.loads((self.path / name).read_text("utf-8"))

    def text(self, name: str, content: str) -> None:
        """Write a text file."""
        aside = self.path / f".{name}.partial"
        aside.write_text(content, "utf-8")
        _flush(aside)
        aside.replace(self.path / name)

    def _newest(self) -> Path | None:
        """Return the folder of the newest whole checkpoint."""
        found = sorted(p for p in (self.path / "checkpoints").glob("*/state.json") if p.parent.name[0] != ".")
        return found[-1].parent if found else None

    def _log_until(self, step: int) -> None:
        """Forget what was logged after the checkpoint; a last line cut off by a kill goes too."""
        path = self.path / "log.jsonl"
        kept = []
        for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if entry["step"] <= step:
                kept.append(line + "\n")
        self.text("log.jsonl", "".join(kept))


def _flush(path: Path) -> None:
    """Wait until a file is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
