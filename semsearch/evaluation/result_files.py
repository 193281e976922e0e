"""Write and read results as JSON files with all that their figures depend on, and make tables of several."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import os
import platform
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_info

from indexer.errors import DataError
from semsearch.evaluation.sentences.tasks import STS, TRANSFER

if TYPE_CHECKING:
    from indexer.embedding.encoder import Encoder
    from semsearch.evaluation.metrics import Score
    from semsearch.evaluation.sentences.task_data import Data

FORMAT = 1
PACKAGES = (
    "semsearch", "torch", "transformers", "tokenizers", "peft", "numpy", "scipy", "scikit-learn", "faiss-cpu",
    "ir-measures", "pytrec-eval-terrier",
)  # fmt: skip
SHORT = {"STSBenchmark": "STS-B", "SICKRelatedness": "SICK-R", "STSBenchmark-dev": "STS-B dev"}
"""Task → the name at the head of a column."""


def of_tasks(
    scores: Sequence[Score],
    loaded: Sequence[Data],
    encoder: Encoder,
    *,
    seconds: float,
    seed: int,
    batch_tokens: int | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """Return the result of STS and transfer tasks: ``--json`` prints it, and a file holds it with its ``items``."""
    values = {score.task: round(score.value, 4) for score in scores}
    return {
        **_scores(values),
        "quick": any(data.quick for data in loaded),
        "tasks": {score.task: _rounded(score.details) for score in scores},
        "data": {
            data.task.name: {"source": data.source, "sha256": data.digests, "quick": data.quick} for data in loaded
        },
        **provenance(encoder, seconds=seconds, seed=seed, batch_tokens=batch_tokens, name=name),
        "items": {score.task: item_values(score.items) for score in scores},
    }


def _scores(values: Mapping[str, float]) -> dict[str, Any]:
    groups = {"sts": STS, "transfer": TRANSFER}
    averages = {k: [values[t] for t in names if t in values] for k, names in groups.items()}
    return {
        "scores": dict(values),
        "average": round(float(np.mean(list(values.values()))), 4),
        "averages": {k: round(float(np.mean(v)), 4) for k, v in averages.items() if v},
    }


def merge(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join one encoder's results of different tasks; machine and versions are the last one's, durations add up."""
    together = {
        key: {k: v for part in parts for k, v in part[key].items()} for key in ("scores", "tasks", "data", "items")
    }
    return {
        **_scores(together["scores"]),
        "quick": any(part["quick"] for part in parts),
        "tasks": together["tasks"],
        "data": together["data"],
        **{k: v for k, v in parts[-1].items() if k not in ("scores", "average", "averages", "quick", *together)},
        "seconds": round(sum(part["seconds"] for part in parts), 2),
        "items": together["items"],
    }


def provenance(
    encoder: Encoder, *, seconds: float, seed: int, batch_tokens: int | None = None, name: str | None = None
) -> dict[str, Any]:
    """Return everything but the data that a figure may depend on."""
    spec = encoder.spec
    return {
        "format": FORMAT,
        "name": name or _name(spec.to_dict()),
        "encoder": {"fingerprint": spec.fingerprint, "dim": encoder.dim, "spec": _without_folders(spec.to_dict())},
        "dtype": spec.precision,
        "batch_tokens": batch_tokens or getattr(encoder, "batch_tokens", None),
        "truncated": encoder.stats.truncated,
        "seed": seed,
        "versions": versions(),
        "hardware": hardware(getattr(encoder, "device", None)),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide figures."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: object) -> dict[str, Any]:
    """Return what the machine is, without its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": str(device) if device is not None else "cpu",
        "processor": _processor(),
        "cores": cores,
        "threads": max((pool["num_threads"] for pool in threadpool_info()), default=cores),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _without_folders(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec without the folders of a local model or adapter: digests in it say which they are."""
    for name in ("model", "adapter"):
        if isinstance(spec[name], str) and Path(spec[name]).is_absolute():
            spec[name] = Path(spec[name]).name
    return spec


def _name(spec: Mapping[str, Any]) -> str:
    parts = [Path(str(spec["model"])).name]
    if spec["adapter"]:
        parts.append(Path(str(spec["adapter"])).name)
    if spec["demonstrations"]:
        parts.append(f"{len(spec['demonstrations'])} demonstration{'s' * (len(spec['demonstrations']) > 1)}")
    if spec["pooling"] != "last":
        parts.append(str(spec["pooling"]))
    return " + ".join(parts)


def item_values(items: np.ndarray) -> list[float | int]:
    """Return values rounded to five places, whole numbers without a point: small enough to commit."""
    return [int(value) if value == int(value) else value for value in np.round(items, 5).tolist()]


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return round(float(value), 4) if isinstance(value, float | np.floating) else value


def public(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result without its items, as it is printed."""
    return {name: value for name, value in result.items() if name != "items"}


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write the whole result, aside first; one line for each top-level field and each task's items."""
    lines = []
    for name, value in result.items():
        if name == "items":
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in value.items())
            lines.append(f' "items": {{\n{inner}\n }}')
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    temporary.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Read a result file.

    Raises:
        DataError: It is no result, or one of a later version.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; `semsearch eval … --output FILE` writes a result") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a result of `semsearch eval`: {error}") from error
    if not isinstance(result, dict) or "scores" not in result or "encoder" not in result:
        raise DataError(f"{path} is not a result of `semsearch eval`: it has no scores or no encoder")
    if result.get("format", 0) > FORMAT:
        raise DataError(f"{path} has format {result['format']}; this version reads up to {FORMAT}: update semsearch")
    return result


