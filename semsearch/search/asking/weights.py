"""How much each retriever counts in a fusion, and where a collection keeps that."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from indexer.errors import CorruptError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ANNOTATION = "search"
"""Name of the collection's note that holds the weights chosen for it."""
FILE = "search.json"
"""File of an export that holds them."""


class Annotated(Protocol):
    """Something that small JSON objects are kept with: a store."""

    def annotation(self, name: str) -> dict[str, object] | None:
        """Return the object kept under a name, None without one."""
        ...

    def annotate(self, name: str, value: Mapping[str, object] | None) -> None:
        """Keep an object under a name; None removes it."""
        ...


@dataclass(frozen=True)
class Weights:
    """How much each retriever counts in a convex fusion; only their proportions matter.

    The defaults were chosen on development collections: see scripts/results/search.
    """

    dense: float = 0.5
    lexical: float = 0.5
    sparse: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        values = asdict(self)
        if not all(
            isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v < float("inf") for v in values.values()
        ):
            raise UsageError(f"weights are {values}; each is a number from 0 up")
        if not sum(values.values()):
            raise UsageError("the weights are all 0; at least one retriever must count")

    @classmethod
    def of(cls, store: Annotated) -> Weights:
        """Return the weights kept with a collection, else the defaults.

        Raises:
            CorruptError: What is kept there are no weights.
        """
        return cls.kept(store) or cls()

    @classmethod
    def kept(cls, store: Annotated) -> Weights | None:
        """Return the weights kept with a collection, None where there are none.

        Raises:
            CorruptError: What is kept there are no weights.
        """
        found = store.annotation(ANNOTATION)
        return None if found is None else cls.from_annotation(found)

    @classmethod
    def from_annotation(cls, value: Mapping[str, object]) -> Weights:
        """Return the weights that a collection's note holds.

        Raises:
            CorruptError: It holds none.
        """
        try:
            return cls(**value["weights"])  # type: ignore[arg-type]  # checked by the class itself
        except (KeyError, TypeError, UsageError) as error:
            raise CorruptError(
                f"the collection's note {ANNOTATION!r} holds no weights ({error!r}); make it anew: "
                "semsearch eval tune --save"
            ) from error

    @classmethod
    def read(cls, export: Path) -> Weights | None:
        """Return the weights that lie with an export, None where there are none.

        Raises:
            CorruptError: What lies there are no weights.
        """
        path = export / FILE
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8"))["weights"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
            raise CorruptError(f"{path} holds no weights of search ({error}); delete it") from error

    def write(self, export: Path) -> None:
        """Put the weights beside an export."""
        (export / FILE).write_text(json.dumps({"weights": asdict(self)}) + "\n", encoding="utf-8")

    def save(self, store: Annotated) -> None:
        """Keep the weights with a collection, durably, in one step."""
        store.annotate(ANNOTATION, {"weights": asdict(self)})
