"""Read and embed on the machines of a Ray cluster, or in several processes of this one. Ray lives here.

Tasks read files and split them; actors, one a GPU or a core, hold an encoder each, embed, and write the shards. What is
lost with a worker is done again by another one: a shard's name is its content, so that nothing is there twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import sys
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from indexer import errors
from indexer.corpus.formats import ReadOptions
from indexer.embedder import EncoderEmbedder
from indexer.errors import ClusterError, SemsearchError
from indexer.parsing import Job, read_files
from indexer.parts import pieces as lines
from indexer.parts.produce import SHARD, Remembering, Written, read_pieces
from indexer.types import FileRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    import numpy as np

    from indexer.corpus.splitter import Splitter
    from indexer.embedding.encoder import Encoder
    from indexer.parts.destination import Destination
    from indexer.parts.pieces import Piece

FILES, BYTES = 64, 4 << 20
"""A task reads so many files, of so many bytes together, or one that is larger."""
SECONDS = 10.0
"""A cluster has to answer in so many."""
TRIES = 3
"""Times that a worker may die of the same bundle of files before the run is given up."""
OBJECTS = 512 << 20
"""Bytes that a Ray of this run alone may keep between its workers: what waits to be embedded, and little else."""


@dataclass(frozen=True)
class Task:
    """What every worker has to know. It is sent to them, so that all in it can be pickled."""

    destination: Destination
    sparse: int | None
    """Terms that go with each vector; None: none."""
    open_splitter: Callable[[], Splitter]
    open_encoder: Callable[[], Encoder]
    gpu: bool = True
    """Whether encoders may run on GPUs."""

    @property
    def limit(self) -> int:
        """Passages of a shard."""
        return SHARD["cuda" if self.gpu else "cpu"]


class RayWorkers:
    """Reads and embeds with Ray."""

    def __init__(self, task: Task, address: str | None = None, tries: int = TRIES):
        """Take the task and the cluster's address; None: that of RAY_ADDRESS, else a Ray of this run's own.

        Raises:
            ClusterError: Ray is not installed.
        """
        self._task, self._address, self._tries = task, address, tries
        _ray()

    def run(self, jobs: Sequence[Job]) -> Generator[Written]:
        """Yield shards as they are written, in any order.

        Raises:
            ClusterError: The cluster cannot be reached, or its workers fail again and again.
        """
        if not jobs:
            return
        with _connected(self._address) as ray, _translated(ray):
            begun = ray.remote(num_cpus=0)(_Begun).remote()  # lives as long as it is held here
            for row in self._rows(ray, jobs, begun).iter_rows():
                yield _written(json.loads(row["written"]))

    def _rows(self, ray: Any, jobs: Sequence[Job], begun: Any) -> Any:
        """Return the data set whose rows are what the actors have written."""
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if self._task.gpu else 0
        task = replace(self._task, gpu=gpus > 0)
        cores = max(1, int(resources.get("CPU", 1)))
        groups = [{"jobs": _write_jobs(group)} for group in _groups(jobs)]
        return (
            ray.data.from_items(groups, override_num_blocks=len(groups))
            .flat_map(
                _read,
                fn_args=(task,),
                num_cpus=1 if gpus else 0,  # where encoders take all cores, none would be left to feed them
                concurrency=max(1, cores // 2),
            )
            .map_batches(
                _Encoder,
                fn_constructor_args=(task, begun, self._tries),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(gpus or cores, len(groups))),
                num_gpus=1 if gpus else 0,
                num_cpus=0 if gpus else 1,
            )
        )


def _read(row: dict[str, bytes], task: Task) -> Iterator[dict[str, bytes]]:
    """Read and split a group of files, and yield their pieces in bundles, each for one shard.

    It is done in a process apart: one that dies of a file costs that file alone.
    """
    jobs = _read_jobs(row["jobs"])
    same: list[str] = []
    try:
        with closing(read_files(jobs, task.open_splitter(), workers=1, apart=True)) as results:
            limit = sys.maxsize if task.destination.whole else task.limit
            for bundle in lines.bundles(read_pieces(jobs, results, limit, same), task.limit):
                heads, documents = lines.write_pieces(bundle)
                yield {"heads": heads, "documents": documents, "rest": b""}
        rest = asdict(Written(None, same=tuple(same)))
    except Exception as error:  # which would lose its class on the way
        rest = _failure(error)
    yield {"heads": b"", "documents": b"", "rest": json.dumps(rest).encode()}


class _Begun:
    """Counts how often each bundle was begun and not ended: Ray gives one to another actor, for ever, if one dies."""

    def __init__(self) -> None:
        self._begun: Counter[bytes] = Counter()

    def begin(self, bundle: bytes) -> int:
        """Return how often it was begun, this time included."""
        self._begun[bundle] += 1
        return self._begun[bundle]

    def end(self, bundle: bytes) -> None:
        """Forget a bundle whose actor has survived it."""
        del self._begun[bundle]


class _Encoder:
    """Holds an encoder, embeds bundles of pieces and writes each as a shard."""

    def __init__(self, task: Task, begun: Any, tries: int):
        self._task, self._begun, self._tries = task, begun, tries
        self._embedder: Remembering | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        """Return what was written for each bundle, or why nothing was, as JSON."""
        rows = zip(batch["heads"], batch["documents"], batch["rest"], strict=True)
        return {"written": [rest.decode() if rest else self._safely(heads, texts) for heads, texts, rest in rows]}

    def _safely(self, heads: bytes, documents: bytes) -> str:
        bundle, ray = hashlib.sha256(heads).digest(), _ray()
        try:
            pieces = [
                lines.read_piece(entry, documents[entry.start : entry.end]) for entry in lines.read_entries(heads)
            ]
            if ray.get(self._begun.begin.remote(bundle)) > self._tries:
                raise _deadly(pieces, self._tries)
            written = json.dumps(asdict(self._write(pieces)))
        except Exception as error:
            written = json.dumps(_failure(error))
        ray.get(self._begun.end.remote(bundle))
        return written

    def _write(self, pieces: Sequence[Piece]) -> Written:
        if self._embedder is None:
            encoder = self._task.open_encoder()
            self._embedder = Remembering(EncoderEmbedder(encoder, self._task.sparse), encoder.dim)
            self._embedder.window = self._task.limit
        return self._task.destination.write(pieces, self._embedder)


def _deadly(pieces: Sequence[Piece], tries: int) -> ClusterError:
    paths = sorted({piece.parsed.file.path for piece in pieces})
    return ClusterError(
        f"{tries} workers have died while they embedded {', '.join(paths[:3])} or files beside them: look at their "
        "memory; a smaller --batch-tokens needs less"
    )


def _failure(error: Exception) -> dict[str, Any]:
    """Return an error as a value: as an exception it would come out of Ray as one of Ray's, with a page of text."""
    if isinstance(error, SemsearchError):
        return {"error": error.kind, "message": str(error)}
    return {"error": ClusterError.__name__, "message": f"a worker failed: {type(error).__name__}: {error}"}


