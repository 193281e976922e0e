"""Does a second run embed exactly what changed? Index Cranfield's abstracts as files, then change and delete some.

    python scripts/bench/bench_reindex.py --data DATA [--documents 1400] [--output FILE] [encoder options]

DATA is a folder that holds retrieval/cranfield/corpus.jsonl.gz (BEIR layout). Five runs of `semsearch index`: all
files, no change, ten files with a new last sentence, ten files gone, one folder renamed. What each should embed is
counted independently here, by splitting the changed files with the collection's own splitter.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.embedding.spec import EncoderSpec
from indexer.types import Document
from semsearch.making import splitter_for

if TYPE_CHECKING:
    from indexer.corpus.splitter import Splitter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=1400)
    parser.add_argument("--output", type=Path)
    arguments, encoder_options = parser.parse_known_args()
    with gzip.open(arguments.data / "retrieval" / "cranfield" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][: arguments.documents]
    with tempfile.TemporaryDirectory() as folder:
        result = check(Path(folder), rows, encoder_options)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    sys.exit(0 if result["exact"] else 1)


def check(folder: Path, rows: list[dict[str, str]], options: list[str]) -> dict[str, Any]:
    """Run the five steps in ``folder``; report what each embedded beside what it should have."""
    corpus = folder / "corpus"
    for number, row in enumerate(rows):
        path = corpus / f"part{number % 10}" / f"{row['_id']}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{row['title']}\n\n{row['text']}\n" if row["text"] else "", encoding="utf-8")
    files = sorted(path for path in corpus.rglob("*.txt") if path.stat().st_size)
    steps = []

    def step(name: str, expected: int | None) -> dict[str, Any]:
        report = run(folder, corpus, options)
        steps.append({"step": name, "expected_embedded": expected, **report})
        return report

    step("all files", None)
    spec = status(folder)["encoder"]
    known = {field: spec[field] for field in EncoderSpec.__dataclass_fields__ if field in spec}
    splitter = splitter_for(EncoderSpec.from_dict(known), 128)
    passages = {path: texts(splitter, path) for path in files}
    steps[0]["expected_embedded"] = len({text for each in passages.values() for text in each})

    step("no change", 0)
    seen = {text for each in passages.values() for text in each}
    changed = files[:: max(1, len(files) // 10)][:10]
    for path in changed:
        path.write_text(path.read_text() + f"A remark was added to {path.stem} later.\n")
        os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
        passages[path] = texts(splitter, path)
    step("ten files changed", len({text for path in changed for text in passages[path]} - seen))
    for path in files[5 :: max(1, len(files) // 10)][:10]:
        path.unlink()
        del passages[path]
    step("ten files deleted", 0)
    shutil.move(corpus / "part3", corpus / "renamed")
    step("a folder renamed", 0)

    total = sum(len(each) for each in passages.values())
    exact = all(s["passages"]["embedded"] == s["expected_embedded"] for s in steps)
    return {
        "documents": len(rows),
        "steps": steps,
        "expected_total": total,
        "exact": exact and steps[-1]["passages"]["total"] == total,
        "encoder": {"fingerprint": spec["fingerprint"], "precision": spec["precision"], "model": spec["model"]},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def texts(splitter: Splitter, path: Path) -> list[str]:
    document = Document(path=str(path), text=path.read_text(encoding="utf-8"), kind="text")
    return [passage.text for passage in splitter.split(document)]


def run(folder: Path, corpus: Path, options: list[str]) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "semsearch",
        "index",
        "--json",
        "--home",
        str(folder / "home"),
        *options,
        str(corpus),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 4):  # 4: the collection has two empty documents
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def status(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "semsearch", "status", "--json", "--home", str(folder / "home")]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)[0]
    return found


if __name__ == "__main__":
    main()
