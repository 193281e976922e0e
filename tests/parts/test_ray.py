"""A run on Ray gives the collection of one process, and loses nothing with a worker. Two workers, on this machine."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest

from indexer.corpus.splitter import Splitter
from indexer.embedding.hash_encoder import HashEncoder
from indexer.errors import ClusterError, ModelError
from indexer.parts import ray_run
from indexer.parts.destination import OneCollection, Shards
from indexer.parts.part import WHOLE
from indexer.parts.produce import make_part
from indexer.parts.ray_run import RayWorkers, Task
from indexer.parts.together import update_together
from indexer.plan import take_walk
from indexer.storage.memory import MemoryStore
from indexer.storage.postgres.store import PostgresStore
from semsearch.collection import Collection
from semsearch.encoders import EncoderOverrides
from tests.parts.conftest import COUNTED, Bench, change, shown
from tests.pipeline.conftest import count_words
from tests.postgres_servers import PLAIN, url_of
from tests.storage.contract.factories import FACTORIES, Factory
from tests.storage.contract.values import ENCODER, TERMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from indexer.parts.destination import Destination
    from indexer.parts.produce import PartReport
    from indexer.progress import Progress


@pytest.fixture(scope="module")
def ray() -> Iterator[object]:
    """A Ray of two workers, which all tests here share: starting it takes seconds."""
    ray = ray_run._ray()
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    yield ray
    ray.shutdown()


class Dying(HashEncoder):
    """An encoder whose process dies of the texts that hold a word, so many times."""

    def __init__(self, notes: Path, word: str, times: int):
        super().__init__(ENCODER.spec)
        self._notes, self._word, self._times = notes, word, times

    def term_batches(self, texts, role="passage", max_terms=128):
        if any(self._word in text for text in texts) and len(list(self._notes.iterdir())) < self._times:
            (self._notes / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().term_batches(texts, role, max_terms)


def sound() -> HashEncoder:
    return HashEncoder(ENCODER.spec)


def task(bench: Bench, open_encoder: Callable[[], HashEncoder] = sound, into: Destination | None = None) -> Task:
    into = into or Shards(bench.folder.path, bench.manifest, WHOLE)
    return Task(into, TERMS, partial(Splitter, count_words, 20), open_encoder, gpu=False)


def make_with(bench: Bench, workers: RayWorkers, progress: Progress = lambda _: None) -> PartReport:
    with MemoryStore(bench.manifest).snapshot() as snapshot:
        return make_part(bench.folder, WHOLE, take_walk(snapshot, bench.roots), snapshot, workers, progress=progress)


def on_ray(
    bench: Bench, open_encoder: Callable[[], HashEncoder], progress: Progress = lambda _: None, tries: int = 3
) -> PartReport:
    return make_with(bench, RayWorkers(task(bench, open_encoder), tries=tries), progress)


def unloadable() -> HashEncoder:
    raise ModelError("the model is not on this machine")


@pytest.fixture(params=[FACTORIES[1]], ids=str)
def factory(request: pytest.FixtureRequest) -> Factory:
    """The store on disk alone: Ray takes its time, and what is taken in is the same for all."""
    return request.param


@pytest.fixture
def many(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Groups of few files, so that there is work for both workers."""
    monkeypatch.setattr(ray_run, "FILES", 6)
    return bench


