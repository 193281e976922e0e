"""Compare encoders on development sets, item by item: which adapter to ship, what a precision loses.

    python scripts/research/compare_encoders.py --data DATA --dev DIR --out FILE [--pairs N] [--queries N]
        [--documents N] [--words N] [--device NAME] [--cache DIR] [--mixed] ENCODER[@PRECISION] …

ENCODER is what `semsearch eval gate --against` takes, PRECISION one of the product's, or ``vnni``: int8 as processors
with VNNI compute it, in the same whole numbers, on any processor. Each encoder is compared with the first. The sets are
N pairs of STS-B dev, spread over it, and of each collection that make_dev_collections.py wrote to DIR the first N
queries among N passages, those that answer them and others, each cut to N words: nDCG@10 of dense search. FILE gets all
figures, with 95% intervals of a paired bootstrap. With --mixed also, for two precisions of one encoder, what happens
where a collection is searched in another one than it was made in, and where every second passage is of the other one.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ir_measures
import numpy as np
import torch
from torch import Tensor

from indexer import embedding
from indexer.embedding.forward import families, last_token
from indexer.embedding.forward.linear import Int8, Packed
from semsearch import encoders
from semsearch.cli.eval import Progress
from semsearch.evaluation import gate, result_files, runner
from semsearch.evaluation.judged import beir
from semsearch.evaluation.judged.retrieval import measured
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.sentences import sts, vector_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from semsearch.evaluation.judged.queries import Judged
    from semsearch.evaluation.sentences.vector_cache import Vectors

    Sets = list[tuple[Judged, dict[str, str]]]
    """Collections: some queries with what answers them, and passages by name."""

DEPTH, VNNI = 10, "vnni"


class Vnni(Int8):
    """Int8 with 127 steps, its products summed in whole numbers by other means.

    A product of two values is at most 127², and 512 of them add up to less than 2²⁴: every sum of floats is exact.
    """

    PART = 512

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: Callable[[Tensor], Tensor] | None,
        smooth: Tensor | None = None,
    ) -> None:
        """Keep the quantised weight (o, i) in parts of its inputs, as floats."""
        super().__init__(weight, bias, activation, smooth, steps=127)
        weight = weight.float() if smooth is None else weight.float() * smooth
        self.parts = (weight / self.scale[:, None]).round_().split(self.PART, 1)
        del self.weight

    @staticmethod
    def works() -> bool:
        """Return True: floats are everywhere."""
        return True

    def sums(self, values: Tensor) -> Tensor:
        """Return (t, o) float32, as the instruction has it."""
        split = (values.float() - self.zero).split(self.PART, 1)
        total = sum((part @ weight.T).to(torch.int32) for part, weight in zip(split, self.parts, strict=True))
        return total * self.scale


def as_with_vnni() -> None:
    """Make int8 what it is where there is VNNI, attention in bf16 included."""
    loose: Any = families
    loose.Int8 = Vnni
    loose = last_token
    loose.Int8 = Vnni
    loose = Packed
    loose.works = staticmethod(lambda dtype: dtype == torch.bfloat16)


def retrieval(folder: Path, queries: int, documents: int, words: int) -> tuple[Judged, dict[str, str]]:
    """Some of a collection's queries with what answers them, and passages by name."""
    judged = beir.load(folder.name, folder)
    assert judged.corpus is not None
    asked = dict(list(judged.queries.items())[:queries])
    relevant = {query: judged.relevant[query] for query in asked}
    texts = {row.identifier: f"{row.title} {row.text}".strip() for row in beir.records(judged.corpus)}
    wanted = set().union(*relevant.values())
    names = sorted(wanted) + [name for name in texts if name not in wanted]
    kept = {name: " ".join(texts[name].split()[:words]) for name in names[: max(documents, len(wanted))]}
    return replace(judged, queries=asked, relevant=relevant), kept


