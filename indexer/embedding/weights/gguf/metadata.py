"""What a GGUF file says of its model: keys, tensors and their shapes. Files split into parts are read as one."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CHUNK = 2**22
"""Numbers of a tensor that are in memory at once as float32."""


@dataclass(frozen=True)
class Stored:
    """One tensor of a file, not read yet."""

    name: str
    shape: tuple[int, ...]
    kind: Any
    """gguf's GGMLQuantizationType."""
    data: NDArray[Any]
    """Mapped; a row of blocks for each row of the tensor."""

    @property
    def type_name(self) -> str:
        """Name of the quantisation, as F32 or Q4_K."""
        return str(self.kind.name)

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the values as (r, last dimension) float32, some rows at a time.

        Raises:
            ModelError: The quantisation cannot be undone.
        """
        from gguf import dequantize

        rows = self.data.reshape(-1, self.data.shape[-1])
        step = max(1, CHUNK // self.shape[-1])
        for start in range(0, len(rows), step):
            try:
                values = dequantize(rows[start : start + step], self.kind)
            except (NotImplementedError, ValueError) as error:
                raise ModelError(
                    f"the GGUF file's tensor {self.name} is stored as {self.type_name}, which cannot be read: {error}; "
                    "use a file of another quantisation, such as Q8_0 or Q4_K_M"
                ) from error
            yield values.astype(np.float32, copy=False).reshape(-1, self.shape[-1])

    def values(self) -> NDArray[np.float32]:
        """Return all values as float32, in the tensor's shape."""
        return np.concatenate(list(self.chunks())).reshape(self.shape)


@dataclass(frozen=True)
class Metadata:
    """The keys and tensors of one model."""

    source: Path
    fields: Mapping[str, Any]
    tensors: Mapping[str, Stored]

    @property
    def architecture(self) -> str:
        """Name of the family, in llama.cpp's words."""
        return str(self.fields.get("general.architecture"))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of the key ``ARCHITECTURE.name``.

        Raises:
            ModelError: There is none, and no default.
        """
        value = self.fields.get(f"{self.architecture}.{name}", default)
        if value is None:
            raise ModelError(f"the GGUF file does not say {self.architecture}.{name}; it is incomplete")
        return value

    def has(self, pattern: str) -> bool:
        """Return whether a tensor's name matches."""
        return any(re.fullmatch(pattern, name) for name in self.tensors)


def read(source: Path) -> Metadata:
    """Read everything but the weights.

    Raises:
        ModelError: The file is not GGUF, or another part of it is missing.
    """
    from gguf import GGUFReader

    fields: dict[str, Any] = {}
    tensors: dict[str, Stored] = {}
    for number, path in enumerate(parts(source)):
        try:
            reader = GGUFReader(path)
            if number == 0:
                fields = {name: field.contents() for name, field in reader.fields.items()}
            for t in reader.tensors:
                shape = tuple(int(n) for n in reversed(t.shape))
                tensors[t.name] = Stored(t.name, shape, t.tensor_type, t.data)
        except (ValueError, OSError, IndexError, KeyError) as error:
            raise ModelError(f"{path} is not a readable GGUF file: {error}") from error
    return Metadata(source, fields, tensors)


def parts(source: Path) -> list[Path]:
    """Return the files that a model was split into (NAME-00001-of-00003.gguf …), in order; the file alone otherwise.

    Raises:
        ModelError: One of them is missing.
    """
    split = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.gguf", source.name)
    if split is None:
        return [source]
    paths = [source.with_name(f"{split[1]}-{i + 1:05}-of-{split[3]}.gguf") for i in range(int(split[3]))]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ModelError(f"{source} is one of {len(paths)} parts of a model; {', '.join(missing)} must lie beside it")
    return paths


def numbers(shape: tuple[int, ...]) -> int:
    """Return how many numbers a tensor has."""
    return math.prod(shape)
