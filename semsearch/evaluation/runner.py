"""Tasks × one encoder → scores: what the commands, the gate and the study share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from indexer import embedding
from indexer.embedding.encoder import Encoder
from indexer.embedding.spec import EncoderSpec
from indexer.embedding.weights import packaged
from indexer.errors import DataError, UsageError
from semsearch import collections, encoders
from semsearch.collections import Runtime
from semsearch.encoders import EncoderOverrides, Purpose
from semsearch.evaluation import beir, report, retrieval, sts, transfer
from semsearch.evaluation import data as evaluation_data
from semsearch.evaluation.beir import Judged
from semsearch.evaluation.data import Data
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.tasks import STS, TASKS, TRANSFER
from semsearch.evaluation.vectors import Progress, encode
from semsearch.search.searcher import Searcher
from semsearch.settings import Settings

Result = dict[str, Any]
Outcome = tuple[Result, list[Score]]
"""The result as in ``report``, and the scores with their items."""
Judge = Callable[..., Outcome]
"""What is done with judged queries and the searchers to answer them: ``SCORE`` or ``tune.result``."""
SCORE: Judge = retrieval.result


def silent(what: str, share: float) -> None:
    """Progress that nobody watches."""


def cache_folder() -> Path:
    """Where vectors and the collections of retrieval tasks are kept between runs."""
    return packaged.cache_folder() / "evaluation"


def load(names: Sequence[str], folder: Path | None, quick: bool) -> list[Data]:
    """The named tasks' examples. Raises DataError before anything expensive has begun."""
    loaded = [evaluation_data.load(TASKS[name], folder) for name in names]
    return [evaluation_data.quick(data) for data in loaded] if quick else loaded


def score(
    loaded: Sequence[Data],
    encoder: Encoder,
    *,
    cache: Path | None = None,
    pearson: bool = False,
    progress: Progress = silent,
) -> list[Score]:
    """Every task's score; each distinct text of all of them is encoded once. Resumes from ``cache``, a folder."""
    texts = (text for data in loaded for items in data.parts.values() for text in items.texts)
    vectors = encode(encoder, texts, cache and cache / "vectors", progress)
    return [
        sts.score(data, vectors, pearson) if data.task.protocol == "sts" else transfer.score(data, vectors, progress)
        for data in loaded
    ]