def task_names(result: Mapping[str, Any]) -> list[str]:
    """Return the tasks or collections whose items a result holds."""
    return list(result["data"])


def published(select: Iterable[str] = ("sts",)) -> list[dict[str, Any]]:
    """Return rows of the paper and of its authors' results, marked as published; none of them was run here."""
    rows = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))["row"]
    return [
        {
            "name": f"{row['name']} (published)",
            "scores": row.get("scores", {}),
            "averages": {row["kind"]: row["average"]},
            "published": True,
            "quick": False,
        }
        | {k: row[k] for k in ("method", "parameters") if k in row}
        for row in rows
        if row["kind"] in select
    ]


def table(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return column heads and rows in the paper's layout: a row a result, a column a task, averages at the end."""
    present = {task for result in results for task in result["scores"]}
    groups = [("sts", ("STSBenchmark-dev", *STS)), ("transfer", TRANSFER)]
    heads, columns = ["encoder"], []
    for group, tasks in groups:
        kept = [task for task in tasks if task in present]
        average = any(group in r.get("averages", {}) for r in results)
        heads += [SHORT.get(task, task) for task in kept] + ([f"avg {group}"] if average else [])
        columns += [("scores", task) for task in kept] + ([("averages", group)] if average else [])
    rows = []
    for result in results:
        name = result["name"] + (" (quick)" if result.get("quick") else "")
        cells = [result.get(where, {}).get(what) for where, what in columns]
        rows.append([name, *("" if cell is None else f"{cell:.2f}" for cell in cells)])
    return heads, rows


def retrieval_table(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return column heads and rows of retrieval results: a row a collection and mode, a column a measure."""
    measures = list(dict.fromkeys(m for r in results for mode in r["scores"].values() for m in mode))
    rows = []
    for result in results:
        tasks = result.get("tasks") or {"": result}
        several = {"average": result} if len(tasks) > 1 else {}
        for task, of_task in (tasks | several).items():
            for mode, values in of_task["scores"].items():
                cells = [f"{values[m]:.4f}" if m in values else "" for m in measures]
                rows.append([result["name"] + (" (quick)" if result.get("quick") else ""), task, mode, *cells])
    return ["encoder", "collection", "mode", *measures], rows


def render(results: Sequence[Mapping[str, Any]], style: str = "text") -> str:
    """Return the results as ``text``, ``markdown`` or ``csv``: a table of tasks, a table of retrieval, or both."""
    searches = [r.get("retrieval", r) for r in results if "retrieval" in r or "dense" in r["scores"]]
    others = [r for r in results if "dense" not in r["scores"]]
    tables = ([table(others)] if others else []) + ([retrieval_table(searches)] if searches else [])
    return "\n\n".join(_styled(heads, rows, style) for heads, rows in tables)


def _styled(heads: list[str], rows: list[list[str]], style: str) -> str:
    if style == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([heads, *rows])
        return text.getvalue().rstrip("\n")
    named = sum(head in ("encoder", "collection", "mode") for head in heads)
    if style == "markdown":
        rule = ["---"] * named + ["---:"] * (len(heads) - named)
        cells = [[cell.replace("|", "\\|") for cell in row] for row in [heads, rule, *rows]]
        return "\n".join(f"| {' | '.join(row)} |" for row in cells)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = (
        "  ".join(c.ljust(w) if i < named else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in [heads, *rows]
    )
    return "\n".join(line.rstrip() for line in lines)


def describe(task: str, details: Mapping[str, Any]) -> str:
    """Return one task's details on a line or two."""
    if "subsets" in details:
        measures = [m for m in ("spearman", "pearson") if m in details]
        parts = ", ".join(f"{k} {' / '.join(f'{v[m]:.2f}' for m in measures)}" for k, v in details["subsets"].items())
        overall = " / ".join(f"{details[m]:.2f}" for m in measures)
        means = f", mean {details['mean']:.2f}, weighted mean {details['wmean']:.2f}: {parts}"
        text = f"{task}: {' / '.join(measures)} {overall}" + (means if len(details["subsets"]) > 1 else "")
    elif "latency_ms" in details:
        counts = ", ".join(f"{number:,} {what}" for what, number in details["counts"].items())
        times = "; ".join(
            f"{mode} {' / '.join(f'{v:g}' for v in values.values())}" for mode, values in details["latency_ms"].items()
        )
        text = f"{task}: {counts}; milliseconds a query at p50 / p90 / p99: {times}"
    else:
        f1 = f", F1 {details['f1']:.2f}" if "f1" in details else ""
        text = f"{task}: accuracy {details['acc']:.2f}{f1}, in development {details['devacc']:.2f}, C {details['C']}"
    return text + "".join(f"\n  note: {note}" for note in details.get("notes", ()))
