"""Whether shards, folders of shards and collections were made alike, so that their vectors may stand together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.embedding.spec import comparable
from indexer.errors import MismatchError

if TYPE_CHECKING:
    from indexer.storage.manifest import Manifest


def check_alike(seen: Manifest, wanted: Manifest, what: str, whose: str, mend: str) -> None:
    """Refuse what was made by another encoder, cut into other passages, or has other terms.

    Args:
        seen: How something was made.
        wanted: How it has to be made.
        what: Name of that something.
        whose: Name of what it has to fit.
        mend: What to do.

    Raises:
        MismatchError: They differ.
    """
    for name, ours, theirs in _facts(seen, wanted):
        if ours != theirs:
            models = f" ({seen.spec.model}, {wanted.spec.model})" if name == "encoder" else ""
            raise MismatchError(f"{what} was made with {name} {ours}, and {whose} with {theirs}{models}; {mend}")


def _facts(seen: Manifest, wanted: Manifest) -> list[tuple[str, object, object]]:
    ours, theirs = seen.spec.precision, wanted.spec.precision
    return [
        ("encoder", seen.fingerprint, wanted.fingerprint),
        ("precision", ours, ours if comparable(ours, theirs) else theirs),
        ("dimensions", seen.dim, wanted.dim),
        ("splitter", dict(seen.splitter), dict(wanted.splitter)),
        ("terms in a sparse index", seen.sparse, wanted.sparse),
    ]
