"""Digests of model and adapter files, by which a changed file is noticed.

A model's digest covers its configuration, tokenizer and weight files (safetensors where there are any, else
``pytorch_model*.bin``): name, size and content of each. Files up to 64 MiB are hashed whole, larger ones by 256 blocks
of 64 KiB spread evenly from the first byte to the last, so that a model of 130 GB is known in under a second; training
moves every weight, which such a sample cannot miss.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from indexer.embedding.weights.gguf import convert, metadata
from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = Literal["model", "adapter"]

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "spiece.model", "vocab.json", "merges.txt", "vocab.txt",
)  # fmt: skip
MAX_WHOLE = 64 * 2**20
"""Bytes of a file that is hashed whole."""
_BLOCK, _BLOCKS = 64 * 2**10, 256


def content_digest(folder: Path, kind: Kind, more: Sequence[str] = ()) -> str:
    """Return the SHA-256 (hex) over a model's or adapter's files, as the module's docstring says.

    Args:
        folder: Where they are.
        kind: Whose.
        more: Names of further files that count, where they are there.

    Raises:
        ModelError: The folder has no configuration or no weights.
    """
    names = weight_files(folder, "adapter_model" if kind == "adapter" else None)
    config = "adapter_config.json" if kind == "adapter" else "config.json"
    if not (folder / config).is_file() or not names:
        raise ModelError(
            f"{folder} is not a folder with {'an' if kind == 'adapter' else 'a'} {kind}: it needs {config} and "
            f"*.safetensors (or *.bin) files, and holds {_listing(folder)}"
        )
    names = [config, *names, *(name for name in more if (folder / name).is_file())]
    if kind == "model":
        names += [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0{_file_digest(folder / name)}\n".encode())
    return digest.hexdigest()


def weight_files(folder: Path, stem: str | None = None) -> list[str]:
    """Return the names of the files to load weights from: safetensors where there are any, else pickled ones."""
    for pattern in (f"{stem or ''}*.safetensors", f"{stem or 'pytorch_model'}*.bin"):
        names = sorted(path.name for path in folder.glob(pattern))
        if names:
            return names
    return []


def _file_digest(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= MAX_WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for i in range(_BLOCKS):
            file.seek((size - _BLOCK) * i // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
        return digest.hexdigest()


def gguf_digest(path: Path) -> str:
    """Return the digest of a GGUF file, all parts of it, together with the version of its conversion.

    Raises:
        ModelError: A part is missing.
    """
    digests = [_file_digest(part) for part in metadata.parts(path)]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return f"gguf:{whole[:32]}:{convert.VERSION}"


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "") if names else "nothing"
