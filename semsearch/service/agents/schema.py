"""JSON Schema of frozen values, and the values as JSON, without null: some agents refuse a type that is two types.

A field that may be None is a property that may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

_SIMPLE: Mapping[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema_of(kind: Any) -> dict[str, Any]:
    """Return the schema of a type: text, numbers, truth, tuples and mappings of such, dataclasses of such.

    ``Annotated[str, "what it is"]`` gives a description.
    """
    if get_origin(kind) is Annotated:
        inner, said = get_args(kind)
        return {**schema_of(inner), "description": said}
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind]}
    if is_dataclass(kind):
        return _object(get_type_hints(kind, include_extras=True))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and arguments[1:] == (...,):
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is Mapping and arguments[0] is str:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    raise TypeError(f"{kind} has no schema")


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it, as ``schema_of`` its type describes it: what is None is left out."""
    if is_dataclass(value):
        named = ((each.name, getattr(value, each.name)) for each in fields(value))
        return {name: plain(each) for name, each in named if each is not None}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items() if each is not None}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value


def _object(hints: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: _given(hint) for name, hint in hints.items()}
    return {
        "type": "object",
        "properties": {name: schema_of(hint) for name, (hint, _) in given.items()},
        "required": [name for name, (_, always) in given.items() if always],
        "additionalProperties": False,
    }


def _given(hint: Any) -> tuple[Any, bool]:
    """Return a field's type where it has a value, and whether it always has."""
    if get_origin(hint) is Annotated:
        inner, said = get_args(hint)
        inner, always = _given(inner)
        return Annotated[inner, said], always
    if get_origin(hint) is UnionType:
        kinds = [each for each in get_args(hint) if each is not NoneType]
        if len(kinds) == 1:
            return kinds[0], False
    return hint, True
