"""Measure search on judged collections: every way of ranking × encoders, beside bm25s, with provenance.

    python scripts/research/measure_search.py --data DATA [--only NAME,NAME] [--sparse] [ENCODER…]
    python scripts/research/measure_search.py --dev DIR [--sparse] [ENCODER…]

ENCODER is what `semsearch eval gate --against` takes (a preset or spec file, an adapter, a model, ``none`` for the
default model without adapter), or ``minilm`` for all-MiniLM-L6-v2 with mean pooling. Without one only the lexical arm
and bm25s are compared. --sparse gives the collections a sparse index as well.

The first form scores every collection of DATA and writes scripts/results/search/: a file for each encoder and
collection, kept if encoder, data and weights are still the same, and search.md and search.json made of them all. The
second chooses: it tunes the weights of the arms on the development collections that make_dev_collections.py wrote to
DIR, and writes tune-ENCODER.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from record_baselines import entries, fetch_minilm

from indexer import embedding
from indexer.embedding.spec import EncoderSpec
from semsearch import encoders
from semsearch.cli.eval import Progress
from semsearch.encoders import NOTHING
from semsearch.evaluation import result_files, runner
from semsearch.evaluation.judged import beir, retrieval, tune
from semsearch.evaluation.metrics import resamples
from semsearch.search.asking.weights import Weights
from semsearch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from semsearch.evaluation.judged.queries import Judged

RESULTS = Path(__file__).resolve().parent.parent / "results" / "search"
WORDS_ONLY = "lexical"
"""The name of the run without a model: a hash encoder's lexical arm beside bm25s."""
MEASURE, SAMPLES = retrieval.GATED, 10_000


def spec_of(name: str) -> EncoderSpec:
    if name == WORDS_ONLY:
        return EncoderSpec(model="hash:64")
    if name == "minilm":
        return entries(fetch_minilm(runner.cache_folder() / "models"))[-1].spec
    return encoders.named(name)


def measure(name: str, collections: Sequence[Judged], data: Path, sparse: bool, progress: Progress) -> None:
    """Score one encoder on every collection that has no result of it yet."""
    spec = embedding.resolve(spec_of(name))
    evaluation = runner.Evaluation(Settings(data=data), NOTHING, spec=spec, sparse=sparse, progress=progress)
    for judged in collections:
        path = RESULTS / f"{Path(name).stem}-{judged.name}.json"
        key = {
            "fingerprint": spec.fingerprint,
            "sha256": dict(judged.sha256 or {}),
            "weights": asdict(Weights()),
            "sparse": sparse,
        }
        if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["key"] == key:
            continue
        result, _ = evaluation.retrieval([judged.name])
        result = {**result, "name": Path(name).stem, "key": key}
        if name == WORDS_ONLY:
            _only_words(result, judged)
        result_files.write(path, result)
        figures = ", ".join(f"{way} {values[MEASURE]:.4f}" for way, values in result["scores"].items())
        print(f"{name}, {judged.name}: {figures}", flush=True)


def _only_words(result: dict[str, Any], judged: Judged) -> None:
    """Keep the lexical retriever, and add bm25s on the same documents whole."""
    for kind, values in (("scores", result["scores"]), ("items", result["items"])):
        result[kind] = {name: value for name, value in values.items() if name.split()[-1] == "lexical"}
    for way, stop_words in (("bm25s", []), ("bm25s, stop words", "en")):
        values = bm25s_figures(judged, stop_words)
        result["scores"][way] = {name: round(float(each.mean()), 5) for name, each in values.items()}
        result["items"][f"{judged.name} {way}"] = result_files.item_values(values[MEASURE])


def bm25s_figures(judged: Judged, stop_words: str | list[str]) -> dict[str, np.ndarray]:
    """Measure → (q,): bm25s with its defaults over title and text, Porter's stemmer as SQLite's full text has it."""
    import bm25s
    import Stemmer

    assert judged.corpus is not None
    rows = list(beir.records(judged.corpus))
    names = [row.identifier for row in rows]
    stemmer = Stemmer.Stemmer("porter")

    def tokens(texts: Sequence[str]) -> Any:
        return bm25s.tokenize(texts, stopwords=stop_words, stemmer=stemmer, show_progress=False)

    index = bm25s.BM25()
    index.index(tokens([f"{row.title} {row.text}" for row in rows]), show_progress=False)
    k = min(retrieval.DEPTH, len(rows))
    places, scores = index.retrieve(tokens(list(judged.queries.values())), k=k, show_progress=False)
    run = {
        query: {names[i]: float(score) for i, score in zip(*found, strict=True) if score > 0}
        for query, *found in zip(judged.queries, places, scores, strict=True)
    }
    return retrieval.measure(judged, run)


