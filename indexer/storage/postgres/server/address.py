"""Where a collection in PostgreSQL is: a URL as libpq has it, standbys to read from, and the collection's name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from indexer.errors import ConfigError, StoreError
from indexer.storage.places import is_url, without_password

if TYPE_CHECKING:
    from collections.abc import Sequence

_OURS = ("read", "shards")
"""Options of the URL that libpq does not know."""
CONNECT_SECONDS = "10"
"""Seconds after which a host that does not answer counts as unreachable."""


@dataclass(frozen=True)
class Address:
    """A database, whose password no ``repr`` shows."""

    url: str = field(repr=False)
    """As libpq reads it: ``postgresql://user:password@host:port,host:port/database?option=value``."""
    standbys: tuple[str, ...] = ()
    """Hosts (``host`` or ``host:port``) that queries are sent to: ``?read=…``."""
    shards: tuple[str, ...] = ()
    """Hosts that new collections keep their vectors on: ``?shards=…``."""
    other: tuple[str, str] | None = None
    """Host and port in place of the URL's."""

    @classmethod
    def of(cls, text: str) -> Address:
        """Return the address that a URL gives; what stands behind ``#`` is not part of it.

        Raises:
            ConfigError: It is no such URL.
        """
        url = text.partition("#")[0]
        if not is_url(url):
            raise ConfigError(f"{without_password(url)!r} is no store; give postgresql://USER@HOST/DATABASE")
        head, _, query = url.partition("?")
        given = parse_qsl(query, keep_blank_values=True)
        kept = [(name, value) for name, value in given if name not in _OURS]
        standbys, shards = (_hosts(name, [value for key, value in given if key == name]) for name in _OURS)
        return cls(head + ("?" + urlencode(kept, quote_via=quote) if kept else ""), standbys, shards)

    def at(self, host: str, port: str) -> Address:
        """Return the address of another server, with the same database, user and options."""
        return replace(self, standbys=(), shards=(), other=(host, port))

    @property
    def shown(self) -> str:
        """The URL without its password, for messages."""
        shown = without_password(self.url)
        return shown if self.other is None else f"{':'.join(self.other)} (vectors of {shown})"

    def parameters(self, reading: bool) -> dict[str, Any]:
        """Return libpq's connection parameters.

        Args:
            reading: Whether the connection will only read: it goes to the standbys where there are any. Of several
                hosts, writing takes the one that can be written, and reading prefers one that cannot.

        Raises:
            StoreError: psycopg is not installed.
            ConfigError: The URL is malformed.
        """
        psycopg = driver()
        try:
            found = dict(psycopg.conninfo.conninfo_to_dict(self.url))
        except psycopg.Error as error:
            reason = str(error).strip().replace(self.url, self.shown)
            raise ConfigError(f"{self.shown} is no address of a database: {reason}") from None
        if self.other is not None:
            found["host"], found["port"] = self.other
            found.pop("hostaddr", None)
            return _completed(found)
        found = _completed(found)
        hosts = str(found.get("host") or "").split(",")
        if reading and self.standbys:
            ports = [str(found.get("port") or "5432").split(",")[0]] * len(self.standbys)
            found["host"] = ",".join(re.sub(r":\d+$", "", host).strip("[]") for host in self.standbys)
            named = [re.search(r":(\d+)$", host) for host in self.standbys]
            found["port"] = ",".join(match[1] if match else port for match, port in zip(named, ports, strict=True))
            found.pop("target_session_attrs", None)
        elif len(hosts) > 1:
            found.setdefault("target_session_attrs", "prefer-standby" if reading else "read-write")
        return found


def _hosts(option: str, values: Sequence[str]) -> tuple[str, ...]:
    hosts = tuple(host for value in values for host in value.split(",") if host)
    for host in hosts:
        if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:/@\[\]]+|/[^:@]*)(:\d+)?", host):
            raise ConfigError(f"{host!r} in ?{option}= is no host; give HOST or HOST:PORT, several with commas between")
    return hosts


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    return {"connect_timeout": CONNECT_SECONDS, "application_name": "semsearch", **found}


def driver() -> Any:
    """Return psycopg, imported when it is first needed.

    Raises:
        StoreError: It is not installed.
    """
    try:
        import psycopg
        import psycopg.conninfo
        import psycopg.sql
    except ImportError as error:
        raise StoreError(
            f"collections in PostgreSQL need psycopg ({error}); install it: pip install 'semsearch[postgres]'"
        ) from error
    return psycopg
