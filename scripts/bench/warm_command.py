"""Time of a whole command that asks a running server: the process from its start to its end, beside what it is made of.

    python scripts/bench/warm_command.py [--model NAME] [--runs 20]

A server over Python's own documentation strings (or, with --model hash:64, without a model) is started in a home of its
own. Then these are run in turn, so that whatever else the machine does meets all of them alike: Python alone, Python
with click, ``semsearch query`` as text and as JSON, ``get``, the same query of a client that stays (what of it
is the server's), and the query without a server. Prints medians and the best in milliseconds; run it on a quiet
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

QUERY = "how are the lines of a file read one after the other?"


def source(folder: Path, files: int) -> None:
    """Write some files of real text."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:files]:
        (folder / f"{path.stem}.txt").write_text(path.read_text("utf-8", "replace")[:4000])


def timed(command: list[str]) -> float:
    """Return the milliseconds of one process."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return (time.perf_counter() - started) * 1000


def asked(home: Path) -> float:
    """Return the milliseconds of one question on a connection that is open."""
    from semsearch.search.asking.request import SearchRequest
    from semsearch.service import running
    from semsearch.service.client import Served

    server = running.find(home)
    assert server is not None
    with Served(server, "default") as served:
        served.search(SearchRequest("open the connection", k=1))
        started = time.perf_counter()
        served.search(SearchRequest(QUERY))
        return (time.perf_counter() - started) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="of the collection [default: the default encoder]")
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--runs", type=int, default=20)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, docs = Path(folder) / "home", Path(folder) / "docs"
        docs.mkdir()
        source(docs, wanted.files)
        ours = [sys.executable, "-m", "semsearch"]
        model = ["--model", wanted.model] if wanted.model else []
        subprocess.run([*ours, "index", str(docs), *model, "--home", str(home)], check=True, capture_output=True)
        server = subprocess.Popen(
            [*ours, "serve", "--port", "0", "--preload", "--home", str(home)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            server.stdout.readline()
            print(json.dumps(measured(ours, home, wanted.runs), indent=2))
        finally:
            server.terminate()
            server.wait()


def measured(ours: list[str], home: Path, runs: int) -> dict[str, dict[str, float]]:
    """Return what was measured: name → median and best."""
    at = ["--home", str(home)]
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "click": [sys.executable, "-c", "import click"],
        "query": [*ours, "query", QUERY, *at],
        "query --json": [*ours, "query", "--json", QUERY, *at],
        "get": [*ours, "get", "1", *at],
        "query --no-server": [*ours, "query", QUERY, "--no-server", *at],
    }
    seen: dict[str, list[float]] = {name: [] for name in (*commands, "the server alone")}
    for run in range(runs):
        for name, command in commands.items():
            if name != "query --no-server" or run < 3:
                seen[name].append(timed(command))
        seen["the server alone"].append(asked(home))
    return {
        name: {"median_ms": round(statistics.median(each), 1), "best_ms": round(min(each), 1)}
        for name, each in seen.items()
    }


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # who has installed it has its bytecode
    main()
