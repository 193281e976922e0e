"""How far SentEval's scikit-learn mode, which semsearch follows, lies from its PyTorch mode, which the paper used.

    python scripts/research/senteval_pytorch_mode.py --data DATA --model NAME [--pooling mean …] --tasks TREC,MRPC

The PyTorch mode written anew from its description: a linear softmax classifier, Adam (learning rate 0.001, weight
decay 1e-5 to 1e-2 as the regularisation to choose), batches of 64; accuracy on the held-out part is looked at every
4 epochs, and training stops when it has not risen for the sixth time, at the latest after 200 epochs; the best state
is kept. The final classifier holds out a random twentieth of its own training part. Seed 1111, 10 folds.
Writes scripts/results/eval/pytorch-mode-NAME.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from indexer import embedding
from indexer.embedding.spec import EncoderSpec
from semsearch.cli.eval import Progress
from semsearch.evaluation import result_files, runner
from semsearch.evaluation.sentences import transfer_tasks
from semsearch.evaluation.sentences.vector_cache import encode

RESULTS = Path(__file__).resolve().parent.parent / "results" / "eval"
DECAYS = (1e-5, 1e-4, 1e-3, 1e-2)
FOLDS = 10


class Linear:
    """The classifier; x (n, d) float32, y (n,) int64."""

    def __init__(self, width: int, classes: int, decay: float):
        np.random.seed(transfer_tasks.SEED)
        torch.manual_seed(transfer_tasks.SEED)
        self.layer = torch.nn.Linear(width, classes)
        self.optimizer = torch.optim.Adam(self.layer.parameters(), weight_decay=decay)

    def fit(self, x: torch.Tensor, y: torch.Tensor, dev_x: torch.Tensor, dev_y: torch.Tensor) -> Linear:
        best, state, misses, epochs = -1.0, None, 0, 0
        while epochs <= 200:
            for _ in range(4):
                order = torch.from_numpy(np.random.permutation(len(x)))
                for rows in order.split(64):
                    loss = torch.nn.functional.cross_entropy(self.layer(x[rows]), y[rows])
                    self.optimizer.zero_grad()
                    loss.backward()
                    self.optimizer.step()
            epochs += 4
            accuracy = self.accuracy(dev_x, dev_y)
            if accuracy > best:
                best, state = accuracy, {k: v.clone() for k, v in self.layer.state_dict().items()}
            elif misses >= 5:
                break
            else:
                misses += 1
        self.layer.load_state_dict(state)
        return self

    def fit_alone(self, x: torch.Tensor, y: torch.Tensor) -> Linear:
        order = np.random.permutation(len(x))
        held = len(x) // 20
        return self.fit(x[order[held:]], y[order[held:]], x[order[:held]], y[order[:held]])

    @torch.no_grad()
    def accuracy(self, x: torch.Tensor, y: torch.Tensor) -> float:
        return float((self.layer(x).argmax(1) == y).float().mean())


def choose(x: torch.Tensor, y: torch.Tensor, splits: list[tuple[np.ndarray, np.ndarray]]) -> float:
    classes = int(y.max()) + 1
    means = []
    for decay in DECAYS:
        fits = [Linear(x.shape[1], classes, decay).fit(x[a], y[a], x[b], y[b]).accuracy(x[b], y[b]) for a, b in splits]
        means.append(round(100 * float(np.mean(fits)), 2))
    return DECAYS[int(np.argmax(means))]


def score(data: runner.Data, vectors: object) -> float:
    """Accuracy in percent of one task."""
    parts = {}
    for name, items in data.parts.items():
        items = items.take(transfer_tasks._senteval_order(items))
        parts[name] = (torch.from_numpy(transfer_tasks._features(items, vectors)), torch.from_numpy(items.gold))
    if "all" in parts:
        x, y = parts["all"]
        tests = []
        for a, b in transfer_tasks._folds(FOLDS).split(x, y):
            inner = list(transfer_tasks._folds(FOLDS).split(x[a], y[a]))
            decay = choose(x[a], y[a], inner)
            model = Linear(x.shape[1], int(y.max()) + 1, decay).fit_alone(x[a], y[a])
            tests.append(round(100 * model.accuracy(x[b], y[b]), 2))
        return round(float(np.mean(tests)), 2)
    (x, y), (test_x, test_y) = parts["train"], parts["test"]
    classes = int(y.max()) + 1
    if "dev" in parts:
        dev_x, dev_y = parts["dev"]
        both_x, both_y = torch.cat([x, dev_x]), torch.cat([y, dev_y])
        split = (np.arange(len(x)), np.arange(len(x), len(both_x)))
        model = Linear(x.shape[1], classes, choose(both_x, both_y, [split])).fit(x, y, dev_x, dev_y)
    else:
        decay = choose(x, y, list(transfer_tasks._folds(FOLDS).split(x, y)))
        model = Linear(x.shape[1], classes, decay).fit_alone(x, y)
    return round(100 * model.accuracy(test_x, test_y), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="TREC,MRPC,CR")
    parser.add_argument("--name", required=True, help="of the encoder, and of the file")
    parser.add_argument("--model", default=EncoderSpec().model)
    parser.add_argument("--pooling", default="last")
    parser.add_argument("--template", default=EncoderSpec().template)
    parser.add_argument("--max-tokens", type=int, default=EncoderSpec().max_tokens)
    parser.add_argument("--no-normalise", action="store_true")
    options = parser.parse_args()

    spec = EncoderSpec(
        model=options.model, pooling=options.pooling, template=options.template,
        normalize_text=not options.no_normalise, max_tokens=options.max_tokens,
    )  # fmt: skip
    loaded = runner.load(options.tasks.split(","), options.data, quick=False)
    encoder = embedding.open_encoder(embedding.resolve(spec))
    cache = runner.cache_folder() / "vectors"
    path = RESULTS / f"pytorch-mode-{options.name}.json"
    rows: dict[str, dict[str, float]] = result_files.read(path)["tasks"] if path.is_file() else {}
    for data in loaded:
        started = time.monotonic()
        texts = [text for items in data.parts.values() for text in items.texts]
        vectors = encode(encoder, texts, cache, Progress())
        ours = transfer_tasks.score(data, vectors).value
        theirs = score(data, vectors)
        rows[data.task.name] = {"scikit-learn": ours, "pytorch": theirs, "difference": round(ours - theirs, 2)}
        print(data.task.name, rows[data.task.name], flush=True)
        scores = {task: row["pytorch"] for task, row in rows.items()}
        about = result_files.provenance(
            encoder, seconds=time.monotonic() - started, seed=transfer_tasks.SEED, name=f"{options.name}, PyTorch mode"
        )
        result_files.write(path, {"scores": scores, "tasks": rows, **about})


if __name__ == "__main__":
    main()
