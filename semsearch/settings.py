"""Read settings: flag > environment > project file > user file > default. No other module reads these.

The files are TOML with the fields of ``Settings`` as keys. The project file is ``semsearch.toml`` in the working
folder or the nearest folder above it that has one; the user file stands in the user's configuration folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_config_path, user_data_path

from indexer.errors import ConfigError, UsageError
from indexer.storage.places import is_url, place_in, without_password
from semsearch.nearest import hint

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The values that a person sets once instead of at every command. None: not set."""

    home: Path | None = None
    """Folder of the collections; None: the user's data folder."""
    store: str | None = field(default=None, repr=False)
    """URL of a database that keeps the collections instead of a folder; it may hold a password."""
    collection: str = "default"
    data: Path | None = None
    """Folder of evaluation data in SentEval or BEIR layout."""
    model: str | None = None
    adapter: str | None = None
    template: str | None = None
    query_template: str | None = None
    query_adapter: str | None = None
    pooling: str | None = None
    precision: str | None = None
    layers: int | None = None
    dimensions: int | None = None
    max_tokens: int | None = None
    preset: str | None = None
    device: str | None = None
    batch_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check every value, and make paths absolute."""
        for name in ("home", "data"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, Path(value).expanduser().absolute())
        for name in ("layers", "dimensions", "max_tokens", "batch_tokens"):
            value = getattr(self, name)
            if value is not None:
                try:
                    object.__setattr__(self, name, int(value))
                except (TypeError, ValueError) as error:
                    raise ConfigError(f"setting {name} is {value!r}; it is a whole number") from error
        for name in _NAMES - {"home", "data", "layers", "dimensions", "max_tokens", "batch_tokens"}:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"setting {name} is {value!r}; it is text, in quotes")
        if self.store is not None and not is_url(self.store):
            raise ConfigError(
                f"setting store is {self.store.partition(':')[0]}…; it is postgresql://USER@HOST/DATABASE "
                "(for a folder, set home)"
            )

    def override(self, values: Mapping[str, Any]) -> Settings:
        """Return these settings with every value that is not None put over them.

        A home that is named without a store is where the collections are, also where a store was named before.
        """
        given = {name: value for name, value in values.items() if value is not None}
        if "home" in given and "store" not in given:
            given["store"] = None
        return replace(self, **given)

    def place(self, name: str | None = None) -> str:
        """Return where a collection is kept, whether or not it exists: a folder's path, or a URL with its name.

        Raises:
            UsageError: The name cannot be one.
        """
        if self.store is not None:
            return place_in(self.store, self._checked(name))
        return str(self.collection_path(name))

    def shown_place(self, name: str | None = None) -> str:
        """Return where a collection is kept, without a password."""
        return without_password(self.place(name))

    def collection_path(self, name: str | None = None) -> Path:
        """Return the folder of a collection, whether or not it exists.

        Raises:
            UsageError: The name is no folder name.
        """
        return self.root / self._checked(name)

    def _checked(self, name: str | None) -> str:
        name = self.collection if name is None else name
        if (
            not name
            or name.startswith(".")
            or any(c in name for c in "/\\\0\n")
            or len(name.encode("utf-8", "replace")) > 200
        ):
            raise UsageError(f"{name!r} cannot name a collection; a name has no slash, no line end and no leading dot")
        return name

    @property
    def kept_in(self) -> str:
        """What holds the collections: the store, or the folder's path."""
        return self.store if self.store is not None else str(self.root)

    @property
    def shown_home(self) -> str:
        """What holds the collections, without a password."""
        return without_password(self.kept_in)

    @property
    def shown_store(self) -> str | None:
        """The store without its password; None where a folder holds the collections."""
        return None if self.store is None else without_password(self.store)

    @property
    def root(self) -> Path:
        """The folder that holds the collections."""
        return self.home if self.home is not None else user_data_path("semsearch", appauthor=False)


_NAMES = frozenset(field.name for field in fields(Settings))


def load_settings(environment: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Return the settings of the environment, the project file and the user file.

    Raises:
        ConfigError: A key is unknown, or a value does not fit; the file or variable is named.
    """
    environment = os.environ if environment is None else environment
    settings = Settings()
    for path in (
        user_config_path("semsearch", appauthor=False) / "semsearch.toml",
        _project_file(folder or Path.cwd()),
    ):
        if path is not None and path.is_file():
            settings = _apply(settings, _read(path), str(path))
    variables = {
        name: environment[f"SEMSEARCH_{name.upper()}"]
        for name in _NAMES
        if environment.get(f"SEMSEARCH_{name.upper()}")
    }
    return _apply(settings, variables, "environment (SEMSEARCH_*)")


def _project_file(folder: Path) -> Path | None:
    return next((f / "semsearch.toml" for f in (folder, *folder.parents) if (f / "semsearch.toml").is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # here: most people have no such file

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    for name in ("home", "data"):  # relative to the file that says it, not to where the command happens to run
        if isinstance(values.get(name), str):
            values[name] = path.parent / Path(values[name]).expanduser()
    return values


def _apply(settings: Settings, values: Mapping[str, Any], origin: str) -> Settings:
    unknown = sorted(set(values) - _NAMES)
    if unknown:
        raise ConfigError(
            f"{origin}: unknown setting {', '.join(unknown)}{hint(unknown[0], _NAMES)}; settings are "
            f"{', '.join(sorted(_NAMES))}"
        )
    try:
        return settings.override(values)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{origin}: {error}") from error
