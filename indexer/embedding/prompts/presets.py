"""Encoders by name, and as TOML or JSON files."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path

from indexer.embedding.spec import EncoderSpec
from indexer.errors import ConfigError

_DIGESTS = ("weights", "adapter_weights", "query_adapter_weights")


def load(name: str) -> EncoderSpec:
    """Return the encoder of a preset, by name, or of a file that ends in .toml or .json.

    Raises:
        ConfigError: There is no such preset, or the file describes no encoder.
    """
    if name.endswith((".toml", ".json")):
        return load_file(Path(name).expanduser())
    if name not in presets():
        raise ConfigError(f"no preset {name!r}; a preset is a .toml or .json file, or one of {', '.join(presets())}")
    return presets()[name]


@cache
def presets() -> dict[str, EncoderSpec]:
    """Return name → encoder, in the order of presets.toml."""
    tables = tomllib.loads(Path(__file__).with_name("presets.toml").read_text("utf-8"))
    return {name: EncoderSpec.from_dict(table, f"preset {name}") for name, table in tables.items()}


def load_file(path: Path) -> EncoderSpec:
    """Return the encoder that a TOML or JSON file describes; fields left out have their defaults.

    Raises:
        ConfigError: The file cannot be read, or describes no encoder.
    """
    try:
        text = path.read_text("utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the encoder file {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the encoder file {path} holds {type(values).__name__}; it is a table of fields")
    return EncoderSpec.from_dict(values, str(path))


def save_file(spec: EncoderSpec, path: Path) -> None:
    """Write the fields that differ from the defaults, without digests, as ``load_file`` reads them.

    Raises:
        ConfigError: The file's name ends in neither .toml nor .json.
    """
    plain = EncoderSpec().to_dict()
    values = {k: v for k, v in spec.to_dict().items() if v != plain[k] and k not in _DIGESTS}
    if path.suffix == ".json":
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    elif path.suffix == ".toml":
        # JSON's strings, numbers, booleans and arrays of them are also TOML's.
        text = "".join(f"{name} = {_toml(value)}\n" for name, value in values.items())
    else:
        raise ConfigError(f"{path} ends in {path.suffix or 'nothing'}; an encoder file ends in .toml or .json")
    path.write_text(text, "utf-8")


def _toml(value: object) -> str:
    # \u escapes of JSON come in surrogate pairs, which TOML does not allow; DEL must be escaped in TOML alone
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
