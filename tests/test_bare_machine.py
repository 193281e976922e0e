"""Encoding, training and evaluation need neither FAISS nor a database nor the readers of files.

A machine that is lent for its GPU has PyTorch and what belongs to it, and cannot fetch more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MISSING = (
    "faiss bitsandbytes sqlalchemy alembic datasets semantic_text_splitter selectolax pyarrow pypdfium2 lxml clevercsv "
    "icalendar pathspec chardet ir_measures pytrec_eval Stemmer webencodings click rich gguf matplotlib openpyxl"
)
PROGRAM = """
import json, sys
from importlib import metadata

for name in "{missing}".split():
    sys.modules[name] = None              # importing it fails, and looking for it finds nothing
version = metadata.version
def absent(name):
    if name == "semsearch":               # it runs from a checkout
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = absent

from pathlib import Path
import numpy as np
from indexer.embedding import open_encoder, resolve
from indexer.embedding.spec import EncoderSpec
from semsearch.evaluation import gate, runner, study
from semsearch.evaluation.sentences import sts, transfer_tasks
from semsearch.training import demos, trainer
from semsearch.training.recipe import Clean, Dev, Lora, Recipe, Source, Train

model, data, out = map(Path, sys.argv[1:])
spec = EncoderSpec(model=str(model), precision="fp32")
vectors = open_encoder(resolve(spec)).encode(["A man is riding a horse.", "Two dogs."])
recipe = Recipe(
    name="tiny", encoder=EncoderSpec(model=str(model)), lora=Lora(rank=4, alpha=8, base="fp32"),
    train=Train(batch=8, steps=2, check_every=1), clean=Clean(), sources=(Source(path="triplets.jsonl"),),
    dev=(Dev(path="dev.jsonl"),),
)
result = trainer.train(trainer.prepare(recipe, data), out)
print(json.dumps({{"norms": np.linalg.norm(vectors, axis=1).tolist(), "steps": result.steps,
                  "absent": [name for name in sys.modules if sys.modules[name] is None and name in "{missing}"]}}))
"""


def test_nothing_else_is_imported(tiny_llama: Path, tmp_path: Path) -> None:
    topics = ["horse", "dog", "market", "beach"]
    rows = [{"anchor": f"The {a} is here", "positive": f"Two of the {a}", "negative": f"The {b}"}
            for a in topics for b in topics if a != b]  # fmt: skip
    dev = [{"sentence1": f"the {a} fell", "sentence2": f"{b} on Friday", "score": 5 * (a == b)}
           for a in topics for b in topics]  # fmt: skip
    for name, records in (("triplets", rows), ("dev", dev)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(missing=MISSING), str(tiny_llama), str(tmp_path), str(tmp_path / "run")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["steps"] == 2
    assert all(abs(norm - 1) < 1e-5 for norm in found["norms"])
    provenance = json.loads((tmp_path / "run/provenance.json").read_text())
    assert provenance["versions"]["semsearch"] is None
    assert (tmp_path / "run/adapter_model.safetensors").is_file()
