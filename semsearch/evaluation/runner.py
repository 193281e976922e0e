"""Score tasks with one encoder, as the commands, the gate and the study all do.

Collections are imported where they are judged: tasks are scored without a database, FAISS and readers of files.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from indexer import embedding
from indexer.embedding.weights import packaged
from indexer.errors import DataError, UsageError
from semsearch import encoders
from semsearch.evaluation import result_files
from semsearch.evaluation.judged import beir
from semsearch.evaluation.judged.qrels import HOW_TO_FETCH
from semsearch.evaluation.metrics import Score
from semsearch.evaluation.progress import Progress, silent
from semsearch.evaluation.sentences import sts, task_data, transfer_tasks
from semsearch.evaluation.sentences.tasks import STS, TASKS, TRANSFER
from semsearch.evaluation.sentences.vector_cache import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from semsearch.encoders import EncoderOverrides
    from semsearch.evaluation.judged.collection import JudgedCollection
    from semsearch.evaluation.judged.queries import Judged
    from semsearch.evaluation.judged.retrieval import Judge
    from semsearch.evaluation.sentences.task_data import Data
    from semsearch.settings import Settings

Result = dict[str, Any]
Outcome = tuple[Result, list[Score]]
"""The result as in ``results``, and the scores with their items."""


def cache_folder() -> Path:
    """Return the folder where vectors and the collections of retrieval tasks are kept between runs."""
    return packaged.cache_folder() / "evaluation"


def load(names: Sequence[str], folder: Path | None, quick: bool, examples: int | None = None) -> list[Data]:
    """Load the named tasks' examples; with ``quick`` some, about ``examples`` of each task where that is given.

    Raises:
        DataError: Data are missing or damaged. Nothing expensive has begun by then.
    """
    loaded = [task_data.load(TASKS[name], folder) for name in names]
    return [task_data.quick(data, examples) for data in loaded] if quick else loaded


def score(
    loaded: Sequence[Data],
    encoder: Encoder,
    *,
    cache: Path | None = None,
    pearson: bool = False,
    progress: Progress = silent,
) -> list[Score]:
    """Score every task; each distinct text of all of them is encoded once. Resumes from ``cache``, a folder."""
    texts = (text for data in loaded for items in data.parts.values() for text in items.texts)
    vectors = encode(encoder, texts, cache and cache / "vectors", progress)
    return [
        sts.score(data, vectors, pearson)
        if data.task.protocol == "sts"
        else transfer_tasks.score(data, vectors, progress)
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
    return result_files.of_tasks(
        scores, loaded, encoder, seconds=seconds, seed=transfer_tasks.SEED, batch_tokens=batch_tokens, name=name
    ), scores


class Evaluation:
    """One command's run: the encoders that settings and flags choose, each opened once."""

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
    ) -> None:
        """Keep what the run goes by.

        Args:
            settings: Where data and collections lie, and the encoder where ``flags`` do not say.
            flags: Options of the encoder by name.
            quick: Score a fixed subset.
            spec: This encoder, whatever settings and flags say.
            sparse: Give collections in BEIR's layout a sparse index.
            cache: Folder for vectors and collections between runs; None: the user's.
            progress: Told what is being done.
        """
        self._settings, self._flags, self._quick, self._spec = settings, flags, quick, spec
        self._sparse = sparse
        self._cache = cache or cache_folder()
        self._progress = progress
        self._opened: dict[EncoderSpec, Encoder] = {}

    def tasks(self, names: Sequence[str], pearson: bool = False) -> Outcome:
        """Score STS and transfer tasks by name."""
        spec = self._chosen()
        return run(
            load(names, self._settings.data, self._quick),
            lambda: self._open(spec),
            cache=self._cache,
            pearson=pearson,
            batch_tokens=self._settings.batch_tokens,
            progress=self._progress,
        )

    def retrieval(self, names: Sequence[str] = (), judge: Judge | None = None) -> Outcome:
        """Judge collections in BEIR's layout by name; all that the data folder holds where none is named.

        Raises:
            DataError: There is none, or its files are damaged.
            UsageError: A name is not in the folder.
        """
        judged = [self._judged(name) for name in names or sorted(beir.folders(self._settings.data))]
        if not judged:
            raise DataError(f"{self._settings.data or 'no data folder'}: no collection in BEIR layout; {HOW_TO_FETCH}")
        spec = self._chosen()

        from semsearch.evaluation.judged import collection as judged_collection

        def indexed(each: Judged) -> JudgedCollection:
            cache = self._cache / "collections"
            return judged_collection.indexed(each, self._open(spec), cache, self._progress, sparse=self._sparse)

        return self._judge(judge, judged, indexed, lambda: self._open(spec))

    def own(self, collection: str | None, judgements: Path | None, judge: Judge | None = None) -> Outcome:
        """Judge a collection that exists; with ``spec`` its files are indexed anew, aside.

        Args:
            collection: Its name; None: that of the settings.
            judgements: A file of judgements; None: those that are kept with the collection.
            judge: What is done with them.

        Raises:
            DataError: The judgements do not belong to the collection, or there are none.
        """
        from semsearch.evaluation.judged import collection as judged_collection

        settings = self._settings.override({"collection": collection or None})
        if self._spec is None:
            with judged_collection.existing(judgements, settings, self._flags) as found:
                return self._judge(judge, [found.judged], lambda _: found, lambda: found.encoder)
        encoder = self._open(self._chosen())
        cache = self._cache / "collections"
        other = judged_collection.reindexed(judgements, settings, encoder, cache, self._progress)
        return self._judge(judge, [other.judged], lambda _: other, lambda: encoder)

    def named(self, names: Sequence[str]) -> Outcome:
        """Score tasks or retrieval collections, whichever the names are; the seven STS tasks where none is named.

        Raises:
            UsageError: Names of both kinds are mixed.
        """
        tasks = [name for name in names if name in TASKS]
        if tasks and len(tasks) < len(names):
            raise UsageError(
                f"--tasks {','.join(names)} mixes tasks with retrieval collections; gate them one after the other, "
                "each with its own baseline"
            )
        return self.retrieval(names) if names and not tasks else self.tasks(list(dict.fromkeys(tasks)) or STS)

    def all(self, names: Sequence[str] = ()) -> Result:
        """Score STS, transfer and retrieval in one result; retrieval is a result of its own under ``retrieval``."""
        if not names:
            data = self._settings.data
            with_tasks = data is None or task_data.find_downstream(data) is not None
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
        """Score the same as ``own`` or ``named`` with the encoder of a name: see ``encoders.named``."""
        spec = encoders.named(encoder)
        nothing = encoders.NOTHING
        other = Evaluation(self._settings, nothing, self._quick, spec=spec, cache=self._cache, progress=self._progress)
        if collection is not None or judgements is not None:
            return other.own(collection, judgements)
        return other.named(names)

    def _chosen(self) -> EncoderSpec:
        return embedding.resolve(self._spec or encoders.choose(self._settings, self._flags))

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
        return beir.prepare(judged, self._cache / ("quick" if self._quick else "corpora"), quick=self._quick)

    def _judge(
        self,
        judge: Judge | None,
        judged: Sequence[Judged],
        opened: Callable[[Judged], JudgedCollection],
        encoder: Callable[[], Encoder],
    ) -> Outcome:
        if judge is None:
            from semsearch.evaluation.judged import retrieval

            judge = retrieval.result
        return judge(judged, opened, encoder, batch_tokens=self._settings.batch_tokens, progress=self._progress)
