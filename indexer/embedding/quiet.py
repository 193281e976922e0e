"""What libraries say of themselves and nobody needs to read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def loading_weights() -> Iterator[None]:
    """Without transformers' progress bars and its warnings of weights that are not used: the LM head, and blocks
    beyond ``layers``."""
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
    """Call before bitsandbytes (or peft, which imports it) is imported: it warns of kernels that it would fetch from
    the hub, which are not wanted."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
