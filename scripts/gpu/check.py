"""Prove the GPU path with one command: equality, speed, FAISS, the paper's recipe and a real training, in one report.

    python scripts/gpu/check.py --model default.gguf --data DATA --out gpu          # under 8 minutes on one card
    python scripts/gpu/check.py --small --out gpu                                   # every part on a CPU, in a minute
    python scripts/gpu/check.py --parts speed,recipe --model default.gguf --out gpu

It needs PyTorch 2.11 or newer with what belongs to it, a checkout of this project, and no network. --model is the
default model's GGUF file, or its name where it lies in pieces NAME.part0, NAME.part1 …: they are joined. --wheels is a
folder of wheels that the machine lacks (gguf to read the model, bitsandbytes for NF4, FAISS for a GPU), whole or in
pieces too; they are unpacked beside the report, and nothing is installed.

Every part is a process of its own with a limit of time. A part that fails or is too slow keeps the rows it has, and the
others go on. OUT/report.json has all rows with provenance, OUT/table.md the same to read, OUT/adapter what was trained:

    semsearch eval gate --against search --adapter OUT/adapter
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"equality": 75, "speed": 165, "neighbours": 55, "recipe": 60, "training": 105}
"""Part → seconds that it may take. ``training`` gets what the parts before it have left of TOTAL as well."""
TOTAL = 460
SMALL = dict.fromkeys(PARTS, 300)
"""On a CPU they take a minute together, unless others keep it busy."""
SCRIPTS = Path(__file__).parent / "parts"
WHEELS = {"gguf": "gguf", "bitsandbytes": "bitsandbytes", "faiss": "faiss-gpu-cuvs or faiss-cuda", "vllm": "vllm"}
"""Module → the wheel that has it. Without one of them some rows are missing, and the report says which."""
LEAST_TORCH = (2, 11)
"""The first whose attention over packed sequences knows grouped heads and windows."""
GRACE = 5
"""Seconds between asking a part to end and ending it."""


@dataclass
class Running:
    """A part whose process has been started; it waits until it is told to go."""

    name: str
    process: subprocess.Popen[str]
    log: Path


def main() -> int:
    """Run the parts; return 0 where all of them are complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"only these, of {', '.join(PARTS)}")
    parser.add_argument("--model", type=Path, help="the default model's GGUF file, whole or in pieces")
    parser.add_argument("--data", type=Path, help="folder of evaluation and training data [SEMSEARCH_SHARED]")
    parser.add_argument(
        "--teacher",
        type=Path,
        help="what scripts/research/fetch_teacher.py wrote: the encoder file, or the model's folder carried here",
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels to use without installing them")
    parser.add_argument("--small", action="store_true", help="every part on a CPU, with tiny models, in a minute")
    options = parser.parse_args()
    chosen = [name.strip() for name in options.parts.split(",")]
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"no part is named {', '.join(unknown)}; parts are {', '.join(PARTS)}")
    began = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve()
    environment = environ(out, options.wheels)
    notes = prepare(options, out, environment)
    limits = SMALL if options.small else PARTS
    arguments = ["--out", str(out), *(["--small"] if options.small else [])]
    data = options.data or os.environ.get("SEMSEARCH_SHARED")
    arguments += ["--data", str(Path(data).resolve())] if data else []
    arguments += ["--teacher", str(options.teacher.resolve())] if options.teacher else []
    early = ["training"] if "training" in chosen else []  # its rows are read while the other parts have the card
    waiting = {name: start(name, out, arguments, environment) for name in early}
    parts: dict[str, dict[str, Any]] = {}
    about = provenance(environment, options.small)
    report: dict[str, Any] = {"provenance": about, "notes": notes, "seconds": 0.0, "parts": parts}
    for name in chosen:
        running = waiting.get(name) or start(name, out, arguments, environment)
        limit: float = limits[name]
        if name == "training" and not options.small:
            limit = max(limit, TOTAL - (time.monotonic() - began))
        parts[name] = finish(running, limit, out)
        print(f"{name}: {parts[name]['status']}, {parts[name]['seconds']:.0f} s", file=sys.stderr, flush=True)
        report["seconds"] = round(time.monotonic() - began, 1)
        (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (out / "table.md").write_text(table(report) + "\n", "utf-8")
    print(table(report))
    return 0 if all(part["status"] == "complete" for part in parts.values()) else 1


# -- what the parts find ----------------------------------------------------------------------------------------


def environ(out: Path, wheels: Path | None) -> dict[str, str]:
    """Return the environment of the parts: this checkout and unpacked wheels on the path, no network."""
    paths = [str(ROOT)]
    if wheels is not None:
        target = out / "wheels"
        target.mkdir(exist_ok=True)
        names = {re.sub(r"\.part\d+$", "", path.name) for path in wheels.iterdir() if ".whl" in path.name}
        for name in sorted(names):
            with zipfile.ZipFile(joined(wheels / name, target)) as archive:
                archive.extractall(target / "unpacked")
        paths.append(str(target / "unpacked"))
    before = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, *([before] if before else [])]),
        "HF_HUB_OFFLINE": "1",
        "SEMSEARCH_CACHE": str(out / "cache"),
        "SEMSEARCH_HOME": str(out / "home"),
    }


