"""Models by name: the encoders of the collections that may be asked, for those who want vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from indexer.embedding.spec import Role
from indexer.errors import SemsearchError
from semsearch.nearest import choices
from semsearch.service.faults import Refusal

if TYPE_CHECKING:
    from indexer.embedding.encoder import Encoder
    from indexer.embedding.spec import EncoderSpec
    from semsearch.collection import Collection
    from semsearch.service.collections import Collections

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Model:
    """One encoder, whichever collections it made."""

    name: str
    fingerprint: str
    dim: int
    max_tokens: int
    collections: tuple[str, ...]


def models(collections: Collections) -> list[Model]:
    """Return the encoders of all collections that can be opened, by name. No model is loaded."""
    made: dict[str, list[str]] = {}
    specs: dict[str, tuple[EncoderSpec, int]] = {}
    for name in collections.names():
        try:
            spec, dim = collections.ask(name, _made_by)
        except SemsearchError:
            continue
        made.setdefault(spec.fingerprint, []).append(name)
        specs[spec.fingerprint] = (spec, dim)
    plain = [name_of(spec) for spec, _ in specs.values()]
    found = []
    for fingerprint, (spec, dim) in specs.items():
        name = name_of(spec)
        name += f"@{fingerprint[:8]}" if plain.count(name) > 1 else ""
        found.append(Model(name, fingerprint, dim, spec.max_tokens, tuple(made[fingerprint])))
    return sorted(found, key=lambda model: model.name)


def name_of(spec: EncoderSpec) -> str:
    """Return what an encoder is called for short: the last part of its model's name, and its adapter's."""
    parts = [each.replace("\\", "/").rstrip("/").rpartition("/")[2] for each in (spec.model, spec.adapter) if each]
    return "+".join(parts).replace(":", "-")


def encoder(collections: Collections, name: str) -> tuple[Model, Encoder, Role | None]:
    """Return the encoder of a name, loaded, and the role that the name asks for.

    Args:
        collections: Whose encoders there are.
        name: A model's name or fingerprint; with ``:query`` or ``:passage`` behind it for one role.

    Raises:
        Refusal: There is no such model.
        ModelError: It cannot be loaded.
    """
    there = models(collections)
    plain, _, last = name.rpartition(":")
    role = next((each for each in ROLES if plain and each == last), None)
    wanted = plain if role else name
    for model in there:
        if wanted in (model.name, model.fingerprint):
            loaded = collections.ask(model.collections[0], lambda docs: docs.encoder)
            if loaded.spec.fingerprint == model.fingerprint:  # or its collection was swapped this moment
                return model, loaded, role
    raise Refusal(404, "ModelNotFound", f"there is no model {wanted!r}; there are {choices(wanted, _names(there))}")


def _names(there: list[Model]) -> list[str]:
    return [model.name for model in there]


def _made_by(docs: Collection) -> tuple[EncoderSpec, int]:
    with docs.view() as view:
        manifest = view.snapshot.manifest
        return manifest.spec, manifest.dim
