"""The teacher of a distillation: an encoder whose vectors are kept, in memory and, where asked, in a folder.

n texts, e the teacher's numbers.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from indexer import embedding
from indexer.errors import TrainingError
from semsearch import encoders

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from indexer.embedding.encoder import Encoder

KEY_BYTES = 16
"""Bytes of a text's SHA-256 that stand for it."""


def key(text: str) -> bytes:
    """Return what stands for a text: the beginning of its SHA-256."""
    return hashlib.sha256(text.encode()).digest()[:KEY_BYTES]


class VectorFolder:
    """Vectors in float16 on disk, in files that are written once and never changed.

    Several processes may add to one folder at the same time: each file is written aside and renamed.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``, which is made at the first ``add``."""
        self._path = path
        self._read: set[str] = set()

    def fresh(self) -> dict[bytes, np.ndarray]:
        """Return the vectors, by key, of the files that no earlier call has read.

        Raises:
            TrainingError: A file is damaged.
        """
        found: dict[bytes, np.ndarray] = {}
        for file in sorted(self._path.glob("*.npz")):
            if file.name in self._read:
                continue
            try:
                with np.load(file, allow_pickle=False) as content:
                    keys, vectors = content["keys"], content["vectors"]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise TrainingError(
                    f"the teacher's vectors in {file} are damaged ({error}): remove the file, they are computed again"
                ) from error
            self._read.add(file.name)
            found.update(zip((row.tobytes() for row in keys), vectors, strict=True))
        return found

    def add(self, vectors: dict[bytes, np.ndarray]) -> None:
        """Write some vectors as one more file."""
        self._path.mkdir(parents=True, exist_ok=True)
        keys = np.frombuffer(b"".join(vectors), np.uint8).reshape(len(vectors), KEY_BYTES)
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:24] + ".npz"
        aside = self._path / f".{name}.{os.getpid()}.partial"
        with aside.open("wb") as file:
            np.savez(file, keys=keys, vectors=np.stack(list(vectors.values())).astype(np.float16))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._path / name)
        self._read.add(name)


class Teacher:
    """An encoder to learn from; each text is encoded once.

    Attributes:
        fingerprint: The fingerprint of its encoder.
        dim: e.
    """

    def __init__(self, encoder: Encoder, device: torch.device, folder: Path | None = None) -> None:
        """Teach by ``encoder``.

        Args:
            encoder: The teacher.
            device: Where the vectors are wanted.
            folder: Where vectors are kept between runs, in a folder of the encoder's own; None: nowhere.
        """
        self.fingerprint = encoder.spec.fingerprint
        self.dim = encoder.dim
        self._encoder = encoder
        self._device = device
        self._known: dict[bytes, np.ndarray] = {}
        self._folder = None if folder is None else VectorFolder(folder / self.fingerprint)
        if self._folder is not None:
            self._known.update(self._folder.fresh())

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Return the texts' vectors: (n, e) float32, of the precision that float16 keeps."""
        keys = [key(text) for text in texts]
        if self._folder is not None and any(each not in self._known for each in keys):
            self._known.update(self._folder.fresh())  # another process may have been ahead
        new = {each: text for each, text in zip(keys, texts, strict=True) if each not in self._known}
        if new:
            found = dict(zip(new, self._encoder.encode(list(new.values())).astype(np.float16), strict=True))
            self._known.update(found)
            if self._folder is not None:
                self._folder.add(found)
        return torch.from_numpy(np.stack([self._known[each] for each in keys]).astype(np.float32)).to(self._device)


def open_teacher(name: str, device: torch.device, folder: Path | None = None) -> Teacher:
    """Return the teacher of a name that ``encoders.named`` knows; ``folder``: where its vectors are kept.

    Raises:
        ConfigError: The name is a file that describes no encoder.
        ModelError: There is no such model.
    """
    return Teacher(embedding.open_encoder(encoders.named(name), device=str(device)), device, folder)
