"""Ctrl-C and SIGTERM: end in an orderly way, and within two seconds in any case."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

GRACE = 1.6
"""Seconds for the command to end by itself. What is committed is safe whenever a process ends."""
INTERRUPTED = 130
"""Exit code."""


class Interrupts:
    """Turns SIGINT and SIGTERM into KeyboardInterrupt; where that does not end the process in time, ends it.

    A thread of its own hears of the signal at once, also while the main thread is inside a library. A second signal
    ends the process at once.
    """

    def __init__(self) -> None:
        """Take over both signals, for the rest of the process."""
        self.seen = False
        hears, tells = os.pipe()
        os.set_blocking(tells, False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._raise)
        signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(hears,), daemon=True, name="interrupts").start()

    def _raise(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal's signature
        if not self.seen:
            self.seen = True
            raise KeyboardInterrupt

    def _watch(self, hears: int) -> None:
        wanted = {signal.SIGINT, signal.SIGTERM}
        first = True
        while numbers := os.read(hears, 64):
            if not wanted & set(numbers):
                continue
            if first and len(numbers) == 1:
                first = False
                self._later()
                continue
            self._end()

    def _later(self) -> None:
        timer = threading.Timer(GRACE, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            os.write(2, b"semsearch: interrupted\n")
        os._exit(INTERRUPTED)
