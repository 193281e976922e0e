"""The index of vectors beside others: recall@10, queries a second, build time, bytes a vector and resident memory.

    python scripts/bench/index.py --vectors FILE.npy [--texts FOLDER] [--rows 100000] [--dim 576]
                                  [--engines auto,HNSW32,SQ8;hnswlib;usearch;lancedb] [--work DIR] [--output FILE.json]
    python scripts/bench/index.py --vectors FILE.npy --whole --rows 1000000
    python scripts/bench/index.py --summary --output FILE.json

Vectors are real ones resampled with noise, see ``resampled``; queries are further draws. Ours are FAISS's codes refined
by raw vectors in a memory-mapped file, as a collection searches them: ``auto`` is what ``planner.plan`` says, any other
name is a factory. Graphs have 32 links and are built with each library's own default effort. Each engine runs in a
process of its own; the effort with recall@10 of at least --recall is looked for by half of the queries and all is
measured by the other half. Each finished part is kept in --output at once and passed over by the next run, so that a
long run can be cut into several; --only build leaves the measuring to a run on a quiet machine. Bytes a vector are the
index's; ours also reads the collection's raw vectors
(with_raw), the others hold theirs in the index. --whole makes a collection with words and vectors and measures hybrid
queries in it. --summary prints the table, with ten million passages extrapolated from 100,000 and 1,000,000 by a power
law, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import resampled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.storage.planner import IndexPlan

K = 10
EFFORTS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
BLOCK = 8_192
SECONDS = 5.0
"""Longest time for which queries are timed."""
RAW = "raw"
"""Folder of our raw vectors, beside the index."""
ENGINES = "auto;HNSW32,SQ8;hnswlib;usearch;lancedb"


class Engine(Protocol):
    """One index over rows (n, d) float16."""

    def build(self, rows: np.ndarray, folder: Path, threads: int) -> None: ...

    def open(self, folder: Path, rows: np.ndarray) -> None:
        """Open what was built, as a process that only searches does."""
        ...

    def search(self, queries: np.ndarray, effort: int, threads: int) -> np.ndarray:
        """Return (q, K) row numbers."""
        ...


def blocks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(rows), BLOCK):
        yield start, rows[start : start + BLOCK].astype(np.float32)


class Ours:
    """A collection's index."""

    def __init__(self, factory: str):
        self.factory = factory

    def write_raw(self, rows: np.ndarray, folder: Path) -> None:
        """Write the vectors as a collection keeps them, index or no index."""
        from indexer.storage.local.vectors import shards

        (folder / RAW).mkdir()
        made = [shards.write(folder / RAW, np.arange(start, start + len(part)), part.astype(np.float16))
                for start, part in blocks(rows)]  # fmt: skip
        (folder / RAW / "shards").write_text(json.dumps([vars(each) for each in made]))

    def build(self, rows: np.ndarray, folder: Path, threads: int) -> None:
        import faiss

        from indexer.storage import planner
        from indexer.storage.local.index.building import Builder

        faiss.omp_set_num_threads(threads)
        named = None if self.factory == "auto" else self.factory
        plan = planner.plan(*rows.shape, factory=named, cores=threads)
        print(f"  plan: {plan}", file=sys.stderr)
        index = Builder(lambda ids: rows[ids], "cpu").built(plan, np.arange(len(rows)), rows.shape[1])
        index.save(folder / "index")
        (folder / "plan").write_text(json.dumps([plan.factory, plan.bytes, plan.seconds]))

    def open(self, folder: Path, rows: np.ndarray) -> None:
        from indexer.storage.local.index.faiss_index import FaissIndex
        from indexer.storage.local.vectors.shards import Shard, ShardSet

        made = [Shard(**each) for each in json.loads((folder / RAW / "shards").read_text())]
        self.raw = ShardSet(folder / RAW, made, rows.shape[1], np.dtype(np.float16))
        factory = json.loads((folder / "plan").read_text())[0]
        self.index = FaissIndex.load(folder / "index", rows.shape[1], factory)

    def search(self, queries: np.ndarray, effort: int, threads: int) -> np.ndarray:
        import faiss

        from indexer.storage.local.index.refined import Effort, RefinedIndex

        faiss.omp_set_num_threads(threads)
        name = self.index.shape.effort
        factor = 4.0 if self.index.shape.short else 1.0
        tried = Effort() if name is None else Effort({name: effort}, factor)
        return RefinedIndex(self.index, lambda ids: self.raw.find(ids)[1], tried).search(queries, K).ids