def difference(items: Mapping[str, Sequence[float]], collection: str, one: str, other: str) -> list[float]:
    """[mean difference, low, high] of two ways on one collection, 95% by a paired bootstrap over its queries."""
    values = np.array(items[f"{collection} {one}"]) - np.array(items[f"{collection} {other}"])
    draws = resamples(len(values), SAMPLES, 0) @ values / len(values)
    return [round(float(x), 5) for x in (values.mean(), *np.percentile(draws, [2.5, 97.5]))]


def summary() -> dict[str, Any]:
    """All results so far: encoder → collection → figures, with hybrid against the better of dense and lexical."""
    found: dict[str, Any] = {}
    for path in sorted(RESULTS.glob("*-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if "key" not in result:
            continue
        [collection] = result["data"]
        scores = {way: values[MEASURE] for way, values in result["scores"].items()}
        entry: dict[str, Any] = {"scores": scores, "finished": result["finished"]}
        if "hybrid" in scores:
            better = max(("dense", "lexical"), key=lambda retriever: scores[retriever])
            entry["better_retriever"] = better
            entry["hybrid_gain"] = difference(result["items"], collection, "hybrid", better)
            entry["rrf_gain"] = difference(result["items"], collection, "hybrid rrf", better)
            entry["fingerprint"] = result["encoder"]["fingerprint"]
        else:
            entry["lexical_gain"] = difference(result["items"], collection, "lexical", "bm25s")
        found.setdefault(result["name"], {})[collection] = entry
    return {"measure": MEASURE, "weights": asdict(Weights()), "encoders": found, "versions": result_files.versions()}


def table(found: Mapping[str, Any]) -> str:
    """The summary in Markdown, figures times 100."""
    weights = ", ".join(f"{arm} {weight:g}" for arm, weight in found["weights"].items())
    lines = [
        f"{MEASURE} × 100 of search, made by scripts/research/measure_search.py. Hybrid is the convex fusion with the",
        f"default weights ({weights}), hybrid rrf by ranks, hybrid sparse of all three arms with equal weights. Gain",
        "is hybrid less the better of dense and lexical, with a 95% interval of a paired bootstrap over queries.",
    ]
    for name, collections in found["encoders"].items():
        ways = list(dict.fromkeys(way for each in collections.values() for way in each["scores"]))
        gains = [each.get("hybrid_gain") or each["lexical_gain"] for each in collections.values()]
        what = "lexical less bm25s" if name == WORDS_ONLY else "gain"
        lines += ["", f"### {name}", "", f"| collection | {' | '.join(ways)} | {what} |"]
        lines.append("|---" * (len(ways) + 2) + "|")
        for (collection, each), (gain, low, high) in zip(collections.items(), gains, strict=True):
            cells = [f"{100 * each['scores'][way]:.1f}" if way in each["scores"] else "" for way in ways]
            interval = f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            lines.append(f"| {collection} | {' | '.join(cells)} | {interval} |")
        means = [100 * np.mean([each["scores"].get(way, np.nan) for each in collections.values()]) for way in ways]
        cells = [f"{mean:.1f}" for mean in means]
        lines.append(f"| mean | {' | '.join(cells)} | {100 * np.mean([gain for gain, *_ in gains]):+.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*")
    parser.add_argument("--data", type=Path, help="folder that holds retrieval/, to report on")
    parser.add_argument("--dev", type=Path, help="folder of development collections, to choose weights on")
    parser.add_argument("--only", help="only these collections, with commas between")
    parser.add_argument("--sparse", action="store_true")
    options = parser.parse_args()
    folder = options.dev or options.data
    if folder is None:
        parser.error("name --data or --dev")
    folders = beir.folders(folder)
    names = options.only.split(",") if options.only else sorted(folders)
    progress = Progress()
    if options.dev:
        for name in options.encoders or [WORDS_ONLY]:
            evaluation = runner.Evaluation(
                Settings(data=folder), NOTHING, spec=spec_of(name), sparse=options.sparse, progress=progress
            )
            result, _ = evaluation.retrieval(names, tune.result)
            result_files.write(RESULTS / f"tune-{Path(name).stem}.json", result)
            print(f"{name}\n{tune.render(result)}\n", flush=True)
        return
    loaded = sorted((beir.load(name, folders[name]) for name in names), key=lambda each: each.name)
    for name in [WORDS_ONLY, *options.encoders]:
        measure(name, loaded, folder, options.sparse and name != WORDS_ONLY, progress)
        found = summary()
        (RESULTS / "search.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "search.md").write_text(table(found), encoding="utf-8")
    print(table(summary()))


if __name__ == "__main__":
    main()
