"""The device of tests marked ``gpu``: CUDA, or what TEST_DEVICE names, so that they can be tried on a CPU too."""

from __future__ import annotations

import os

import pytest
import torch

DEVICE = os.environ.get("TEST_DEVICE", "cuda")
HALF = torch.bfloat16
on_device = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device"),
]
"""For ``pytestmark``."""
