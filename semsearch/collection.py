"""Collection: documents that can be searched, as people and programs hold them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, cast

from indexer import storage
from indexer.errors import CorruptError, UsageError
from indexer.progress import silent
from indexer.types import Problem
from semsearch import encoders, judging, making, stores
from semsearch.encoders import EncoderOverrides
from semsearch.in_parts import InParts, Paths, roots_of
from semsearch.results import Compaction, Reindexed
from semsearch.search import answering
from semsearch.search.asking import places
from semsearch.search.asking.request import Fusion, Mode, SearchRequest, SimilarRequest
from semsearch.search.asking.weights import Weights
from semsearch.search.showing.extract import Extract, extract
from semsearch.search.showing.hits import Answer, Hit
from semsearch.settings import Settings, load_settings
from semsearch.status import Status, status_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.corpus.readers import ReadOptions
    from indexer.embedding.spec import EncoderSpec
    from indexer.pipeline import Report
    from indexer.progress import Progress
    from indexer.storage import Kept
    from indexer.types import Filter, Judgement
    from semsearch.search.ranking.rerank import Reranker

Place = str | int | Hit | os.PathLike[str]
"""An indexed file as PATH, PATH:LINE or PATH:FROM-TO, or a hit or its passage's id."""


class Collection(InParts):
    """Documents that can be searched. Safe to use from many threads; they share one encoder.

    ::

        docs = Collection("docs", create=True)
        docs.index(["docs/"])
        for hit in docs.search("how are vectors stored?", k=5):
            print(hit.score, hit.path, hit.line_start, hit.text)

    The model is loaded when it is first needed, and not for a search by words.
    """

    # Search

    def search(
        self,
        query: str | SearchRequest,
        *,
        k: int = 10,
        mode: Mode = "hybrid",
        filter: Filter | str | Sequence[str] | None = None,  # noqa: A002 - the option's name everywhere
        fusion: Fusion = "convex",
        per_document: int | None = None,
        collapse: bool = True,
        explain: bool = False,
        min_confidence: float | None = None,
        rerank: str | Reranker | None = None,
        snippets: bool = True,
    ) -> Answer:
        """Return the k best passages for a query; fewer where fewer match.

        Args:
            query: Any text, or a SearchRequest that says everything.
            k: Most hits.
            mode: hybrid, dense (by meaning), lexical (by words) or sparse (by the model's terms).
            filter: Conditions such as ``type=md`` or ``path=docs/**``, or a Filter.
            fusion: How mode hybrid brings its retrievers together: convex or rrf.
            per_document: Most hits from one document: a file, or a record of one.
            collapse: Fold near-duplicates of a better hit into it.
            explain: Say why each hit was found.
            min_confidence: Drop hits less similar than this share of random pairs of passages.
            rerank: A cross-encoder that reads the best 50 again.
            snippets: Mark the query's words and the most telling sentence in each hit.

        Raises:
            UsageError: A value cannot be meant, or a filter names what nothing in the collection has.
            StoreError: The collection holds no passages, or no sparse index where mode is sparse.
            MismatchError: The model is no longer the one that made the vectors.
            ModelError: A model cannot be loaded.
        """
        options = SearchRequest(
            query if isinstance(query, str) else query.query,
            k=k,
            mode=mode,
            filter=filter,
            fusion=fusion,
            per_document=per_document,
            collapse=collapse,
            explain=explain,
            min_confidence=min_confidence,
            rerank=rerank,
            snippets=snippets,
        )
        if isinstance(query, SearchRequest):
            if options != SearchRequest(query.query):
                raise UsageError("the SearchRequest says everything; give the options in it, or a text with options")
            options = query
        return self.search_many([options])[0]

    def search_many(self, requests: Sequence[str | SearchRequest]) -> list[Answer]:
        """Return the answer to each request, as ``search`` does; the model reads all queries together."""
        asked = [each if isinstance(each, SearchRequest) else SearchRequest(each) for each in requests]
        if not asked:
            return []
        with self._latest().latest() as view:
            return answering.search(view, asked, self._models(view))

    def similar(
        self,
        place: Place | SimilarRequest,
        *,
        k: int = 10,
        filter: Filter | str | Sequence[str] | None = None,  # noqa: A002
        itself: bool = False,
        per_document: int | None = None,
        collapse: bool = True,
        explain: bool = False,
        min_confidence: float | None = None,
        snippets: bool = True,
    ) -> Answer:
        """Return more like an indexed file, or like what stands on a line of it.

        Stored vectors are compared; no model is loaded unless it is to explain.

        Args:
            place: An indexed file as PATH or PATH:LINE, a hit or its id, or a SimilarRequest that says everything.
            itself: Find passages of the same file or record too.
            k: Most hits.
            filter: Conditions, as ``search`` takes them.
            per_document: Most hits from one document.
            collapse: Fold near-duplicates of a better hit into it.
            explain: Say why each hit was found; this needs the model.
            min_confidence: Drop hits less similar than this share of random pairs of passages.
            snippets: Mark the place's words in each hit.

        Raises:
            UsageError: The place is not in the collection, or a value cannot be meant.
            StoreError: The place has no vectors yet.
        """
        if isinstance(place, SimilarRequest):
            request = place
        else:
            request = SimilarRequest(
                _named(place),
                k=k,
                filter=filter,
                itself=itself,
                per_document=per_document,
                collapse=collapse,
                explain=explain,
                min_confidence=min_confidence,
                snippets=snippets,
            )
        with self._latest().latest() as view:
            return answering.similar(view, request, self._models(view))

    def get(self, place: Place, *, context: int = 0) -> Extract:
        """Return the text of an indexed document, or of some lines of it, from the collection itself.

        Args:
            place: PATH for all of a file; PATH:LINE, PATH:FROM-TO, a hit or its id for those lines of it.
            context: Lines to give before and after those that are meant.

        Raises:
            UsageError: The place is not in the collection.
        """
        if context < 0:
            raise UsageError(f"context is {context}; it is a number of lines from 0 up")
        with self._latest().latest() as view:
            if isinstance(place, str | os.PathLike):
                found = places.find(view.snapshot, os.fspath(place), view.name)
            else:
                number = place.passage if isinstance(place, Hit) else place
                found = places.passage(view.snapshot, number, view.name)
            return extract(found, context)

    # Judge

    def judge(self, query: str, place: Place, grade: int | None = 1) -> Judgement:
        """Say whether what stands at a place answers a query; the last word on a place counts.

        It is kept with the collection, durably, whoever writes to it meanwhile. Judgements are what ``evaluate``,
        ``semsearch eval tune`` and ``semsearch train --collection`` go by.

        Args:
            query: The query.
            place: A hit, its id, or an indexed file as PATH for all of it or PATH:LINE for the passage there.
            grade: 1 or more: right, and more so the higher; 0: wrong; None: take back what was said before.

        Raises:
            UsageError: The place is not in the collection, or a value cannot be meant.
            StoreError: The collection cannot be written.
        """
        with self._latest().latest() as view:
            at = _named(place) if not isinstance(place, Hit) else place
            said = judging.judgement(view.snapshot, self.name, query, at, grade)
        self.store.judge([said])
        return said

    def judgements(self) -> list[Judgement]:
        """Return the judgements that count, in the order in which they were made."""
        return self.store.judgements()

    def keep_judgements(self, judgements: Sequence[Judgement]) -> None:
        """Keep judgements that were made elsewhere, or a grade of None for each that is taken back."""
        self.store.judge(judgements)

    # Change

    def index(
        self,
        paths: Paths = (),
        *,
        options: ReadOptions | None = None,
        passage_tokens: int | None = None,
        sparse: bool = False,
        force: bool = False,
        checksum: bool = False,
        dry_run: bool = False,
        index_plan: str | None = None,
        index_recall: float | None = None,
        progress: Progress = silent,
    ) -> Report:
        """Index files and folders, or bring the collection up to date with them.

        Only what is new or changed is embedded; what is gone from a path that is named here leaves the collection.

        Args:
            paths: Files and folders; none: all that the collection has been given before.
            options: How to read them; None: as they were read last.
            passage_tokens: Most tokens of a passage, for a new collection.
            sparse: Give a new collection a sparse index of the model's terms.
            force: Index ``/`` or the home folder all the same.
            checksum: Look at the bytes of every file, also where size, times and inode say that it has not changed.
            dry_run: Read and split only, and change nothing.
            index_plan: Index of the vectors by FAISS's name, such as HNSW32,SQ8, from now on; "auto": chosen by size
                and memory. None: as it was said last.
            index_recall: Share of the ten nearest that a search is to find, from now on; None: as it was said last.
            progress: Called with what happens: a file was read, so much is to embed, so many texts have vectors.

        Raises:
            UsageError: A path does not exist, a new collection is given no path, or one that exists was made otherwise.
            MismatchError: The collection was made by another encoder than the one asked for.
            LockedError: Another process writes to the collection.
        """
        from indexer import pipeline

        roots = roots_of(paths)
        self._check_new(roots)
        making.check_index(index_plan)
        with self._to_write(passage_tokens, sparse, dry_run) as store:
            if not dry_run:
                making.ask_for_index(store, index_plan, index_recall)
            return pipeline.update(
                store,
                roots,
                self._open_encoder,
                splitter=making.splitter_of(store.manifest),
                options=options,
                force=force,
                checksum=checksum,
                exclude=[os.fspath(self.settings.root)],
                dry_run=dry_run,
                progress=progress,
            )

    def index_stream(
        self,
        stream: BinaryIO,
        name: str = "stdin",
        *,
        options: ReadOptions | None = None,
        passage_tokens: int | None = None,
        sparse: bool = False,
        index_plan: str | None = None,
        index_recall: float | None = None,
        progress: Progress = silent,
    ) -> Report:
        """Index the bytes of a stream as the file ``name``, in place of what that name held before."""
        from indexer import pipeline

        making.check_index(index_plan)
        with self._to_write(passage_tokens, sparse, dry_run=False) as store:
            making.ask_for_index(store, index_plan, index_recall)
            return pipeline.update_from_stream(
                store,
                stream,
                name,
                self._open_encoder,
                splitter=making.splitter_of(store.manifest),
                options=options,
                progress=progress,
            )

    def remove(self, paths: Sequence[str | os.PathLike[str]]) -> int:
        """Take files, or all files under folders, out of the collection. Return how many files left.

        Raises:
            UsageError: Nothing under one of the paths is in the collection.
        """
        from indexer.corpus.folders.changes import within

        with self.store.writer() as writer, self.store.snapshot() as snapshot:
            known, roots = [record.path for record in snapshot.files()], snapshot.roots()
            chosen: set[str] = set()
            for each in paths:
                path = os.fspath(each)
                absolute = os.path.abspath(path)  # noqa: PTH100 - links are not resolved in a store
                under = {record for record in known if record == path or within(record, absolute)}
                if not under:
                    raise UsageError(f"nothing under {absolute} is in collection {self.name!r}; see: semsearch status")
                chosen |= under
                if absolute in roots:
                    writer.drop_root(absolute)
            writer.remove(sorted(chosen))
            writer.finish()
            return len(chosen)

    def keep_weights(self, weights: Weights | None) -> None:
        """Keep weights of the retrievers with the collection; every search of it then uses them. None removes them."""
        if weights is None:
            self.store.annotate("search", None)
        else:
            weights.save(self.store)
        self._latest().forget()

    def reindex(
        self,
        encoder: EncoderOverrides | EncoderSpec | None = None,
        *,
        progress: Progress = silent,
    ) -> Reindexed | None:
        """Embed the collection anew with another encoder, beside it, and put the result in its place in one step.

        No file is read. Searches go on meanwhile; a run that was stopped is gone on with by the next one. The old
        collection stays under another name.

        Args:
            encoder: What is said of the new encoder, or its description; None: that of a new collection.
            progress: Called with what happens.

        Returns:
            What was done; None where the collection is of this encoder already.

        Raises:
            StoreError: Passages wait for vectors of the old encoder, or the collection has changed meanwhile.
            UsageError: The new encoder would cut its passages.
        """
        from indexer import embedding
        from indexer import reindex as reindexing

        wanted = encoder or EncoderOverrides()
        if isinstance(wanted, EncoderOverrides):
            wanted = encoders.choose(self.settings, wanted)
        spec = embedding.resolve(wanted)
        if spec.fingerprint == self.spec.fingerprint:
            return None
        spec = encoders.in_bulk(spec, self._runtime.device)
        weighed = Weights.kept(self.store) is not None
        before = reindexing.reindex(self._kept, lambda: self._runtime.open(spec), progress)
        settings = self.settings.override({"collection": before})
        self._reopen(self.settings)
        return Reindexed(self.name, self.spec, before, settings.shown_place(), weighed)

    # Look after

    def status(self) -> Status:
        """Return the collection's size, encoder, roots, and the files that were skipped, failed or read in part."""
        return status_of(self.store, self._place)

    def evaluate(self, judgements: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Score the ways to search the collection by a person's judgements.

        Args:
            judgements: File of lines ``query<TAB>relevant path[<TAB>grade]``; None: those kept with the collection.

        Returns:
            ``scores`` (way to search → nDCG@10, AP, RR, recall), ``latency_ms``, ``counts`` and ``notes``, as in the
            JSON of ``semsearch eval retrieval``.

        Raises:
            DataError: The judgements do not belong to the collection, or there are none.
        """
        from semsearch.evaluation.judged import (  # above this room, and used nowhere else here
            collection as judged_collection,
        )
        from semsearch.evaluation.judged import retrieval

        file = None if judgements is None else Path(judgements)
        found, _ = retrieval.score(judged_collection.judged_by(file, self))
        return found

    def doctor(self, *, mend: bool = True, model: bool = True) -> list[Problem]:
        """Return what is wrong with the collection, and with ``mend`` put right what can be.

        Args:
            mend: Whether to change anything.
            model: Whether to embed a few passages again and compare.
        """
        return self._kept.examine(mend=mend, open_encoder=self._encoder_of if model else None)

    def compact(self) -> Compaction:
        """Drop passages that were deleted, and give their space back."""
        kept = self._kept
        before = sum(kept.sizes().values())
        with self.store.snapshot() as snapshot:
            dropped = snapshot.counts().tombstones
        kept.compact()
        return Compaction(dropped, before, sum(kept.sizes().values()))

    def export(
        self,
        folder: str | os.PathLike[str],
        format: Literal["parquet", "safetensors"] = "parquet",  # noqa: A002
    ) -> int:
        """Write the collection into a new folder, for other programs or ``import_``. Return the number of passages.

        Raises:
            UsageError: The folder exists and is not empty.
            StoreError: It cannot be written.
        """
        from indexer import exchange

        with self.store.snapshot() as snapshot:
            passages = exchange.export(snapshot, Path(folder), format)
        if weights := Weights.kept(self.store):
            weights.write(Path(folder))
        judging.write(Path(folder) / judging.FILE, self.judgements())
        return passages

    @classmethod
    def import_(
        cls,
        folder: str | os.PathLike[str],
        name: str | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
    ) -> Self:
        """Make a new collection of what ``export`` wrote. Nothing is embedded again.

        Raises:
            UsageError: There is a collection of that name.
            DataError: The folder is no whole export.
            CorruptError: The weights or judgements that lie with it are none.
        """
        given = load_settings() if settings is None else settings
        chosen = given.override({"collection": name, "home": home})
        if stores.exists(chosen):
            raise UsageError(f"there is a collection {chosen.collection!r} already; name a new one with --collection")
        from indexer import exchange

        exchange.import_from(
            Path(folder),
            lambda manifest: storage.create_store(chosen.place(), manifest),
            lambda store: cast("Kept", store).delete(),
        )
        made = cls(settings=chosen)
        if weights := Weights.read(Path(folder)):
            made.keep_weights(weights)
        made.keep_judgements(judging.read(Path(folder) / judging.FILE))
        return made

    def rename(self, name: str) -> None:
        """Give the collection another name."""
        settings = self.settings.override({"collection": name})
        stores.check_free(settings)
        self._kept.rename(name)
        self._reopen(settings)

    def delete(self) -> None:
        """Delete the collection with everything in it. The indexed files stay."""
        self._kept.delete()
        self._let_go()


def examine(settings: Settings, *, mend: bool = True, model: bool = True) -> list[Problem]:
    """Return what is wrong with a collection, as ``Collection.doctor``, also where it is too damaged to be opened."""
    try:
        with Collection(settings=settings) as docs:
            return docs.doctor(mend=mend, model=model)
    except CorruptError as error:
        return [
            Problem("catalog", str(error), False, "restore the folder from a copy, or index anew under another name")
        ]


def _named(place: Place) -> str:
    """Return a place as text."""
    if isinstance(place, Hit):
        return str(place.passage)
    return str(place) if isinstance(place, int) else os.fspath(place)
