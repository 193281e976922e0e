"""Write tests/golden/default_model.json: what the default model must give, computed without semsearch's encoder.

One prompt at a time through transformers' LlamaForCausalLM in fp32, no padding, no cache; only the model folder
comes from semsearch. Run from the repository's top:  python scripts/research/make_golden.py
"""

import argparse
import json
import platform
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from indexer.embedding.spec import DEFAULT_MODEL
from indexer.embedding.weights import packaged

PROMPTS = {  # text → whole prompt, by hand: the paper's template and normalisation
    "": 'This sentence : "" means in one word:"',
    "A man is riding a horse": 'This sentence : "A man is riding a horse." means in one word:"',
    "Who said “no” to the king?": 'This sentence : "Who said “no” to the king." means in one word:"',
    'He said "never"': 'This sentence : "He said \'never\'" means in one word:"',
    "Shares fell 12% on Friday.": 'This sentence : "Shares fell 12% on Friday." means in one word:"',
}


def main() -> None:
    """Write the file."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    folder = packaged.embedded()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for text, prompt in PROMPTS.items():
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            output = model(input_ids=ids, output_hidden_states=True)
        chances, best = output.logits[0, -1].softmax(0).topk(5)
        rows.append(
            {
                "text": text,
                "ids": ids[0].tolist(),
                "vector": [round(x, 5) for x in output.hidden_states[-1][0, -1].tolist()],
                "terms": [
                    [tokenizer.decode([i]), round(p, 5)] for i, p in zip(best.tolist(), chances.tolist(), strict=True)
                ],
            }
        )
    origin = {
        "script": "scripts/research/make_golden.py",
        "model": packaged.EMBEDDED[DEFAULT_MODEL].digest,
        "precision": "fp32",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "machine": platform.machine(),
    }
    target = Path(__file__).resolve().parents[2] / "tests" / "golden" / "default_model.json"
    target.parent.mkdir(exist_ok=True)
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    target.write_text(f'{{"origin": {json.dumps(origin)},\n "rows": [\n{lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
