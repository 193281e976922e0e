"""How fast texts become vectors: ours in each precision, the same weights elsewhere, and what the machine could do.

    python scripts/bench/bench_encode.py --data DATA --output scripts/results/bench_encode.json
    python scripts/bench/bench_encode.py --quick                      # a first look, generated texts
    python scripts/bench/bench_encode.py --shape 7b                   # CUDA: random weights of a larger model as well

Every system loads once in a process of its own and then waits. In each repeat every system encodes the same texts,
one system at a time in changing order, with the machine's matrix product timed in between. Reported are medians over
the repeats of

    seconds, sentences/s, tokens/s   of whole prompts, also where a shared prefix was run only once
    MFU                              floating-point operations that were done (no padding) against the best bf16
                                     matrix product of the same repeat
    ratio                            to sentence-transformers bf16 in the same repeat

and the peak memory of the process (on CUDA: of the device). Without --data the sentences are drawn from a fixed seed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from indexer.embedding.spec import EncoderSpec

BASELINE = "sentence-transformers bf16"
JOCKEY = (("A jockey riding a horse.", "Equestrian"),)
SHAPES = {"7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}}
WORDS = "the a man woman dog horse river market police music small green old runs plays falls sells near under".split()


# -- texts ------------------------------------------------------------------------------------------------------


def sources(data: Path | None) -> tuple[list[str], str]:
    """STS-B sentences (or generated ones of like length), each once, and one long text to cut up, joined from them."""
    rng = random.Random(0)
    if data is None:
        sentences = [" ".join(rng.choices(WORDS, k=rng.randint(6, 16))) + "." for _ in range(20_000)]
    else:
        folder = data / "senteval/downstream/STS/STSBenchmark"
        files = [folder / f"sts-{part}.csv" for part in ("dev", "train")]
        rows = [row for file in files for row in file.read_text("utf-8").splitlines()]
        sentences = [text for row in rows for text in row.split("\t")[5:7]]
    sentences = list(dict.fromkeys(sentences))
    rng.shuffle(sentences)
    return sentences, " ".join(sentences)


def workloads(data: Path | None, folder: Path, size: float) -> dict[str, list[str]]:
    """Name → texts. ``size`` scales their numbers."""
    from indexer.embedding.weights import tokens

    sentences, long = sources(data)
    offsets = tokens.load(folder).backend.encode(long, add_special_tokens=False).offsets
    rng = random.Random(1)

    def cut(n: int) -> str:
        start = rng.randrange(len(offsets) - n)
        return long[offsets[start][0] : offsets[start + n - 1][1]]

    short = sentences[: round(256 * size)]
    mixed = [cut(round(4 * 64 ** rng.random())) for _ in range(round(128 * size))]  # 4 to 256, evenly on a log scale
    return {
        "sts": short,
        "passages of 128 tokens": [cut(128) for _ in range(round(48 * size))],
        "mixed lengths": mixed,
        "sts, one demonstration": short,
    }


def spec_for(workload: str, spec: EncoderSpec) -> EncoderSpec:
    return replace(spec, demonstrations=JOCKEY) if "demonstration" in workload else spec


# -- systems, each in its own process ---------------------------------------------------------------------------

Run = Callable[[str, list[str]], int]
"""Workload and texts to the tokens sent through the model."""


def ours(precision: str, spec: EncoderSpec, device: str) -> Run:
    from indexer.embedding import open_encoder, resolve

    encoders: dict[EncoderSpec, object] = {}

    def run(workload: str, texts: list[str]) -> int:
        wanted = spec_for(workload, replace(spec, precision=precision))
        if wanted not in encoders:
            encoders.clear()
            encoders[wanted] = open_encoder(resolve(wanted), device=device)
        encoder = encoders[wanted]
        before = encoder.stats.tokens
        encoder.encode(texts)
        return encoder.stats.tokens - before

    return run


def sentence_transformers(spec: EncoderSpec, device: str) -> Run:
    """As a user would: the exported folder, batches of 32, its own sorting."""
    import torch
    from sentence_transformers import SentenceTransformer

    from indexer.embedding.sentence_transformers_export import export

    models: dict[EncoderSpec, SentenceTransformer] = {}

    def run(workload: str, texts: list[str]) -> int:
        wanted = spec_for(workload, replace(spec, precision="bf16"))
        if wanted not in models:
            models.clear()
            folder = Path(tempfile.mkdtemp()) / "model"
            export(wanted, folder)
            models[wanted] = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": torch.bfloat16})
        models[wanted].encode(texts, batch_size=32, show_progress_bar=False)
        return 0

    return run


def transformers(spec: EncoderSpec, device: str) -> Run:
    """The loop that model cards show: batches of 32 as they come, padded, the last position taken."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from indexer.embedding import resolve
    from indexer.embedding.prompts.prompt import PromptTemplate
    from indexer.embedding.weights import models

    folder = models.locate(resolve(spec)).model
    model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval().to(device)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    @torch.inference_mode()
    def run(workload: str, texts: list[str]) -> int:
        template = PromptTemplate.of(spec_for(workload, spec))
        for start in range(0, len(texts), 32):
            prompts = [template.render(text) for text in texts[start : start + 32]]
            batch = tokenizer(prompts, padding=True, return_tensors="pt").to(device)
            model(**batch, use_cache=False).last_hidden_state[:, -1].float().cpu()
        return 0

    return run


