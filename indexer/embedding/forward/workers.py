"""Workers: threads of one processor core each, over one copy of the weights.

One team of threads waits after every product for its slowest member; where another program takes a core for a while,
all wait. Workers wait for nobody: each runs whole batches by itself. torch lets other Python threads run while it
computes, so threads are enough.

torch keeps the size of a team for each thread apart (OpenMP's nthreads-var), and one more number for threads that have
not computed yet. ``torch.set_num_threads`` sets both, so the second one is put back once the workers have theirs.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Lock
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
R = TypeVar("R")

_lock = Lock()
_pools: dict[tuple[int, int], Workers] = {}
"""By process and number of workers: threads do not follow a process into its child."""


def workers(count: int) -> Workers:
    """Return this process's workers, so many; made at the first call."""
    with _lock:
        key = (os.getpid(), count)
        if key not in _pools:
            _pools[key] = Workers(count)
        return _pools[key]


class Workers:
    """A fixed number of threads in which torch uses one thread."""

    def __init__(self, count: int) -> None:
        """Start the threads."""
        self.count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="encode")
        team = torch.get_num_threads()
        ready = Barrier(count)

        def begin() -> None:
            torch.get_num_threads()  # a thread's first call takes the number for new threads, and would undo the next
            torch.set_num_threads(1)
            ready.wait()  # so that each thread takes one

        for started in [self._pool.submit(begin) for _ in range(count)]:
            started.result()
        torch.set_num_threads(team)

    def call(self, function: Callable[[], R]) -> R:
        """Run a function in one of the threads and return its result."""
        return self._pool.submit(function).result()

    def map(self, tasks: Iterator[tuple[T, Callable[[], R]]]) -> Iterator[tuple[T, R]]:
        """Run tasks side by side and yield their results in order.

        Tasks are taken in this thread, one more than there are workers at a time. An error of a task ends the run.
        """
        waiting: deque[tuple[T, Future[R]]] = deque()
        try:
            for what, task in tasks:
                waiting.append((what, self._pool.submit(task)))
                if len(waiting) > self.count:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