class Hnswlib:
    def build(self, rows: np.ndarray, folder: Path, threads: int) -> None:
        import hnswlib

        index = hnswlib.Index("ip", rows.shape[1])
        index.init_index(len(rows), M=32, ef_construction=200)  # its default
        index.set_num_threads(threads)
        for start, part in blocks(rows):
            index.add_items(part, np.arange(start, start + len(part)))
        index.save_index(str(folder / "index"))

    def open(self, folder: Path, rows: np.ndarray) -> None:
        import hnswlib

        self.index = hnswlib.Index("ip", rows.shape[1])
        self.index.load_index(str(folder / "index"))

    def search(self, queries: np.ndarray, effort: int, threads: int) -> np.ndarray:
        self.index.set_num_threads(threads)
        self.index.set_ef(max(effort, K))
        return self.index.knn_query(queries, K)[0].astype(np.int64)


class Usearch:
    """With its codes of one byte."""

    def build(self, rows: np.ndarray, folder: Path, threads: int) -> None:
        from usearch.index import Index

        index = Index(
            ndim=rows.shape[1], metric="ip", dtype="i8", connectivity=32, expansion_add=128, expansion_search=64
        )
        for start, part in blocks(rows):
            index.add(np.arange(start, start + len(part)), part, threads=threads)
        index.save(str(folder / "index"))

    def open(self, folder: Path, rows: np.ndarray) -> None:
        from usearch.index import Index

        self.index = Index.restore(str(folder / "index"), view=True)

    def search(self, queries: np.ndarray, effort: int, threads: int) -> np.ndarray:
        self.index.expansion_search = max(effort, K)
        found = self.index.search(queries, K, threads=threads)
        return np.asarray(found.keys, np.int64).reshape(len(queries), -1)


