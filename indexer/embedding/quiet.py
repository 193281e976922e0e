"""Silence for messages of other libraries that nobody needs to read."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def loading_weights() -> Iterator[None]:
    """Silence transformers' progress bars and its warnings of weights that are not used.

    Those are the LM head, and blocks beyond ``layers``.
    """
    from transformers.utils import logging

    transformers_logging: Any = logging
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def bitsandbytes() -> None:
    """Silence bitsandbytes; call before it, or peft, which imports it, is imported.

    It warns of kernels that it would fetch from the hub, which are not wanted.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
