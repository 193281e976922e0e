"""A run on Ray gives the collection of one process, and loses nothing with a worker. Two workers, on this machine."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from indexer.corpus.splitter import Splitter
from indexer.embedding.hash_encoder import HashEncoder
from indexer.errors import ClusterError, ModelError
from indexer.parts import ray_run
from indexer.parts.part import WHOLE
from indexer.parts.produce import make_part
from indexer.parts.ray_run import RayWorkers, Task
from indexer.plan import take_walk
from indexer.storage.memory import MemoryStore
from tests.parts.conftest import Bench, shown
from tests.pipeline.conftest import count_words
from tests.storage.contract.factories import FACTORIES, Factory
from tests.storage.contract.values import ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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


def task(bench: Bench, open_encoder: Callable[[], HashEncoder] = sound) -> Task:
    return Task(bench.folder.path, WHOLE, bench.manifest, partial(Splitter, count_words, 20), open_encoder, gpu=False)


def make_with(bench: Bench, workers: RayWorkers, progress: Progress = lambda _: None) -> PartReport:
    with MemoryStore(bench.manifest).snapshot() as snapshot:
        return make_part(bench.folder, WHOLE, take_walk(snapshot, bench.roots), snapshot, workers, progress=progress)


def on_ray(bench: Bench, open_encoder: Callable[[], HashEncoder], progress: Progress = lambda _: None) -> PartReport:
    return make_with(bench, RayWorkers(task(bench, open_encoder)), progress)


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
    report = on_ray(many, partial(Dying, notes, "Köln", 2), heard.append)
    assert len(list(notes.iterdir())) == 2
    many.merge(other)
    assert shown(other) == shown(one)
    assert (report.read, report.shards) == (23, 4)
    assert [event.files for event in heard][-1] == 23
    assert len(heard) > 4  # each shard as it is written, not all in the end
    assert not list(many.folder.path.glob(".*"))


def test_texts_that_kill_every_actor_end_the_run_and_the_next_goes_on(ray, many, make, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    with pytest.raises(ClusterError, match=r"3 workers have died while they embedded .*a\.md.* --batch-tokens"):
        on_ray(many, partial(Dying, notes, "Köln", 99))
    report = on_ray(many, sound)
    assert report.kept > 0
    assert report.kept + report.read == 23
    one, other = make(), make()
    many.index(one)
    many.merge(other)
    assert shown(other) == shown(one)


def test_what_an_actor_raises_is_raised_here(ray, many):
    with pytest.raises(ModelError, match="the model is not on this machine"):
        on_ray(many, unloadable)
