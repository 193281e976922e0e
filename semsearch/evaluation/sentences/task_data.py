"""Load the examples of STS and transfer tasks: from a folder in SentEval's layout, else from the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.errors import DataError
from semsearch.evaluation.sentences.senteval_files import HOW_TO_FETCH, Items

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from semsearch.evaluation.sentences.tasks import Hub, Task

_MARKS = ("STS", "SICK", "MR", "CR", "SUBJ", "MPQA", "SST", "TREC", "MRPC")
"""Names of folders: the folder that holds one of them is SentEval's ``downstream``."""
QUICK_STS = 150
"""Pairs of each STS task in quick mode, at even distances and in proportion to the subsets."""
QUICK_TRANSFER = {"all": 800, "train": 600, "dev": 200, "test": 200}
"""Examples of each part of a transfer task in quick mode, at even distances."""


@dataclass(frozen=True)
class Data:
    """A task's examples by part, and where they came from."""

    task: Task
    parts: Mapping[str, Items]
    source: str
    """``folder`` or the hub data set with its revision."""
    quick: bool = False
    """Whether only a stated subset of the examples is here."""

    @property
    def digests(self) -> dict[str, str]:
        """Part → SHA-256 of its examples."""
        return {name: items.digest for name, items in self.parts.items()}


def find_downstream(data: Path | None) -> Path | None:
    """Return SentEval's ``downstream`` folder at or below ``data``; None where there is none.

    ``data`` is that folder, the folder that holds it, or the one that holds ``senteval/downstream``.
    """
    if data is not None:
        for folder in (data / "downstream", data / "senteval" / "downstream", data):
            if any((folder / mark).is_dir() for mark in _MARKS):
                return folder
    return None


def load(task: Task, data: Path | None) -> Data:
    """Load all examples of a task, from the folder, else from the hub where the hub has the same ones.

    Raises:
        DataError: A file is missing or damaged, or a part does not have its official size.
    """
    folder = find_downstream(data)
    if folder is None and data is not None:
        raise DataError(
            f"{data} holds no evaluation data in SentEval's layout (a folder downstream/ with STS/, SICK/, MR/ … in "
            f"it); {HOW_TO_FETCH}"
        )
    if folder is not None:
        parts = {part.name: task.read(folder / task.folder, part.files) for part in task.parts}
        for part in task.parts:
            _check(
                len(parts[part.name]), part.count, f"{task.name} {part.name} ({folder / task.folder / part.files[0]})"
            )
        return Data(task, parts, "folder")
    if task.hub is None:
        raise DataError(
            f"{task.name} is not on the hub in the form the papers use, and no data folder was given; {HOW_TO_FETCH}"
        )
    items = _from_hub(task.hub)
    _check(len(items), task.count, f"{task.name} ({task.hub.name})")
    return Data(task, {"all": items}, f"{task.hub.name}@{task.hub.revision[:12]}")


def _check(found: int, official: int, what: str) -> None:
    if found != official:
        raise DataError(
            f"{what} has {found} examples and the official set has {official}; the data is cut off or another "
            f"version, and its score would mean something else; {HOW_TO_FETCH}"
        )


def _from_hub(hub: Hub) -> Items:
    """Load the hub's copy. It is plain text, SentEval's is tokenised and lower-cased: scores differ a little."""
    from datasets import load_dataset

    try:
        rows = load_dataset(hub.name, split=hub.split, revision=hub.revision)
        first, second = ([" ".join(text.split()) for text in rows[column]] for column in ("sentence1", "sentence2"))
        gold = np.array(rows["score"], np.float64)
    except Exception as error:  # its errors for no network, no such data set and offline mode share no class
        raise DataError(
            f"{hub.name} could not be fetched from the hub ({type(error).__name__}: {error}); {HOW_TO_FETCH}"
        ) from error
    if not np.isfinite(gold).all():
        raise DataError(
            f"{hub.name} has scores that are no numbers, in row {int(np.flatnonzero(~np.isfinite(gold))[0])} first"
        )
    return Items(tuple(first), tuple(second), gold)


def quick(data: Data, examples: int | None = None) -> Data:
    """Return a fixed subset for a first impression in minutes on a CPU: the same examples on every machine.

    Args:
        data: All examples.
        examples: About so many in all, shared among the parts by the sizes that they have in quick mode; None: quick
            mode's own number.
    """
    usual = QUICK_STS if data.task.protocol == "sts" else sum(QUICK_TRANSFER[name] for name in data.parts)
    share = (examples or usual) / usual
    if data.task.protocol == "sts":
        total = sum(map(len, data.parts.values()))
        sizes = {name: max(2, round(share * QUICK_STS * len(items) / total)) for name, items in data.parts.items()}
    else:
        sizes = {name: round(share * QUICK_TRANSFER[name]) for name in data.parts}
    parts = {name: items.spread(min(sizes[name], len(items))) for name, items in data.parts.items()}
    return Data(data.task, parts, data.source, quick=True)
