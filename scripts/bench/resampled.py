"""Any number of vectors whose neighbourhoods are like those of real passages: real ones, resampled with noise.

    python scripts/bench/resampled.py --vectors FILE.npy [--texts FOLDER]     # shows the noise and what it is judged by

A draw is a real vector plus ``noise`` times the difference of two other real vectors, made unit length again: noise of
the data's own covariance, so that it spreads in the directions in which passages really differ. How much noise is
decided by the data: half of the real vectors are resampled to as many as there are, and the noise is taken under which
the local intrinsic dimension of the result (maximum likelihood over ten neighbours; Levina and Bickel, NIPS 2004) is
that of the real ones. With too little, draws sit in tight heaps that every index finds; with too much, they are
uniform and no index finds any. More dimensions than the real ones are had by turning the draws into a larger space:
distances stay, as do neighbourhoods.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np

WORDS = 60
"""Words of a passage that is cut for embedding."""
GRID = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 1.0)
NEIGHBOURS = 10
BLOCK = 16_384


def real(path: Path, texts: Path | None, count: int) -> np.ndarray:
    """Return real vectors (n, d) float32: those of a file, made by the default encoder of BEIR folders where it is not.

    Raises:
        SystemExit: There is neither the file nor a folder of texts.
    """
    if path.exists():
        return np.load(path).astype(np.float32)
    if texts is None:
        raise SystemExit(f"{path} is not there; name collections in BEIR layout to make it of: --texts FOLDER")
    from semsearch import Encoder

    passages: list[str] = []
    for corpus in sorted(texts.glob("*/corpus.jsonl*")):
        with (gzip.open if corpus.suffix == ".gz" else open)(corpus, "rt", encoding="utf-8") as lines:
            bodies = [json.loads(line)["text"].split() for line in lines]
        parts = [" ".join(body[i : i + WORDS]) for body in bodies for i in range(0, len(body), WORDS)]
        passages += [part for part in parts if len(part) > 120]
    draw = np.random.default_rng(0)
    chosen = [passages[i] for i in draw.permutation(len(passages))[:count]]
    vectors = np.asarray(Encoder.load().encode_passages(chosen), np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, vectors)
    return vectors


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (n, d) at unit length."""
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def draws(of: np.ndarray, n: int, noise: float, seed: int) -> np.ndarray:
    """Return (n, d) float32 draws from real vectors."""
    draw = np.random.default_rng(seed)
    one, other, base = (draw.integers(0, len(of), n) for _ in range(3))
    return unit(of[base] + np.float32(noise) * (of[one] - of[other]))


def dimension(vectors: np.ndarray) -> float:
    """Return the median local intrinsic dimension."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = -np.sort(-scores, axis=1)[:, :NEIGHBOURS]
    distances = np.sqrt(np.maximum(2 - 2 * nearest, 1e-9))
    logs = np.log(distances[:, -1:] / np.maximum(distances[:, :-1], 1e-6)).mean(axis=1)
    return float(np.median(1 / np.maximum(logs, 1e-6)))


def noise_like(of: np.ndarray) -> tuple[float, dict[str, float]]:
    """Return the noise under which draws are like the real vectors, and the figures that say so."""
    sample = of[:3_000]
    wanted = dimension(sample)
    found = {noise: dimension(draws(sample[::2], len(sample), noise, 1)) for noise in GRID}
    best = min(GRID, key=lambda noise: abs(found[noise] - wanted))
    return best, {"real": round(wanted, 1), "drawn": round(found[best], 1), "noise": best}


def written(path: Path, of: np.ndarray, n: int, dim: int, noise: float, seed: int = 7) -> np.ndarray:
    """Return (n, dim) float16 draws, kept in a file and memory-mapped."""
    if not path.exists():
        turn = None
        if dim > of.shape[1]:
            turn = np.linalg.qr(np.random.default_rng(3).standard_normal((dim, of.shape[1])))[0].T.astype(np.float32)
        aside = path.with_suffix(".part")
        vectors = np.lib.format.open_memmap(aside, "w+", np.float16, (n, dim))
        for start in range(0, n, BLOCK):
            part = draws(of, min(BLOCK, n - start), noise, seed + start)
            vectors[start : start + len(part)] = part if turn is None else part @ turn
        vectors.flush()
        del vectors
        aside.rename(path)
    return np.load(path, mmap_mode="r")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--real", type=int, default=3_200)
    options = parser.parse_args()
    print(json.dumps(noise_like(real(options.vectors, options.texts, options.real))[1]))


if __name__ == "__main__":
    main()
