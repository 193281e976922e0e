"""Reading and splitting many files: in this process where they are few, else in several.

Each worker is a Python process of its own that reads one file at a time. One that dies or takes too long costs the file
that it was reading, and nothing else.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from indexer.corpus.folders.changes import digest
from indexer.corpus.parse import parse
from indexer.errors import ReadError
from indexer.types import Parsed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from indexer.corpus.formats import ReadOptions
    from indexer.corpus.splitter import Splitter
    from indexer.types import FileRecord

FEW_BYTES, FEW_FILES = 4 << 20, 300
"""Below both, files are read in this process: starting others would take longer."""
MAX_WORKERS = 8
WAITING_FILES, WAITING_BYTES = 64, 64 << 20
"""Files that are being read, or have been and wait for their turn: at most so many, of so many bytes together."""
SECONDS, BYTES_PER_SECOND = 60.0, 256 << 10
"""A file may take so long, and a second more for so many bytes."""
START_SECONDS = 120.0
"""A worker may take so long to start."""
CHUNK = 1_024
"""Documents that a worker sends at a time."""


@dataclass(frozen=True)
class Job:
    """One file to read, unless its bytes have the digest that is known of it."""

    file: FileRecord
    options: ReadOptions
    known: str | None = None

    @property
    def seconds(self) -> float:
        """How long it may take."""
        return SECONDS + self.file.size / BYTES_PER_SECOND


def read_files(
    jobs: Sequence[Job], splitter: Splitter, workers: int | None = None, apart: bool = False
) -> Generator[Parsed | None]:
    """Yield what each file holds, in the order of the jobs; None for one whose digest is the known one.

    Whatever goes wrong with a file makes it a failed one, with the reason; it ends nothing else.

    Args:
        jobs: The files.
        splitter: Cuts documents into passages.
        workers: Processes; None: as many as there are cores, and none beside this one for few files.
        apart: Let also a single worker be a process of its own, that can die without this one.
    """
    count = _workers(jobs) if workers is None else workers
    made = _pickled(splitter) if count > 1 or apart else None
    if made is None:
        return (read_file(job, splitter) for job in jobs)
    return _in_processes(jobs, _Pool(splitter, made, min(count, len(jobs))))


def read_file(job: Job, splitter: Splitter) -> Parsed | None:
    """Return what one file holds; None where its digest is the known one."""
    try:
        found = digest(job.file.path)
        if found == job.known:
            return None
        return parse(replace(job.file, digest=found), job.options, splitter)
    except ReadError as error:
        return failed(job.file, str(error))
    except Exception as error:  # a reader's mistake, or memory that is short, costs this file only
        return failed(job.file, f"reading it failed: {type(error).__name__}: {error}")


def failed(file: FileRecord, reason: str) -> Parsed:
    """Return a file that could not be read: without digest, so that the next run tries it again."""
    return Parsed(replace(file, digest=None, status="failed", reason=reason), ())


def _workers(jobs: Sequence[Job]) -> int:
    if len(jobs) < FEW_FILES and sum(job.file.size for job in jobs) < FEW_BYTES:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_WORKERS) if sys.executable else 1


def _pickled(splitter: Splitter) -> bytes | None:
    """Return the splitter for other processes; None where its tokenizer cannot be sent."""
    try:
        return pickle.dumps(splitter)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def _in_processes(jobs: Sequence[Job], pool: _Pool) -> Generator[Parsed | None]:
    with pool:
        waiting: deque[tuple[Job, Future[Parsed | None]]] = deque()
        ahead, size = iter(jobs), 0
        job = next(ahead, None)
        while job is not None or waiting:
            while job is not None and (
                not waiting or (len(waiting) < WAITING_FILES and size + job.file.size <= WAITING_BYTES)
            ):
                waiting.append((job, pool.submit(job)))
                size += job.file.size
                job = next(ahead, None)
            done, future = waiting.popleft()
            yield future.result()
            size -= done.file.size


class _Pool:
    """Workers, and a thread for each that is served by one."""

    def __init__(self, splitter: Splitter, pickled: bytes, count: int):
        self._splitter, self._pickled = splitter, pickled
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="reading")
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        self._alive: set[_Worker] = set()
        self._lock = threading.Lock()
        self._here = threading.Lock()  # held while a file is read in this process
        self._ended = False
        for _ in range(count):
            self._idle.put(None)  # started when it is needed

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        """End at once: whoever leaves early does not wait for the files that are being read."""
        with self._lock:
            self._ended = True
            for worker in self._alive:
                worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._alive:
            worker.wait()

    def submit(self, job: Job) -> Future[Parsed | None]:
        return self._threads.submit(self._read, job)

    def _read(self, job: Job) -> Parsed | None:
        worker = self._idle.get()
        try:
            worker = worker or self._start()
        except _Dead:  # the system gives no more processes, or no memory
            if self._ended:  # or the pool was left while it started
                raise
            self._idle.put(None)
            with self._here:
                return read_file(job, self._splitter)
        try:
            result = worker.read(job)
        except _Dead as error:
            with self._lock:
                self._alive.discard(worker)
            worker.wait()
            self._idle.put(None)
            return failed(job.file, str(error))
        self._idle.put(worker)
        return result

    def _start(self) -> _Worker:
        with self._lock:
            if self._ended:
                raise RuntimeError("the pool has ended")
            worker = _Worker()
            self._alive.add(worker)
        try:
            worker.begin(self._pickled)
        except _Dead:
            with self._lock:
                self._alive.discard(worker)
            worker.wait()
            raise
        return worker


class _Dead(Exception):  # noqa: N818 - a worker's end, turned into a file's reason
    """A worker ended while it read a file."""


class _Worker:
    """Another Python process that runs ``serve``."""

    def __init__(self) -> None:
        code = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import serve; serve()"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=os.name == "posix",  # Ctrl-C is for this process, which then ends that one
            )
        except OSError as error:
            raise _Dead(str(error)) from error
        self._late = False

    def begin(self, splitter: bytes) -> None:
        """Wait until the process is ready to read.

        Raises:
            _Dead: It did not start.
        """
        with self._watched(START_SECONDS):
            try:
                self._input.write(splitter)
                self._input.flush()
                pickle.load(self._output)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                self.kill()
                raise _Dead("it did not start") from error

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def read(self, job: Job) -> Parsed | None:
        """Return what the process finds in the file.

        Raises:
            _Dead: It died of the file, or was ended because it took too long.
        """
        documents: list[object] = []
        with self._watched(job.seconds):
            try:
                pickle.dump(job, self._input)
                self._input.flush()
                while True:
                    answer = pickle.load(self._output)
                    if isinstance(answer, list):
                        documents += answer
                    else:
                        return None if answer is None else replace(answer, documents=tuple(documents))
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                self.kill()
                raise _Dead(self._reason(job)) from error

    def _reason(self, job: Job) -> str:
        if self._late:
            return f"reading it took more than {job.seconds:.0f} seconds and was given up"
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"reading it ended the process that did ({how}): it is damaged, or takes more memory than there is"

    @contextmanager
    def _watched(self, seconds: float) -> Iterator[None]:
        """End the process where this lasts longer."""

        def late() -> None:
            self._late = True
            self._process.kill()

        timer = threading.Timer(seconds, late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def kill(self) -> None:
        """End the process now."""
        self._process.kill()

    def wait(self) -> None:
        """Clear up after the process."""
        self._process.wait()
        for stream in (self._input, self._output):
            with suppress(OSError):
                stream.close()


def serve() -> None:
    """Read files, as a worker: a splitter and then jobs come from standard input, answers go to standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    requests = sys.stdin.buffer
    splitter = pickle.load(requests)
    pickle.dump("ready", answers)
    answers.flush()
    while True:
        try:
            job = pickle.load(requests)
        except EOFError:  # nobody wants more
            return
        answer = read_file(job, splitter)
        documents = [] if answer is None else answer.documents
        for start in range(0, len(documents), CHUNK):
            pickle.dump(list(documents[start : start + CHUNK]), answers)
        pickle.dump(None if answer is None else replace(answer, documents=()), answers)
        answers.flush()