def run(
    loaded: Sequence[Data],
    open_encoder: Callable[[], Encoder],
    *,
    cache: Path | None = None,
    pearson: bool = False,
    batch_tokens: int | None = None,
    name: str | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Score STS and transfer tasks, and describe the run."""
    started = time.monotonic()
    encoder = open_encoder()
    scores = score(loaded, encoder, cache=cache, pearson=pearson, progress=progress)
    seconds = time.monotonic() - started
    return report.of_tasks(
        scores, loaded, encoder, seconds=seconds, seed=transfer.SEED, batch_tokens=batch_tokens, name=name
    ), scores


class Evaluation:
    """One command's run: what the settings and flags choose, opened once each, on whatever is asked for."""

    def __init__(
        self,
        settings: Settings,
        flags: EncoderOverrides,
        quick: bool = False,
        *,
        spec: EncoderSpec | None = None,
        sparse: bool = False,
        cache: Path | None = None,
        progress: Progress = silent,
    ):
        """``spec``: this encoder, whatever settings and flags say; ``sparse``: collections in BEIR layout get a sparse
        index."""
        self._settings, self._flags, self._quick, self._spec = settings, flags, quick, spec
        self._sparse = sparse
        self._cache = cache or cache_folder()
        self._progress = progress
        self._opened: dict[EncoderSpec, Encoder] = {}

    def tasks(self, names: Sequence[str], pearson: bool = False) -> Outcome:
        """STS and transfer tasks by name."""
        spec = self._chosen("sts")
        return run(
            load(names, self._settings.data, self._quick),
            lambda: self._open(spec),
            cache=self._cache,
            pearson=pearson,
            batch_tokens=self._settings.batch_tokens,
            progress=self._progress,
        )

    def retrieval(self, names: Sequence[str] = (), judge: Judge = SCORE) -> Outcome:
        """Collections in BEIR layout by name; all that the data folder holds where none is named.

        Raises DataError where there is none, or a name is neither in the folder nor on the hub.
        """
        judged = [self._judged(name) for name in names or sorted(beir.folders(self._settings.data))]
        if not judged:
            raise DataError(
                f"{self._settings.data or 'no data folder'}: no collection in BEIR layout; {beir.HOW_TO_FETCH}"
            )
        spec = self._chosen("search")

        def searcher(each: Judged) -> Searcher:
            encoder = self._open(spec)
            store = retrieval.collection(each, encoder, self._cache / "collections", self._progress, self._sparse)
            return Searcher(store, encoder)

        return self._searched(judge, judged, searcher, lambda: self._open(spec))

    def own(self, collection: str | None, judgements: Path | None, judge: Judge = SCORE) -> Outcome:
        """A collection that exists, with a person's judgements; with ``spec`` its files are indexed anew, aside."""
        if judgements is None:
            raise UsageError(
                "a collection is judged with --judgements FILE: lines of query<TAB>relevant path[<TAB>grade]"
            )
        settings = self._settings.override({"collection": collection or None})
        runtime = Runtime(device=settings.device, batch_tokens=settings.batch_tokens)
        with collections.searcher(
            settings, flags=self._flags if self._spec is None else encoders.NOTHING, runtime=runtime
        ) as searcher:
            store = searcher.store
            judged = beir.own(judgements, [file.path for file in store.files("indexed")], sorted(store.roots()))
            if self._spec is None:
                return self._searched(judge, [judged], lambda _: searcher, lambda: searcher.encoder)
            encoder = self._open(self._chosen("search"))
            other = Searcher(retrieval.reindexed(store, encoder, self._cache / "collections", self._progress), encoder)
            return self._searched(judge, [judged], lambda _: other, lambda: encoder)

    def named(self, names: Sequence[str]) -> Outcome:
        """Tasks or retrieval collections, whichever the names are; the seven STS tasks where none is named."""
        tasks = [name for name in names if name in TASKS]
        if tasks and len(tasks) < len(names):
            raise UsageError(
                f"--tasks {','.join(names)} mixes tasks with retrieval collections; gate them one after the other, "
                "each with its own baseline"
            )
        return self.retrieval(names) if names and not tasks else self.tasks(list(dict.fromkeys(tasks)) or STS)

    def all(self, names: Sequence[str] = ()) -> Result:
        """STS, transfer and retrieval in one result; retrieval stands under ``retrieval``, as a result of its own."""
        if not names:
            data = self._settings.data
            with_tasks = data is None or evaluation_data.find_downstream(data) is not None
            names = [*(STS + TRANSFER if with_tasks else ()), *sorted(beir.folders(data))]
        tasks = [name for name in names if name in TASKS]
        others = [name for name in names if name not in TASKS]
        if not tasks:
            return self.retrieval(others)[0]
        for name in others:
            self._judged(name)  # fail before the expensive step
        result, _ = self.tasks(tasks)
        if others:
            found, _ = self.retrieval(others)
            items = result.pop("items") | found.pop("items")
            result |= {"retrieval": found, "items": items}
        return result

    def against(self, encoder: str, names: Sequence[str], collection: str | None, judgements: Path | None) -> Outcome:
        """The same with the encoder of a name: see ``encoders.named``."""
        spec = encoders.named(encoder)
        nothing = encoders.NOTHING
        other = Evaluation(self._settings, nothing, self._quick, spec=spec, cache=self._cache, progress=self._progress)
        if collection is not None or judgements is not None:
            return other.own(collection, judgements)
        return other.named(names)

    def _chosen(self, purpose: Purpose) -> EncoderSpec:
        return embedding.resolve(self._spec or encoders.choose(self._settings, self._flags, purpose))

    def _open(self, spec: EncoderSpec) -> Encoder:
        if spec not in self._opened:
            self._opened[spec] = embedding.open_encoder(
                spec, device=self._settings.device, batch_tokens=self._settings.batch_tokens
            )
        return self._opened[spec]

    def _judged(self, name: str) -> Judged:
        present = beir.folders(self._settings.data)
        if name in present:
            judged = beir.load(name, present[name])
        elif self._settings.data is not None:
            there = ", ".join(sorted(present)) or "none"
            raise UsageError(
                f"no task or collection is named {name}; tasks are {', '.join(TASKS)}, collections in "
                f"{self._settings.data}: {there}"
            )
        else:
            judged = beir.load(name, beir.from_hub(name, self._cache / "hub"))
        return beir.quick(judged, self._cache / "quick") if self._quick else judged

    def _searched(
        self,
        judge: Judge,
        judged: Sequence[Judged],
        searchers: Callable[[Judged], Searcher],
        encoder: Callable[[], Encoder],
    ) -> Outcome:
        return judge(judged, searchers, encoder, batch_tokens=self._settings.batch_tokens, progress=self._progress)
