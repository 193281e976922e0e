"""Places of collections as text: the path of a folder, or the URL of a database with the collection's name."""

from __future__ import annotations

from typing import TypeGuard
from urllib.parse import parse_qsl, quote, unquote, urlencode

SCHEMES = ("postgresql://", "postgres://")


def is_url(place: object) -> TypeGuard[str]:
    """Tell whether a place names a database and not a folder."""
    return isinstance(place, str) and place.startswith(SCHEMES)


def place_in(url: str, name: str) -> str:
    """Return the place of a collection in a database."""
    return f"{url.partition('#')[0]}#{quote(name)}"


def name_in(place: str) -> str:
    """Return the name of the collection that such a place names."""
    return unquote(place.partition("#")[2]) or "default"


def without_password(place: str) -> str:
    """Return a place in the form that messages show."""
    if not is_url(place):
        return place
    url, mark, name = place.partition("#")
    head, _, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    who, at, where = rest.rpartition("@")
    kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if "password" not in key.lower()]
    asked = "?" + urlencode(kept, safe="/,:") if kept else ""
    return f"{scheme}://{who.partition(':')[0]}{at}{where}{asked}{mark}{name}"
