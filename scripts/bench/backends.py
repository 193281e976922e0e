"""Time one forward pass of the default encoder through several backends, one thread: ours, eager, zentorch, OpenVINO.

    python scripts/bench/backends.py [--batch N] [--tokens N] [--rounds N] [BACKEND …]

Each backend is a process of its own, and they take turns, round by round, so that a machine's moods fall on all of
them. The batch is N prompts of so many tokens, all of one length, so that nobody pads. ``ours`` is what the product
runs, ``eager`` the same weights in transformers. zentorch and openvino are no dependencies: one that cannot be had
is a line that says why. Printed: tokens a second (median), the ratio to ours, and the least cosine with its vectors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

BACKENDS = ("ours", "eager", "zentorch", "openvino")


def prompts(batch: int, tokens: int) -> list[list[int]]:
    """Token ids without a common beginning."""
    return np.random.default_rng(0).integers(300, 40_000, (batch, tokens)).tolist()


def ready(backend: str, ids: list[list[int]]) -> Callable[[], Any]:
    """Return what runs the batch once and gives its last hidden states (b, d)."""
    import torch

    torch.set_num_threads(1)
    from indexer.embedding.forward.last_token import fast_forward
    from indexer.embedding.weights import loading, models
    from semsearch.encoders import named

    spec = models.resolve(named("default"))
    model: Any = loading.load(models.locate(spec), spec, "fp32", torch.device("cpu"), whole=True)
    if backend == "ours":
        forward = fast_forward(model)
        assert forward is not None
        return lambda: forward(ids)
    given = torch.tensor(ids)

    class Last(torch.nn.Module):
        """The model, and of its states the last."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, given: torch.Tensor) -> Any:
            return self.model(given, use_cache=False).last_hidden_state[:, -1]

    last: Any = Last().eval()
    if backend == "openvino":
        import openvino

        with torch.no_grad():  # traced by torch.jit, its conversion fails on a constant
            converted = openvino.convert_model(torch.export.export(last, (given,), strict=False))
        hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(converted, "CPU", hints)
        return lambda: compiled([given.numpy()])[0]
    if backend == "zentorch":
        import zentorch  # noqa: F401 - registers the backend

        last = torch.compile(last, backend="zentorch")

    @torch.inference_mode()
    def run() -> Any:
        return last(given)

    return run


def serve(backend: str, options: argparse.Namespace) -> None:
    """Run the batch once for every line that is read; the vectors go into the file that the line names, if any."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    ids = prompts(options.batch, options.tokens)
    run = ready(backend, ids)
    for _ in range(2):
        found = run()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        found = run()
        seconds = time.perf_counter() - start
        if line.strip():
            np.save(line.strip(), np.asarray(found, np.float32))
        print(options.batch * options.tokens / seconds, file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backends", nargs="*", default=BACKENDS, metavar="BACKEND")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=124, help="a passage of 112 and its prompt")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options)
        return
    words = [sys.executable, __file__, "--batch", str(options.batch), "--tokens", str(options.tokens), "--serve"]
    running, speeds, vectors = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for backend in options.backends:
            errors = Path(folder) / f"{backend}.txt"
            with errors.open("w") as file:
                process = subprocess.Popen(
                    [*words, backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
                )
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline().strip() == "ready":
                running[backend] = process
            else:
                print(
                    json.dumps({"backend": backend, "error": errors.read_text().strip().splitlines()[-1:]}), flush=True
                )
        for _ in range(options.rounds):
            for backend, process in running.items():
                path = Path(folder) / f"{backend}.npy"
                print(path, file=process.stdin, flush=True)
                speeds.setdefault(backend, []).append(float(process.stdout.readline()))
                vectors[backend] = np.load(path)
        for process in running.values():
            process.stdin.close()
            process.wait()
    ours = vectors.get("ours")
    for backend, found in speeds.items():
        line = {"backend": backend, "tokens/s": round(median(found), 1)}
        if ours is not None:
            one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (ours, vectors[backend]))
            line |= {
                "to ours": round(median(found) / median(speeds["ours"]), 2),
                "least cosine": round(float((one * other).sum(1).min()), 6),
            }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
