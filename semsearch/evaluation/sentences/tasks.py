"""The table of STS and transfer tasks: names as in SentEval, files, official sizes, and how each file is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from indexer.errors import UsageError
from semsearch.evaluation.sentences import senteval_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from semsearch.evaluation.sentences.senteval_files import Items

Protocol = Literal["sts", "folds", "dev", "cross-validation"]
"""How a task is scored: by rank correlation; by nested folds over the whole set; with a dev part that chooses C; or
with folds of the train part that choose C."""


@dataclass(frozen=True)
class Part:
    """A subset of an STS task, or a split of a transfer task."""

    name: str
    files: tuple[str, ...]
    count: int
    """Examples that SentEval scores; any other number is an error."""


@dataclass(frozen=True)
class Hub:
    """A copy of a whole STS task on the Hugging Face hub, without its division into subsets and not tokenised."""

    name: str
    split: str
    revision: str


@dataclass(frozen=True)
class Task:
    """A task: its parts, how their files are read, and how they are scored."""

    name: str
    protocol: Protocol
    folder: str
    """Below ``downstream/``."""
    parts: tuple[Part, ...]
    read: Callable[[Path, Sequence[str]], Items]
    hub: Hub | None = None

    @property
    def count(self) -> int:
        """Official number of examples of all parts."""
        return sum(part.count for part in self.parts)


def _semeval(name: str, revision: str, **counts: int) -> Task:
    subsets = [(subset.replace("__", ".").replace("_", "-"), count) for subset, count in counts.items()]
    parts = tuple(Part(s, (f"STS.input.{s}.txt", f"STS.gs.{s}.txt"), count) for s, count in subsets)
    hub = Hub(f"mteb/{name.lower()}-sts", "test", revision)
    return Task(name, "sts", f"STS/{name}-en-test", parts, senteval_files.semeval, hub)


def _benchmark(name: str, split: str, count: int, hub_split: str) -> Task:
    hub = Hub("mteb/stsbenchmark-sts", hub_split, "b0fddb56ed78048fa8b90373c8a3cfc37b684831")
    return Task(
        name, "sts", "STS/STSBenchmark", (Part(split, (f"sts-{split}.csv",), count),), senteval_files.sts_benchmark, hub
    )


def _folds(name: str, ones: str, zeros: str, count: int) -> Task:
    return Task(name, "folds", name, (Part("all", (ones, zeros), count),), senteval_files.two_files)


_STS = (
    _semeval(
        "STS12",
        "a0d554a64d88156834ff5ae9920b964011b16384",
        MSRpar=750,
        MSRvid=750,
        SMTeuroparl=459,
        surprise__OnWN=750,
        surprise__SMTnews=399,
    ),
    _semeval("STS13", "7e90230a92c190f1bf69ae9002b8cea547a64cca", FNWN=189, headlines=750, OnWN=561),
    _semeval(
        "STS14",
        "6031580fec1f6af667f0bd2da0a551cf4f0b2375",
        deft_forum=450,
        deft_news=300,
        headlines=750,
        images=750,
        OnWN=750,
        tweet_news=750,
    ),
    _semeval(
        "STS15",
        "ae752c7c21bf194d8b67fd573edf7ae58183cbe3",
        answers_forums=375,
        answers_students=750,
        belief=375,
        headlines=750,
        images=750,
    ),
    _semeval(
        "STS16",
        "4d8694f8f0e0100860b497b999b3dbed754a0513",
        answer_answer=254,
        headlines=249,
        plagiarism=230,
        postediting=244,
        question_question=209,
    ),
    _benchmark("STSBenchmark", "test", 1379, "test"),
    # The hub's copies of SICK hold all 9,927 pairs in one split, or 4,906 test pairs: neither is the paper's.
    Task("SICKRelatedness", "sts", "SICK", (Part("test", ("SICK_test_annotated.txt",), 4927),), senteval_files.sick),
)

_TRANSFER = (
    _folds("MR", "rt-polarity.pos", "rt-polarity.neg", 10662),
    _folds("CR", "custrev.pos", "custrev.neg", 3775),
    _folds("SUBJ", "subj.objective", "subj.subjective", 10000),
    _folds("MPQA", "mpqa.pos", "mpqa.neg", 10606),
    Task(
        "SST2",
        "dev",
        "SST/binary",
        (
            Part("train", ("sentiment-train",), 67349),
            Part("dev", ("sentiment-dev",), 872),
            Part("test", ("sentiment-test",), 1821),
        ),
        senteval_files.sst,
    ),
    Task(
        "TREC",
        "cross-validation",
        "TREC",
        (Part("train", ("train_5500.label",), 5452), Part("test", ("TREC_10.label",), 500)),
        senteval_files.trec,
    ),
    Task(
        "MRPC",
        "cross-validation",
        "MRPC",
        (Part("train", ("msr_paraphrase_train.txt",), 4076), Part("test", ("msr_paraphrase_test.txt",), 1725)),
        senteval_files.mrpc,
    ),
)

STS = tuple(task.name for task in _STS)
"""The seven whose average the paper reports."""
TRANSFER = tuple(task.name for task in _TRANSFER)
TASKS = {task.name: task for task in (*_STS, _benchmark("STSBenchmark-dev", "dev", 1500, "validation"), *_TRANSFER)}
"""Everything that can be named; ``STSBenchmark-dev`` is scored only when named."""


def select(names: Sequence[str], among: Sequence[str]) -> tuple[str, ...]:
    """Return the named tasks, each once, in the order given; ``among`` where none is named.

    Raises:
        UsageError: A name is not in the table, or not of the kind of ``among``.
    """
    allowed = [name for name in TASKS if name in among or (name == "STSBenchmark-dev" and "STSBenchmark" in among)]
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise UsageError(f"no task is named {', '.join(unknown)}; tasks here are {', '.join(allowed)}")
    return tuple(dict.fromkeys(names)) or tuple(among)