def llama_cpp(gguf: Path, spec: EncoderSpec, device: str) -> Run:
    import llama_cpp

    from indexer.embedding.prompts.prompt import PromptTemplate

    model = llama_cpp.Llama(
        str(gguf), embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_LAST, n_ctx=2048, n_batch=2048,
        n_ubatch=2048, n_threads=os.cpu_count(), n_gpu_layers=-1 if device == "cuda" else 0, verbose=False,
    )  # fmt: skip

    def run(workload: str, texts: list[str]) -> int:
        template = PromptTemplate.of(spec_for(workload, spec))
        model.embed([template.render(text) for text in texts])
        return 0

    return run


def random_shape(name: str, device: str) -> Run:
    """The forward alone, on random ids: how well a large model is driven."""
    import torch
    from transformers import AutoModel, LlamaConfig

    from indexer.embedding.forward.last_token import fast_forward

    config = LlamaConfig(**SHAPES[name], vocab_size=32000)
    with torch.device(device):
        forward = fast_forward(AutoModel.from_config(config, dtype=torch.bfloat16).eval())
    assert forward is not None
    rng = random.Random(2)

    def run(_workload: str, _texts: list[str]) -> int:
        before = forward.tokens
        for _ in range(4):  # batches of 128-token prompts
            forward([[rng.randrange(32000) for _ in range(128)] for _ in range(forward.batch_tokens // 4 // 128)]).cpu()
        return forward.tokens - before

    return run


def matrix_products(device: str) -> Callable[[], float]:
    """Best bf16 GFLOP/s of a few shapes that a processor does well."""
    import torch

    side = 8192 if device == "cuda" else 1024
    pairs = [[torch.randn(m, k, dtype=torch.bfloat16, device=device) for m, k in ((a, b), (b, c))]
             for a, b, c in ((side, side, side), (2 * side, side // 2, 3 * side))]  # fmt: skip

    def measure() -> float:
        best = 0.0
        for a, b in pairs:
            for _ in range(6):
                start = time.perf_counter()
                a @ b
                if device == "cuda":
                    torch.cuda.synchronize()
                best = max(best, 2 * a.shape[0] * a.shape[1] * b.shape[1] / (time.perf_counter() - start))
        return best / 1e9

    return measure


def worker(name: str, options: argparse.Namespace) -> None:
    """Answer {"workload", "texts"} lines with {"seconds", "tokens", "memory"} lines.

    A line without texts is answered with the matrix product's peak.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    import torch

    spec = EncoderSpec.from_dict(json.loads(options.spec))
    if name == "peak":
        measure = matrix_products(options.device)
    else:
        run = build(name, spec, options)
    for line in sys.stdin:
        task = json.loads(line)
        start = time.perf_counter()
        if name == "peak":
            answer = {"gflops": measure()}
        else:
            count = run(task["workload"], task["texts"])
            answer = {"seconds": time.perf_counter() - start, "tokens": count}
            answer["memory"] = (torch.cuda.max_memory_allocated() if options.device == "cuda"
                                else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # fmt: skip
        print(json.dumps(answer), file=answers, flush=True)


def build(name: str, spec: EncoderSpec, options: argparse.Namespace) -> Run:
    if name.startswith("ours "):
        return ours(name.removeprefix("ours "), spec, options.device)
    if name.startswith("shape "):
        return random_shape(name.removeprefix("shape "), options.device)
    if name == "llama.cpp":
        return llama_cpp(options.gguf, spec, options.device)
    return {BASELINE: sentence_transformers, "transformers bf16": transformers}[name](spec, options.device)


class Worker:
    def __init__(self, name: str, arguments: list[str]):
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", name, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, **task: object) -> dict[str, float]:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(task), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with {self.process.wait()}: see its message above")
        return json.loads(line)


# -- the comparison ---------------------------------------------------------------------------------------------


class Cost:
    """Floating-point operations of a decoder's blocks: 2 for each weight and token, and the attention's products."""

    def __init__(self, config: object, skip_last: bool):
        """skip_last: in the last block only keys and values are computed for all tokens."""
        heads, hidden = config.num_attention_heads, config.hidden_size  # type: ignore[attr-defined]
        self.dim = heads * (getattr(config, "head_dim", None) or hidden // heads)
        kv = self.dim * (getattr(config, "num_key_value_heads", None) or heads) // heads
        wide = getattr(config, "intermediate_size", None) or config.ffn_dim  # type: ignore[attr-defined]
        gated = 3 if hasattr(config, "intermediate_size") else 2
        self.block = hidden * (2 * self.dim + 2 * kv + gated * wide)
        self.kv = 2 * hidden * kv
        self.layers = config.num_hidden_layers  # type: ignore[attr-defined]
        self.skip_last = skip_last

    def __call__(self, tokens: int, lengths: list[int]) -> float:
        """Tokens that were run, and the prompts' lengths (a shared prefix's attention is counted only once each)."""
        weights = 2 * self.block * self.layers * tokens
        own = tokens / sum(lengths)
        attention = sum(2 * self.dim * n * (n + 1) for n in lengths) * self.layers * own
        if self.skip_last:
            weights -= 2 * (self.block - self.kv) * (tokens - len(lengths))
            attention *= (self.layers - 1) / self.layers
        return weights + attention


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of evaluation data, for STS-B's sentences")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--model", default=EncoderSpec().model)
    parser.add_argument("--device", default=None, help="cpu or cuda; default: cuda where there is one")
    parser.add_argument("--systems", help="only these, separated by commas")
    parser.add_argument("--workloads", help="only these, separated by commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=float, default=None, help="scales the numbers of texts (1 on CPU, 64 on CUDA)")
    parser.add_argument("--quick", action="store_true", help="one repeat, a quarter of the texts")
    parser.add_argument("--gguf", type=Path, help="model file for llama.cpp, where llama-cpp-python is installed")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="also random weights of this shape (CUDA)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--spec", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options)
        return

    import torch

    from indexer.embedding import resolve
    from indexer.embedding.precision import available, pick_device
    from indexer.embedding.prompts.prompt import PromptTemplate
    from indexer.embedding.weights import models, tokens

    device = pick_device(options.device).type
    spec = EncoderSpec(model=options.model)
    fingerprint = resolve(spec).fingerprint
    folder = models.locate(spec).model
    size = options.size or (1.0 if device == "cpu" else 64.0)
    tasks = workloads(options.data, folder, size / 4 if options.quick else size)
    if options.workloads:
        tasks = {name: tasks[name] for name in options.workloads.split(",")}
    names = [f"ours {p}" for p in available(torch.device(device)) if p != "nf4"]
    names += [BASELINE] if importlib.util.find_spec("sentence_transformers") else []
    names += ["transformers bf16"]
    names += ["llama.cpp"] if options.gguf and importlib.util.find_spec("llama_cpp") else []
    names = options.systems.split(",") if options.systems else names

    arguments = ["--device", device, "--spec", json.dumps(spec.to_dict())]
    arguments += ["--gguf", str(options.gguf)] if options.gguf else []
    peak = Worker("peak", arguments)
    systems = [Worker(name, arguments) for name in names]
    tokenizer = tokens.load(folder)
    lengths = {}
    for task, texts in tasks.items():
        template = PromptTemplate.of(spec_for(task, spec))
        lengths[task] = [len(ids) for ids in tokenizer.prompts(template, texts, spec.max_tokens).ids]

    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    repeats = 1 if options.quick else options.repeats
    records: dict[str, dict[str, list[dict[str, float]]]] = {task: {name: [] for name in names} for task in tasks}
    for task, texts in tasks.items():  # a system keeps one model: finish a workload before the next
        for system in systems:
            system.ask(workload=task, texts=texts)  # warm: loads, allocates, primes
        for repeat in range(repeats):
            turn = repeat % len(systems)
            for system in systems[turn:] + systems[:turn]:
                gflops = peak.ask()["gflops"]
                answer = system.ask(workload=task, texts=texts)
                run = int(answer["tokens"]) or sum(lengths[task])
                cost = Cost(config, system.name.startswith("ours "))(run, lengths[task])
                records[task][system.name].append({**answer, "tokens": run, "gflops": gflops, "flop": cost})
            print(f"{task}: repeat {repeat + 1} of {repeats}", file=sys.stderr)
    result: dict[str, object] = {
        "provenance": provenance(spec, fingerprint, device, options, tasks),
        "peak bf16 GFLOP/s": median(r["gflops"] for task in records.values() for rs in task.values() for r in rs),
        "workloads": {task: summary(records[task], lengths[task]) for task in tasks},
    }
    if options.shape:
        result["shape"] = shape(options.shape, arguments, peak, repeats)
    show(result)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def summary(records: dict[str, list[dict[str, float]]], lengths: list[int]) -> dict[str, object]:
    table: dict[str, object] = {"texts": len(lengths), "prompt tokens": sum(lengths)}
    for name, runs in records.items():
        best = [max(r["gflops"] for rs in records.values() for r in [rs[i]]) for i in range(len(runs))]
        seconds = median(r["seconds"] for r in runs)
        row = {
            "seconds": seconds,
            "sentences/s": len(lengths) / seconds,
            "tokens/s": sum(lengths) / seconds,
            "tokens run": runs[0]["tokens"],
            "MFU": median(r["flop"] / r["seconds"] / 1e9 / top for r, top in zip(runs, best, strict=True)),
            "peak memory MB": max(r["memory"] for r in runs) / 2**20,
            "all seconds": [r["seconds"] for r in runs],
        }
        if BASELINE in records:
            row["ratio"] = median(
                theirs["seconds"] / r["seconds"] for r, theirs in zip(runs, records[BASELINE], strict=True)
            )
        table[name] = row
    return table


def shape(name: str, arguments: list[str], peak: Worker, repeats: int) -> dict[str, float]:
    from transformers import LlamaConfig

    system = Worker(f"shape {name}", arguments)
    system.ask(workload="random", texts=[])
    runs = []
    for _ in range(repeats):
        gflops = peak.ask()["gflops"]
        answer = system.ask(workload="random", texts=[])
        lengths = [128] * (int(answer["tokens"]) // 128)
        flop = Cost(LlamaConfig(**SHAPES[name]), True)(int(answer["tokens"]), lengths)
        runs.append((answer["tokens"] / answer["seconds"], flop / answer["seconds"] / 1e9 / gflops, answer["memory"]))
    return {"tokens/s": median(r[0] for r in runs), "MFU": median(r[1] for r in runs), "peak memory MB":
            max(r[2] for r in runs) / 2**20}  # fmt: skip


def provenance(
    spec: EncoderSpec, fingerprint: str, device: str, options: argparse.Namespace, tasks: dict[str, list[str]]
) -> dict[str, object]:
    import torch

    packages = ("torch", "transformers", "tokenizers", "sentence-transformers", "llama_cpp_python", "numpy")
    installed = {}
    for name in packages:
        if importlib.util.find_spec(name.replace("-", "_").replace("llama_cpp_python", "llama_cpp")):
            installed[name] = version(name)
    root = Path(__file__).resolve().parents[2]
    commit = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True)
    model_name = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model_name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "model": spec.model,
        "fingerprint": fingerprint,
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{model_name}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "load average": list(os.getloadavg()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": installed,
        "texts": "STS-B" if options.data else "generated, seed 0",
        "texts sha256": hashlib.sha256(json.dumps(list(tasks.values())).encode()).hexdigest(),
    }


def show(result: dict[str, object]) -> None:
    print(f"bf16 matrix product: {result['peak bf16 GFLOP/s']:.0f} GFLOP/s")
    for task, table in result["workloads"].items():  # type: ignore[attr-defined]
        print(f"\n{task}: {table['texts']} texts, {table['prompt tokens']} tokens")
        print(f"{'':28}{'sentences/s':>12}{'tokens/s':>10}{'MFU':>7}{'MB':>7}{'ratio':>7}")
        for name, row in table.items():
            if isinstance(row, dict):
                ratio = f"{row['ratio']:7.2f}" if "ratio" in row else ""
                print(f"{name:28}{row['sentences/s']:12.1f}{row['tokens/s']:10.0f}{row['MFU']:7.2f}"
                      f"{row['peak memory MB']:7.0f}{ratio}")  # fmt: skip
    if "shape" in result:
        print(f"\nrandom weights: {result['shape']}")


if __name__ == "__main__":
    main()
