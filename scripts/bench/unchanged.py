"""How long `semsearch index` takes where nothing has changed: the whole process, from its start to its end.

    python scripts/bench/unchanged.py [--files 10000] [--work DIR] [--output FILE.json] [--only make]

A folder of that many small text files, in folders of 250, is made and indexed once with the hash encoder; then the
same command runs again, three times, and the median counts. --only make leaves the measuring to a quiet machine; a
folder that is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

RUNS = 3
PER_FOLDER = 250


def make(corpus: Path, files: int) -> None:
    random = np.random.default_rng(0)
    for number in range(files):
        path = corpus / f"{number // PER_FOLDER:04d}" / f"{number:06d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Note {number}.\n\n" + " ".join(f"w{word}" for word in random.zipf(1.2, 60) % 30_000) + "\n")


def index(corpus: Path, home: Path) -> tuple[float, dict[str, Any]]:
    """Return the seconds of the whole process, and what it reports."""
    words = ("-m", "semsearch", "index", "--json", "--home", home, "--model", "hash:64", corpus)
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - started, json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--work", type=Path, default=Path("bench-unchanged"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", choices=("make",))
    options = parser.parse_args()
    from semsearch.evaluation import result_files

    corpus, home = options.work / f"files-{options.files}", options.work / f"home-{options.files}"
    if not corpus.exists():
        make(corpus, options.files)
        took, report = index(corpus, home)
        print(f"first run: {took:.1f} s, {report['files']}", file=sys.stderr)
    if options.only:
        return
    index(corpus, home)
    runs = [index(corpus, home) for _ in range(RUNS)]
    assert all(report["passages"]["embedded"] == 0 for _, report in runs)
    found = {
        "seconds": round(statistics.median(took for took, _ in runs), 2),
        "runs": [round(took, 2) for took, _ in runs],
        "report": runs[-1][1],
        "load": [round(x, 1) for x in os.getloadavg()],
        "hardware": result_files.hardware(None),
    }
    print(json.dumps(found, indent=1))
    if options.output:
        known = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
        known[f"{options.files} files"] = found
        options.output.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
