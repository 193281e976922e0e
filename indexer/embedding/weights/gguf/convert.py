"""A GGUF file → a model folder in transformers' layout. Needs neither torch nor transformers, but for some tokenizers.

transformers reads GGUF too, but slowly and with the whole model in memory at 32 bits, needs torch to do it, refuses to
save the result, leaves out some of what a file says (rotary scaling, partly rotated heads), and gives byte-level
tokenizers a wrong splitting of digits; so weights, configuration and byte-level tokenizers are written here.
"""

from __future__ import annotations

import json
import shutil
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.embedding.weights.gguf import families, metadata, tensors, vocabulary
from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

VERSION = 1
"""Part of every converted folder's name: raise it when the conversion gives other weights or token ids."""
_CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def convert(source: Path, folder: Path, progress: Callable[[float], None] | None = None) -> None:
    """Write config.json, model.safetensors and tokenizer files of the GGUF file ``source`` into ``folder``.

    Quantised and bf16 weights become bf16; files of F16 or F32 keep their type. A tensor at a time is in memory.

    Args:
        source: The file, or one of the parts that it was split into.
        folder: Made where it is missing.
        progress: Takes the share of the weights that is written, from 0 to 1.

    Raises:
        ModelError: The file is not GGUF or of a family that is not read, or there is no space for the folder.
    """
    model = metadata.read(source)
    config = families.config(model)
    weights = list(tensors.weights(model, config))
    embeddings = model.tensors["token_embd.weight"].type_name
    dtype = {"F32": "float32", "F16": "float16"}.get(embeddings, "bfloat16")
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(metadata.numbers(weight.shape) for weight in weights) * (4 if dtype == "float32" else 2)
    if shutil.disk_usage(folder).free < needed:
        raise ModelError(
            f"{source} needs {needed / 1e9:.1f} GB as it is loaded, and {folder} has "
            f"{shutil.disk_usage(folder).free / 1e9:.1f} GB left; free some space or set SEMSEARCH_CACHE"
        )
    _write_weights(weights, dtype, folder / "model.safetensors", progress or (lambda _: None))
    (folder / "config.json").write_text(json.dumps({**config, "dtype": dtype}, indent=2) + "\n", "utf-8")
    vocabulary.write(model, folder)


def _write_weights(
    weights: Sequence[tensors.Weight], dtype: str, path: Path, progress: Callable[[float], None]
) -> None:
    """Write a safetensors file by hand, a piece at a time: its library takes whole tensors and no bfloat16 of numpy."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position, width = 0, 4 if dtype == "float32" else 2
    for weight in weights:
        end = position + width * metadata.numbers(weight.shape)
        header[weight.name] = {"dtype": _CODES[dtype], "shape": list(weight.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    written = 0
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for weight in weights:
            for values in weight.chunks():
                file.write((_bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)).tobytes())
                written += width * values.size
                progress(written / max(position, 1))


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bits of bfloat16, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