class Lance:
    """LanceDB's HNSW over codes of one byte, refined by its raw vectors."""

    def build(self, rows: np.ndarray, folder: Path, threads: int) -> None:
        import lancedb
        import pyarrow as pa

        os.environ["LANCE_CPU_THREADS"] = str(threads)
        dim = rows.shape[1]
        schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), dim))])

        def parts() -> Iterator[pa.RecordBatch]:
            for start, part in blocks(rows):
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), dim)
                yield pa.record_batch([pa.array(np.arange(start, start + len(part))), vectors], schema=schema)

        table = lancedb.connect(str(folder)).create_table("t", parts(), schema=schema)
        table.create_index(metric="dot", vector_column_name="vector", index_type="IVF_HNSW_SQ", num_partitions=max(
            1, len(rows) // 1_048_576), m=32)  # fmt: skip

    def open(self, folder: Path, rows: np.ndarray) -> None:
        import lancedb

        self.table = lancedb.connect(str(folder)).open_table("t")

    def search(self, queries: np.ndarray, effort: int, threads: int) -> np.ndarray:
        found = np.full((len(queries), K), -1, np.int64)
        for row, query in enumerate(queries):
            asked = self.table.search(query, vector_column_name="vector").distance_type("dot").limit(K)
            ids = asked.ef(max(effort, 2 * K)).nprobes(20).refine_factor(2).select(["id"]).to_arrow()["id"].to_numpy()
            found[row, : len(ids)] = ids
        return found


def engine(name: str) -> Engine:
    peers: dict[str, Callable[[], Engine]] = {"hnswlib": Hnswlib, "usearch": Usearch, "lancedb": Lance}
    return peers[name]() if name in peers else Ours(name)


def resident() -> dict[str, int]:
    """Return resident megabytes: all, and those that are no file's pages."""
    values = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {name: int(values[key].split()[0]) // 1024 for name, key in (("rss", "VmRSS"), ("anonymous", "RssAnon"))}


def load_average() -> list[float]:
    """Above the number of cores: others were at work."""
    return [round(x, 1) for x in os.getloadavg()]


def folder_of(name: str, work: Path, rows: np.ndarray) -> Path:
    return work / f"{name.replace(',', '_')}-{len(rows)}-{rows.shape[1]}"


def size(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != RAW and path.name != "plan"
    )


def best(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return (q, K) row numbers by exact search."""
    scores, ids = np.full((len(queries), K), -np.inf, np.float32), np.zeros((len(queries), K), np.int64)
    for start, part in blocks(rows):
        both = np.concatenate([scores, queries @ part.T], 1)
        numbers = np.concatenate([ids, np.broadcast_to(np.arange(start, start + len(part)), (len(queries), len(part)))], 1)  # fmt: skip  # noqa: E501
        top = np.argpartition(-both, K - 1, axis=1)[:, :K]
        scores, ids = np.take_along_axis(both, top, 1), np.take_along_axis(numbers, top, 1)
    return ids


def recall(found: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(right, found, strict=True)]))


def rate(search: Callable[[np.ndarray], object], queries: np.ndarray, at_once: int) -> float:
    """Return queries a second; one pass over all queries first, to warm up."""
    parts = [queries[i : i + at_once] for i in range(0, len(queries), at_once)]
    for part in parts:
        search(part)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        for part in parts:
            search(part)
            done += len(part)
            if time.perf_counter() - started > SECONDS:
                break
    return done / (time.perf_counter() - started)


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Build, open and search with one engine; in a process of its own."""
    rows, queries = np.load(options.rows_file, mmap_mode="r"), np.load(options.queries_file).astype(np.float32)
    right = np.load(options.truth_file)
    folder = folder_of(name, options.work, rows)
    chosen = engine(name)
    if options.step == "build":
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if isinstance(chosen, Ours):
            chosen.write_raw(rows, folder)
        started, worked = time.perf_counter(), time.process_time()
        chosen.build(rows, folder, options.threads)
        raw = 2 * rows.shape[1] if isinstance(chosen, Ours) else 0  # lie in the collection's own files
        return {
            "build_s": round(time.perf_counter() - started, 1),
            "build_cpu_s": round(time.process_time() - worked, 1),
            "bytes": round(size(folder) / len(rows), 1),
            "raw_bytes": raw,
        }
    before = resident()
    started = time.perf_counter()
    chosen.open(folder, rows)
    opened = time.perf_counter() - started
    half = len(queries) // 2
    effort = next((n for n in EFFORTS if recall(chosen.search(queries[:half], n, options.threads), right[:half])
                   >= options.recall), EFFORTS[-1])  # fmt: skip
    others, truth = queries[half:], right[half:]
    result = {
        "effort": effort,
        "recall": round(recall(chosen.search(others, effort, options.threads), truth), 4),
        "qps_1": round(rate(lambda part: chosen.search(part, effort, 1), others, 1), 1),
        "qps_all": round(rate(lambda part: chosen.search(part, effort, options.threads), others, len(others)), 1),
        "open_ms": round(1000 * opened, 1),
        "resident_mb": resident(),
        "before_mb": before,
    }
    if (folder / "plan").exists():
        result["plan"], predicted, seconds = json.loads((folder / "plan").read_text())
        result["predicted"] = {"bytes": round(predicted / len(rows), 1), "build_s": round(seconds, 1)}
    return result


def in_a_process(name: str, step: str, options: argparse.Namespace) -> dict[str, Any]:
    words = [sys.executable, __file__, "--engine", name, "--step", step, "--threads", str(options.threads)]
    for key in ("rows_file", "queries_file", "truth_file", "work", "recall"):
        words += ["--" + key.replace("_", "-"), str(getattr(options, key))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "LANCE_CPU_THREADS": str(options.threads)}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        return {"error": f"{step} ended with {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def keep(options: argparse.Namespace, part: str, value: object) -> None:
    known = load(options.output)
    known[part] = value
    options.output.parent.mkdir(parents=True, exist_ok=True)
    aside = options.output.with_suffix(".part")
    aside.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    aside.replace(options.output)


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def side_by_side(options: argparse.Namespace) -> None:
    from semsearch.evaluation import result_files

    of = resampled.real(options.vectors, options.texts, options.real)
    noise, figures = resampled.noise_like(of)
    options.work.mkdir(parents=True, exist_ok=True)
    tag = f"{options.rows}-{options.dim}"
    options.rows_file, options.queries_file, options.truth_file = (
        options.work / f"{name}-{tag}.npy" for name in ("rows", "queries", "truth")
    )
    rows = resampled.written(options.rows_file, of, options.rows, options.dim, noise)
    queries = resampled.written(options.queries_file, of, options.queries, options.dim, noise, seed=10**9)
    if not options.truth_file.exists():
        np.save(options.truth_file, best(rows, queries.astype(np.float32)))
    for name in options.engines.split(";"):
        part = f"{options.rows} {options.dim} {name}"
        built = load(options.output).get(part, {})
        if "recall" in built:
            continue
        print(part, file=sys.stderr)
        if "build_s" not in built or not folder_of(name, options.work, rows).exists():
            built = in_a_process(name, "build", options) | {"build_load": load_average()}
            keep(options, part, built)
        if "error" in built or options.only == "build":
            continue
        found = in_a_process(name, "search", options)
        keep(options, part, built | found | {"threads": options.threads, "load": load_average(),
                                             "vectors": figures, "hardware": result_files.hardware(None)})  # fmt: skip


def summary(options: argparse.Namespace) -> None:
    known = load(options.output)
    head = "rows dim engine recall qps(1) qps(all) build_s build_cpu_s bytes/v with_raw rss_MB anonymous_MB"
    print("| " + " | ".join(head.split()) + " |\n|" + "---|" * len(head.split()))
    table: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for part, found in known.items():
        if "recall" not in found or not part[0].isdigit():
            continue
        size_, dim, name = part.split(" ", 2)
        table.setdefault((dim, name), {})[int(size_)] = found
        memory, raw = found["resident_mb"], found["bytes"] + found["raw_bytes"]
        numbers = ("qps_1", "qps_all", "build_s", "build_cpu_s", "bytes")
        cells = [f"{int(size_):,}", dim, name, f"{found['recall']:.3f}", *(f"{found[key]:,.0f}" for key in numbers)]
        print("| " + " | ".join([*cells, f"{raw:,.0f}", f"{memory['rss']:,}", f"{memory['anonymous']:,}"]) + " |")
    for (dim, name), sizes in table.items():
        if {100_000, 1_000_000} <= sizes.keys():
            small, large = sizes[100_000], sizes[1_000_000]

            def further(key: str, small: dict[str, Any] = small, large: dict[str, Any] = large) -> float:
                return float(large[key]) * float(large[key]) / max(float(small[key]), 1e-9)

            print(f"10,000,000 {dim} {name}, extrapolated from the two above by a power law, not measured: "
                  f"{further('qps_1'):,.0f} queries/s on one thread, build {further('build_s'):,.0f} s, "
                  f"{large['bytes']:,.0f} bytes a vector")  # fmt: skip


def plan_of(options: argparse.Namespace) -> str:
    from indexer.storage import planner

    return planner.plan(options.rows, options.dim).factory


def take_index(folder: Path) -> list[Path]:
    """Let the collection take an index that an earlier part has built of the same vectors; return where it was found.

    Building one takes a quarter of an hour for a million vectors. It is measured anew in the collection.
    """
    from indexer.storage.local.index.building import Builder
    from indexer.storage.local.index.faiss_index import FaissIndex

    found: list[Path] = []
    build = Builder.built

    def built(builder: Builder, plan: IndexPlan, ids: np.ndarray, dim: int) -> FaissIndex:
        if not (folder / "plan").exists():
            return build(builder, plan, ids, dim)
        index = FaissIndex.load(folder / "index", dim, plan.factory, mapped=False)
        assert len(index) == len(ids)
        index._by_position = ids
        found.append(folder)
        return index

    Builder.built = built  # type: ignore[method-assign]
    return found


def whole(options: argparse.Namespace) -> None:
    """Measure hybrid queries in a collection of words and vectors, each half in a process of its own."""
    import bench_search

    of = resampled.real(options.vectors, options.texts, options.real)
    noise, figures = resampled.noise_like(of)
    options.work.mkdir(parents=True, exist_ok=True)
    file = options.work / f"rows-{options.rows}-{options.dim}.npy"
    rows = resampled.written(file, of, options.rows, options.dim, noise)
    if options.step == "search":
        bench_search.unit = lambda random, n: resampled.draws(of, n, noise, int(random.integers(1 << 62)))
        print(json.dumps(bench_search.hybrid(options.work, options.rows, options.queries, options.threads)))
        return
    given = 0

    def following(_: np.random.Generator, n: int) -> np.ndarray:
        nonlocal given
        given += n
        return rows[given - n : given].astype(np.float32)

    bench_search.unit = following
    taken = take_index(folder_of(plan_of(options), options.work, rows))
    started = time.perf_counter()
    known = (options.work / f"search-{options.rows}").exists()
    store = bench_search.build(options.work, options.rows)
    report = store.index_report()
    store.close()
    part = f"whole {options.rows}"
    built = load(options.output).get(part, {})
    if not known:
        built = {"build_s": round(time.perf_counter() - started, 1), "build_load": load_average()}
    built |= {"index": vars(report), "vectors": figures, "index_taken": bool(taken)}
    keep(options, part, built)
    if options.only == "build":
        return
    words = [sys.executable, __file__, "--whole", "--step", "search", "--rows", str(options.rows), "--vectors",
             str(options.vectors), "--work", str(options.work), "--threads", str(options.threads), "--queries",
             str(options.queries)]  # fmt: skip
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found = built | json.loads(done.stdout.splitlines()[-1])
    keep(options, part, found | {"load": load_average()})
    print(json.dumps(found, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="File of real vectors; made of --texts where it is not there.")
    parser.add_argument("--texts", type=Path, help="Folder of collections in BEIR layout.")
    parser.add_argument("--real", type=int, default=3_200, help="Texts that are embedded for --vectors.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=576)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--engines", "--peers", default=ENGINES, help="Separated by semicolons.")
    parser.add_argument("--work", type=Path, default=Path("bench-index"))
    parser.add_argument("--output", type=Path, default=Path("bench-index.json"))
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--only", choices=("build",), help="Build and leave the measuring to a later, quiet run.")
    for name in ("--engine", "--step"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--rows-file", "--queries-file", "--truth-file"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.summary:
        summary(options)
    elif options.engine:
        print(json.dumps(measure(options.engine, options)))
    elif options.vectors is None:
        parser.error("name --vectors FILE.npy, and --texts FOLDER to make it of where it is not there")
    elif options.whole:
        whole(options)
    else:
        side_by_side(options)
        summary(options)


if __name__ == "__main__":
    main()
