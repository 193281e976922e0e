"""Dataclasses as TOML tables, and back: every field checked against its annotation."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from indexer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

T = TypeVar("T")


def build(cls: type[T], values: Mapping[str, Any], origin: str) -> T:
    """Return a dataclass made of a TOML table.

    Args:
        cls: The dataclass.
        values: The table.
        origin: Where the table is from, for messages.

    Raises:
        ConfigError: A field is unknown, missing or of another type.
    """
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # T is a dataclass
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"{origin}: unknown field {', '.join(unknown)}; fields are {', '.join(known)}")
    for name, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and name not in values:
            raise ConfigError(f"{origin}: {name} is missing")
    return cls(**{name: _value(hints[name], value, f"{origin}, {name}") for name, value in values.items()})


def _value(hint: Any, value: Any, origin: str) -> Any:
    """Return a field's value, checked against its annotation."""
    if isinstance(hint, type) and is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not isinstance(value, dict):
            raise ConfigError(f"{origin} is {value!r}; it is a table")
        return build(hint, value, origin)
    origin_type, choices = get_origin(hint), get_args(hint)
    if origin_type is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{origin} is {value!r}; it is a list")
        return tuple(_value(choices[0], item, origin) for item in value)
    if origin_type is Literal:
        if value not in choices:
            raise ConfigError(f"{origin} is {value!r}; it is one of {', '.join(map(str, choices))}")
        return value
    if origin_type is not None and choices and type(None) in choices:  # X | None
        return value if value is None else _value(choices[0], value, origin)
    if origin_type is not None:  # a mapping of names
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise ConfigError(f"{origin} is {value!r}; it is a table of names")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{origin} is {value!r}; it is of type {hint.__name__}")
    return value


def plain(value: DataclassInstance, whole: bool = False) -> dict[str, Any]:
    """Return a dataclass as a table, without None and, unless ``whole``, without what stands at its default."""
    result: dict[str, Any] = {}
    for f in fields(value):
        content = getattr(value, f.name)
        default = f.default_factory() if callable(f.default_factory) else f.default
        if content is None or (content == default and not whole and f.name not in ("name", "path", "kind")):
            continue
        if isinstance(content, tuple) and content and is_dataclass(content[0]):
            content = [plain(item, whole) for item in content]
        elif is_dataclass(content) and not isinstance(content, type):
            content = plain(content, whole)
        result[f.name] = content
    return result


def toml(value: object) -> str:
    """Return a TOML value; JSON writes strings, numbers and lists as TOML reads them."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