def _written(values: dict[str, Any]) -> Written:
    """Return what a worker has written.

    Raises:
        SemsearchError: What went wrong there.
    """
    if "error" in values:
        raise getattr(errors, values["error"], ClusterError)(values["message"])
    for name in ("staged", "left_out"):
        values[name] = tuple(_file(each) for each in values[name])
    values["pieces"] = tuple(map(tuple, values["pieces"]))
    return Written(**values | {"same": tuple(values["same"])})


def _file(values: dict[str, Any]) -> FileRecord:
    return FileRecord(**values | {"warnings": tuple(values["warnings"])})


def _groups(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Yield files together that one task reads."""
    group: list[Job] = []
    size = 0
    for job in jobs:
        if group and (len(group) >= FILES or size + job.file.size > BYTES):
            yield group
            group, size = [], 0
        group.append(job)
        size += job.file.size
    if group:
        yield group


def _write_jobs(jobs: Sequence[Job]) -> bytes:
    values = [{"file": asdict(job.file), "options": job.options.to_dict(), "known": job.known} for job in jobs]
    return json.dumps(values).encode()


def _read_jobs(text: bytes) -> list[Job]:
    return [
        Job(_file(values["file"]), ReadOptions.from_dict(values["options"]), values["known"])
        for values in json.loads(text)
    ]


# Ray


def _ray() -> Any:
    """Return the library.

    Raises:
        ClusterError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a run is reported to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError(
            "Ray is not installed; install it with: pip install 'semsearch[ray]'; without it several processes share a "
            "run by: semsearch index --shard I/N, and semsearch merge"
        ) from error
    return ray


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Give the library, connected: to the cluster of this program, if it has one, else to the one of the address.

    Raises:
        ClusterError: It cannot be reached, or none be started.
    """
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        place = address or os.environ.get("RAY_ADDRESS")
        own = {"address": "local", "include_dashboard": False, "object_store_memory": OBJECTS, "num_cpus": _cores()}
        try:
            if place:
                _check_reachable(place)
            ray.init(**({"address": place} if place else own), log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises what it likes here
            raise ClusterError(
                f"{f'there is no Ray cluster at {place}' if place else 'no Ray can be started here'}: {error}; an "
                "address is HOST:PORT, ray://HOST:PORT, or auto for the cluster that this machine belongs to; without "
                "one a Ray is started on this machine"
            ) from error
    try:
        with _settings(ray):
            yield ray
    finally:
        if ours:
            ray.shutdown()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _settings(ray: Any) -> Iterator[None]:
    """Let every bundle be handed on by itself, and Ray be silent."""
    context = ray.data.DataContext.get_current()
    wanted = {"target_max_block_size": 1, "enable_progress_bars": False, "print_on_execution_start": False}
    before = {name: getattr(context, name) for name in wanted}
    log = logging.getLogger("ray.data")
    level = log.level
    try:
        log.setLevel(logging.ERROR)
        for name, value in wanted.items():
            setattr(context, name, value)
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)


@contextmanager
def _translated(ray: Any) -> Iterator[None]:
    """Raise Ray's own errors as ours."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"the Ray cluster failed: {type(error).__name__}: {error}; what its workers have written is kept: run the "
            "same command again to go on from there"
        ) from error


def _check_reachable(address: str) -> None:
    """Refuse an address where nobody listens: Ray would try for minutes, and then end the process.

    Raises:
        OSError: Nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
