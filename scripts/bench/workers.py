"""Measure encoding with workers against one team of threads, quiet and beside a process that keeps all cores busy.

    python scripts/bench/workers.py [--texts N] [--rounds N] [--precision bf16,int8] [--adapter NAME]
    python scripts/bench/workers.py --sweep 256,512,1024 [the same]

Both ways run in turns in one process, and the ratio is of the medians, so that a machine's moods fall on both. What is
printed: tokens a second, tokens a second of processor time, and whether the vectors are the same bits.

The second form asks which batch, in tokens, suits workers best, and how near they come to what a core can do: its
products of the model's shapes at so many rows (``peak``), weights laid out as the model's are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from indexer.embedding import hf_encoder, open_encoder, resolve
from indexer.embedding.spec import EncoderSpec
from semsearch.encoders import named

if TYPE_CHECKING:
    from collections.abc import Iterator


def texts(count: int) -> list[str]:
    """Passages of about 110 tokens, no two the same."""
    line = "The harbour keeps lamp {0} burning through the night, and the keeper of pier {1} writes down when the oil "
    line += "of tank {2} was filled, who carried it up the stairs, and how far the light was seen from the boats. "
    return [" ".join(line.format(i, i % 7, i % 5 + j) for j in range(1 + i % 3)) for i in range(count)]


def spin() -> None:
    while True:
        pass


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many cores busy with other processes."""
    started = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(processes)]
    for process in started:
        process.start()
    time.sleep(2)
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.join()


def measure(encoder: hf_encoder.HFEncoder, given: list[str], side_by_side: bool) -> tuple[float, float, np.ndarray]:
    """Tokens a second, tokens a second of processor time, vectors."""
    usual = hf_encoder.runs_beside_itself
    if not side_by_side:
        hf_encoder.runs_beside_itself = lambda _: False
    before, start, used = encoder.stats.tokens, time.perf_counter(), time.process_time()
    try:
        vectors = encoder.encode(given)
    finally:
        hf_encoder.runs_beside_itself = usual
    tokens = encoder.stats.tokens - before
    return tokens / (time.perf_counter() - start), tokens / (time.process_time() - used), vectors


def compare(encoder: hf_encoder.HFEncoder, given: list[str], rounds: int) -> dict[str, Any]:
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    vectors = {}
    for _ in range(rounds):
        for way in (False, True):
            speed, efficiency, vectors[way] = measure(encoder, given, way)
            found[way].append((speed, efficiency))
    team, side = ([median(column) for column in zip(*found[way], strict=True)] for way in (False, True))
    return {
        "team tokens/s": round(team[0], 1),
        "workers tokens/s": round(side[0], 1),
        "ratio": round(side[0] / team[0], 2),
        "team tokens/cpu s": round(team[1], 1),
        "workers tokens/cpu s": round(side[1], 1),
        "largest difference": float(np.abs(vectors[True] - vectors[False]).max()),
    }


def sweep(encoder: hf_encoder.HFEncoder, given: list[str], rounds: int, sizes: list[int]) -> list[dict[str, Any]]:
    """Workers with batches of these sizes, in turns."""
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            encoder.batch_tokens = size
            found[size].append(measure(encoder, given, True)[:2])
    lines = []
    for size in sizes:
        speed, efficiency = (round(median(column), 1) for column in zip(*found[size], strict=True))
        lines.append({"batch_tokens": size, "workers tokens/s": speed, "workers tokens/cpu s": efficiency})
    return lines


def peak(rows: int, seconds: float = 1.0) -> dict[str, float]:
    """GFLOP/s of one thread in fp32 products of the default model's MLP, the best of many runs of each."""
    from indexer.embedding.forward.linear import steady

    torch.set_num_threads(1)
    best = {}
    with torch.inference_mode():
        for inputs, outputs in ((576, 1536), (1536, 576)):
            layer = steady(torch.float32)(torch.randn(outputs, inputs), None, None)
            x = torch.randn(rows, inputs)
            times, end = [], time.perf_counter() + seconds
            while time.perf_counter() < end:
                start = time.perf_counter()
                layer(x)
                times.append(time.perf_counter() - start)
            best[f"{inputs} to {outputs}"] = round(2 * rows * inputs * outputs / min(times) / 1e9, 1)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="")
    parser.add_argument("--adapter", default="none", help="a name as --adapter of the commands takes it")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--sweep", type=lambda text: [int(each) for each in text.split(",")], metavar="N,N")
    options = parser.parse_args()
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    print(json.dumps({**machine, "threads": torch.get_num_threads(), "load before": os.getloadavg()}), flush=True)
    spec = named(options.adapter)
    for precision in filter(None, options.precision.split(",")) if options.precision else [None]:
        described = EncoderSpec.from_dict(spec.to_dict() | {"precision": precision})
        encoder = open_encoder(resolve(described), device="cpu", batch_tokens=options.batch_tokens)
        given = texts(options.texts)
        encoder.encode(given[:4])
        encoder.encode(given[:2])  # the template's prefix is kept from here on
        if options.sweep:
            for line in sweep(encoder, given, options.rounds, options.sweep):
                print(json.dumps({"precision": encoder.spec.precision, "workers": encoder.workers, **line}), flush=True)
            continue
        line = {"precision": encoder.spec.precision, "batch_tokens": encoder.batch_tokens, "workers": encoder.workers}
        print(json.dumps({**line, "beside": 0, **compare(encoder, given, options.rounds)}), flush=True)
        cores = os.cpu_count() or 1
        with busy(cores):
            print(json.dumps({**line, "beside": cores, **compare(encoder, given, options.rounds)}), flush=True)
    for rows in options.sweep or []:
        print(json.dumps({"rows": rows, "peak": peak(rows)}), flush=True)


if __name__ == "__main__":
    main()
