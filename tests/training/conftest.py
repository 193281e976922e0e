"""A small world of sentences in which meaning can be learnt: the topic is what counts, the frame is noise."""

import json
from pathlib import Path

import pytest
import torch

from indexer.embedding.spec import EncoderSpec
from semsearch.training.recipe import Clean, Dev, Lora, Recipe, Source, Train

TOPICS = ("horse", "stock market", "boundary layer", "beach", "jockey", "dogs", "flat plate", "man")
FRAMES = ("The {} is here", "Two of the {} in the park", "What is the {}", "means {} on Friday", "the {} fell")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Models this small lose more time to threads that wait for each other than they could gain."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with triplets.jsonl and dev.jsonl (scored pairs, no sentence in common)."""
    folder = tmp_path_factory.mktemp("world")
    rows, dev = [], []
    for i, topic in enumerate(TOPICS):
        other = TOPICS[(i + 3) % len(TOPICS)]
        for a in (0, 1, 2):
            for b in (0, 1, 2):
                if a != b:
                    rows.append([FRAMES[a].format(topic), FRAMES[b].format(topic), FRAMES[a].format(other)])
        dev.append([FRAMES[3].format(topic), FRAMES[4].format(topic), 5])
        dev += [[FRAMES[3].format(topic), FRAMES[4].format(o), 0] for o in (other, TOPICS[(i + 1) % len(TOPICS)])]
    write(folder / "triplets.jsonl", [dict(zip(("anchor", "positive", "negative"), r, strict=True)) for r in rows])
    write(folder / "dev.jsonl", [dict(zip(("sentence1", "sentence2", "score"), r, strict=True)) for r in dev])
    return folder


def write(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")


def losses(out: Path) -> list[float]:
    """The losses in a run's log, whose steps must be complete and in order."""
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [e for e in entries if e["event"] == "step"]
    assert [e["step"] for e in steps] == list(range(1, len(steps) + 1))
    return [e["loss"] for e in steps]


@pytest.fixture
def recipe(tiny_llama: Path) -> Recipe:
    """Twelve steps of the tiny model in fp32."""
    return Recipe(
        name="tiny",
        encoder=EncoderSpec(model=str(tiny_llama), template='This sentence : "{text}" means in one word:"'),
        lora=Lora(rank=4, alpha=8, base="fp32"),
        train=Train(batch=16, steps=12, lr=0.01, warmup=2, check_every=4, keep_tokens=200, micro_tokens=150, seed=3),
        clean=Clean(duplicates=True),
        sources=(Source(path="triplets.jsonl"),),
        dev=(Dev(path="dev.jsonl"),),
    )
