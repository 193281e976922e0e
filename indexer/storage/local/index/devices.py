"""Where vectors are searched: on the processor, or on a GPU where there is one and FAISS is built for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from indexer.errors import PrecisionError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from indexer.storage.local.index.faiss_index import FaissIndex

DEVICES = ("auto", "cpu", "cuda")
"""auto: a GPU where it works. cuda: a GPU, or an error that says why not."""
_LOG = logging.getLogger(__name__)


def check_device(device: str) -> None:
    """Refuse an unknown device, and a GPU that is demanded and not there.

    Raises:
        PrecisionError: It cannot be used.
    """
    if device not in DEVICES:
        raise PrecisionError(f"index device is {device!r}; it is auto, cpu or cuda")
    if device == "cuda":
        from indexer.storage.local.index import faiss_gpu

        if not faiss_gpu.available():
            raise PrecisionError(
                "this FAISS has no GPU; use --index-device auto or cpu, or install the GPU build in place of faiss-cpu"
            )


def on_device(index: FaissIndex, fetch: Callable[[np.ndarray], np.ndarray], device: str) -> FaissIndex:
    """Return an index that is searched on the device; the processor's own where the GPU fails and was not demanded.

    Args:
        index: Of the processor.
        fetch: Gives raw vectors (n, d) of ids.
        device: One of DEVICES.

    Raises:
        PrecisionError: The GPU was demanded and fails.
    """
    check_device(device)
    if device == "cpu":
        return index
    from indexer.storage.local.index import faiss_gpu

    if not faiss_gpu.available():
        return index
    try:
        return faiss_gpu.GpuIndex.of(index, fetch, lambda error: fall_back(device, error))
    except StoreError as error:
        fall_back(device, error)
        return index


def fall_back(device: str, error: Exception) -> None:
    """Say that the processor does the work in the GPU's place.

    Raises:
        PrecisionError: The GPU was demanded.
    """
    if device == "cuda":
        raise PrecisionError(f"the GPU failed ({error}); use --index-device auto or cpu") from error
    _LOG.warning("the GPU failed (%s): vectors are searched on the processor", error)