def joined(path: Path, folder: Path) -> Path:
    """Return a file; where it lies in pieces PATH.part0, PATH.part1 …, joined into ``folder``."""
    if path.is_file():
        return path
    pieces = sorted(path.parent.glob(f"{path.name}.part*"), key=lambda piece: int(piece.name.rpartition("part")[2]))
    if not pieces:
        raise SystemExit(f"there is neither {path} nor {path.name}.part0 beside it")
    whole = folder / path.name
    with whole.open("wb") as file:
        for piece in pieces:
            with piece.open("rb") as part:
                shutil.copyfileobj(part, file, 2**22)
    return whole


def prepare(options: argparse.Namespace, out: Path, environment: dict[str, str]) -> list[str]:
    """Put the default model where encoders look for it; return what could not be done, in words."""
    notes = [] if options.model or options.small else ["no --model: parts that need the default model say so"]
    if options.model:
        gguf = joined(options.model, out)
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / "common.py"), str(gguf)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            notes.append(f"the model cannot be used: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found = subprocess.run(
        [sys.executable, "-c", f"import importlib.util as u; print([n for n in {list(WHEELS)} if not u.find_spec(n)])"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    asked = "import torch; print(torch.__version__, torch.cuda.is_available())"
    torch = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=False
    ).stdout.split()
    if not torch or tuple(map(int, re.findall(r"\d+", torch[0])[:2])) < LEAST_TORCH:
        notes.append(
            f"PyTorch is {torch[0] if torch else 'missing'}; {'.'.join(map(str, LEAST_TORCH))} or newer is asked"
        )
    if torch[1:] != ["True"] and not options.small:
        notes.append("PyTorch sees no GPU: try --small, which runs every part on the CPU")
    for module, wheel in WHEELS.items():
        if repr(module) in found.stdout:
            notes.append(f"no module {module}: rows that need it are missing (wheel: {wheel})")
    return notes


# -- processes --------------------------------------------------------------------------------------------------


def start(name: str, out: Path, arguments: list[str], environment: dict[str, str]) -> Running:
    """Start a part's process; it gets ready and then waits for a line."""
    script = SCRIPTS / f"{name}.py"
    rows = out / f"{name}.jsonl"
    rows.unlink(missing_ok=True)
    log = out / f"{name}.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, str(script), "--rows", str(rows), *arguments],
            env=environment, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        )  # fmt: skip
    return Running(name, process, log)


def finish(running: Running, limit: float, out: Path) -> dict[str, Any]:
    """Tell a part until when it has time, and take its rows when it has ended or that time is over."""
    began = time.monotonic()
    status, process = "complete", running.process
    assert process.stdin is not None
    try:
        process.stdin.write(f"{time.time() + limit}\n")
        process.stdin.close()
    except OSError:
        pass  # it has ended already, and its log says why
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        status, code = f"ended after {limit:.0f} s", 0
    path = out / f"{running.name}.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    failed = [row["what"] for row in rows if "error" in row]
    if code:
        status = (
            f"failed: {(running.log.read_text('utf-8', 'replace').strip().splitlines() or ['no message'])[-1][:300]}"
        )
    elif failed and status == "complete":
        status = f"{len(failed)} of {len(rows)} rows failed: {', '.join(failed)[:300]}"
    return {"status": status, "seconds": round(time.monotonic() - began, 1), "rows": rows}


# -- the report -------------------------------------------------------------------------------------------------


def provenance(environment: dict[str, str], small: bool) -> dict[str, object]:
    """Return what machine, versions and code the figures are of."""
    program = (
        "import json, platform, importlib.metadata as m, torch\n"
        "names = 'torch transformers peft accelerate bitsandbytes sentence-transformers faiss-cpu faiss-gpu faiss-cuda "
        "faiss-gpu-cuvs tokenizers safetensors numpy gguf vllm'.split()\n"
        "found = {}\n"
        "for name in names:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "gpu = torch.cuda.is_available()\n"
        "p = torch.cuda.get_device_properties(0) if gpu else None\n"
        "print(json.dumps({'packages': found, 'cuda': torch.version.cuda, 'gpu': p and p.name,"
        " 'gpu memory GiB': p and round(p.total_memory / 2**30, 1), 'gpus': torch.cuda.device_count()}))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    machine = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": done.stderr[-500:]}
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    driver = ""
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "code sha256": code_digest(),
        "small": small,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "driver": driver or None,
        **machine,
    }


def code_digest() -> str:
    """Return a digest of the packages' source: a checkout that was copied has no commit."""
    digest = hashlib.sha256()
    for folder in ("indexer", "semsearch", "scripts/gpu"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    about = report["provenance"]
    small = ", small: no figure here means anything" if about["small"] else ""
    lines = [
        f"{about.get('gpu') or 'no GPU'}, torch {about.get('packages', {}).get('torch')}, CUDA {about.get('cuda')}, "
        f"{about['time']}, {report['seconds']:.0f} s{small}",
        "",
        *(f"- {note}" for note in report["notes"]),
        "",
        "| part | what | value | unit | note |",
        "| --- | --- | ---: | --- | --- |",
    ]
    for name, part in report["parts"].items():
        lines.append(f"| **{name}** | {part['status']} | {part['seconds']:.0f} | s | |".replace("\n", " "))
        for row in part["rows"]:
            value = row.get("value")
            shown = "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
            note = row.get("error") or row.get("note") or ""
            lines.append(f"| {name} | {row['what']} | {shown} | {row.get('unit', '')} | {cell(note)} |")
    return "\n".join(lines)


def cell(text: str) -> str:
    """Return text that stays within one cell."""
    return text.replace("|", "/").replace("\n", " ")[:200]


if __name__ == "__main__":
    sys.exit(main())