def ndcg(judged: Judged, documents: dict[str, str], asked: Vectors, *made: Vectors) -> Score:
    """Score one collection: nDCG@10 of each query, ``asked``; its passages are of each of ``made`` in turn."""
    names, rows = list(documents), np.arange(len(documents))
    q = unit(asked[judged.queries.values()])
    d = np.stack([unit(vectors[documents.values()]) for vectors in made])[rows % len(made), rows]
    run = {
        query: {names[i]: float(scores[i]) for i in np.argsort(-scores, kind="stable")[:DEPTH]}
        for query, scores in zip(judged.queries, q @ d.T, strict=True)
    }
    [items] = measured(judged, run, [ir_measures.nDCG @ DEPTH]).values()
    return Score(judged.name, 100 * float(items.mean()), items, None, tuple(judged.queries.values()), {})


def unit(vectors: np.ndarray) -> np.ndarray:
    made: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return made


def scores(name: str, sets: Sets, options: argparse.Namespace) -> tuple[list[Score], Vectors]:
    """The sets' scores with one encoder, and the vectors of all texts."""
    name, _, precision = name.partition("@")
    spec = encoders.named(name)
    emulated = precision == VNNI
    if precision:
        spec = replace(spec, precision="int8" if emulated else precision)
    encoder = embedding.open_encoder(embedding.resolve(spec), device=options.device)
    [data] = runner.load(["STSBenchmark-dev"], options.data, quick=False)
    part = data.parts["dev"]
    step = max(1, len(part.gold) // options.pairs)
    part = replace(part, **{field: getattr(part, field)[::step] for field in ("first", "second", "gold")})
    data = replace(data, parts={"dev": part})
    texts = list(part.texts) + [t for judged, d in sets for t in (*judged.queries.values(), *d.values())]
    cache = options.cache and options.cache / (VNNI if emulated else "plain")
    vectors = vector_cache.encode(encoder, texts, cache, Progress())
    return [sts.score(data, vectors), *(ndcg(*each, vectors, vectors) for each in sets)], vectors


def collections(options: argparse.Namespace) -> Sets:
    """The development collections, each cut as the options say."""
    return [
        retrieval(path, options.queries, options.documents, options.words)
        for path in sorted(options.dev.iterdir())
        if path.is_dir()
    ]


def differences(before: list[Score], after: list[Score]) -> list[float]:
    """Change, low and high of the mean over some sets."""
    found = gate.compare(before, after).differences[-1]
    return [round(x, 2) for x in (found.change, found.low, found.high)]


def mixed(first: Vectors, other: Vectors, before: list[Score], sets: Sets) -> dict[str, Any]:
    """What queries of the first encoder find in passages of the other one, and of both in turn; the converse too."""
    ways = {
        "queries of the first": (first, other),
        "passages of the first": (other, first),
        "every second passage of the first, queries of the first": (first, other, first),
        "every second passage of the first, queries of the other": (other, other, first),
    }
    lines = {}
    for way, vectors in ways.items():
        found = [ndcg(*each, *vectors) for each in sets]
        mean = round(float(np.mean([each.value for each in found])), 2)
        lines[way] = {"collections": mean, "less the first": differences(before, found)}
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument("--queries", type=int, default=150)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--words", type=int, default=72, help="of a passage; more are cut")
    parser.add_argument("--device", default="cpu", help="vnni is for a CPU alone")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--mixed", action="store_true")
    options = parser.parse_args()
    names = sorted(options.encoders, key=lambda name: name.endswith(f"@{VNNI}"))  # the patch is for good
    sets = collections(options)
    found: dict[str, tuple[list[Score], Vectors]] = {}
    lines: dict[str, Any] = {"pairs": options.pairs, "queries": options.queries, "documents": options.documents}
    for name in names:
        if name.endswith(f"@{VNNI}"):
            as_with_vnni()
        found[name] = made, vectors = scores(name, sets, options)
        line: dict[str, Any] = {each.task: round(each.value, 2) for each in made}
        line["collections"] = round(float(np.mean([each.value for each in made[1:]])), 2)
        if len(found) > 1:
            before, its = found[options.encoders[0]]
            line["less the first"] = {
                "STSBenchmark-dev": differences(before[:1], made[:1]),
                "collections": differences(before[1:], made[1:]),
            }
            if options.mixed:
                line["mixed"] = mixed(its, vectors, before[1:], sets)
        lines[Path(name).name] = line
        print(name, json.dumps(line), flush=True)
        options.out.write_text(json.dumps(lines | {"versions": result_files.versions()}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