def test_a_cluster_that_is_not_there(bench):
    workers = RayWorkers(task(bench), "127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"there is no Ray cluster at 127\.0\.0\.1:1: .*HOST:PORT"):
        make_with(bench, workers)


def test_ray_that_is_not_installed(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'semsearch\[ray\]'.*--shard I/N"):
        RayWorkers(task(bench))


def test_the_same_hits_as_of_one_process_also_where_actors_are_killed(ray, many, make, tmp_path):
    one, other = make(), make()
    many.index(one)
    notes = tmp_path / "notes"
    notes.mkdir()
    heard = []
    report = on_ray(many, partial(Dying, notes, "Köln", 1), heard.append)
    assert len(list(notes.iterdir())) == 1
    many.merge(other)
    assert shown(other) == shown(one)
    assert (report.read, report.shards) == (23, 4)
    assert [event.files for event in heard][-1] == 23
    assert len(heard) > 4  # each shard as it is written, not all in the end
    assert not list(many.folder.path.glob(".*"))


def test_texts_that_kill_every_actor_end_the_run_and_the_next_goes_on(ray, many, make, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    with pytest.raises(ClusterError, match=r"1 workers have died while they embedded .*a\.md.* --batch-tokens"):
        on_ray(many, partial(Dying, notes, "Köln", 99), tries=1)
    report = on_ray(many, sound)
    assert report.kept > 0
    assert report.kept + report.read == 23
    one, other = make(), make()
    many.index(one)
    many.merge(other)
    assert shown(other) == shown(one)


def test_texts_that_kill_every_worker_of_a_database_end_the_run_and_the_next_goes_on(ray, many, tmp_path):
    """The text waits in the collection from the first try on, so that others than those that read it may die of it."""
    notes = tmp_path / "notes"
    notes.mkdir()
    one, other = (PostgresStore.create(url_of(PLAIN), f"{os.getpid()}-die-{n}", many.manifest) for n in (1, 2))
    into = OneCollection(partial(PostgresStore, url_of(PLAIN), other.name))
    with closing(one), closing(other):
        with other.snapshot() as snapshot:
            walk = take_walk(snapshot, many.roots)
        dying = RayWorkers(task(many, partial(Dying, notes, "Köln", 99), into), tries=1)
        with pytest.raises(ClusterError, match=r"1 workers have died while they embedded /.* --batch-tokens"):
            update_together(other, walk, dying)
        assert 1 <= len(list(notes.iterdir())) <= 8
        update_together(other, walk, RayWorkers(task(many, sound, into)))
        many.index(one)
        assert shown(other, ordered=False) == shown(one, ordered=False)


def test_what_an_actor_raises_is_raised_here(ray, many):
    with pytest.raises(ModelError, match="the model is not on this machine"):
        on_ray(many, unloadable)


def test_a_person_indexes_on_ray(ray, corpus):
    """What was written on the way is gone in the end; the run after it has nothing to do, and asks no cluster."""
    with Collection("many", create=True, encoder=EncoderOverrides(model="hash:64")) as docs:
        first = docs.index_on_ray(corpus, index_plan="HNSW8,SQ8")
        again = docs.index_on_ray(corpus, "nowhere:1")
        assert (first.report.new, first.report.embedded) == (21, 61)  # 18 boats, 39 people, 2 of a.md, 2 of page.html
        assert (again.report.new, again.report.embedded, again.report.unchanged) == (0, 0, 22)
        assert docs.status().index.factory == "HNSW8,SQ8"
        assert [hit.path for hit in docs.search("Überfahrt nach Köln", k=1)] == [str(corpus / "a.md")]
        assert not list((docs.settings.root / ".ray").iterdir())


def test_workers_write_into_a_database_themselves(ray, many, tmp_path, corpus):
    """With one of them killed, and with files that change, move and vanish between two runs."""
    notes = tmp_path / "notes"
    notes.mkdir()
    one, other = (PostgresStore.create(url_of(PLAIN), f"{os.getpid()}-ray-{n}", many.manifest) for n in (1, 2))
    into = OneCollection(partial(PostgresStore, url_of(PLAIN), other.name))
    workers = RayWorkers(task(many, partial(Dying, notes, "Köln", 1), into))
    with closing(one), closing(other):
        for changed in (False, True):
            if changed:
                change(corpus)
            with other.snapshot() as snapshot:
                walk = take_walk(snapshot, many.roots)
            together, alone = update_together(other, walk, workers), many.index(one)
            assert shown(other, ordered=False) == shown(one, ordered=False)
            assert {name: getattr(together, name) for name in COUNTED} == {
                name: getattr(alone, name) for name in COUNTED
            }
            assert together.embedded == alone.embedded
        assert (together.moved, together.deleted, together.changed) == (1, 2, 2)
    assert len(list(notes.iterdir())) == 1
