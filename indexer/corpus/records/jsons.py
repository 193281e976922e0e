"""JSON of any shape → values to make records of: JSON lines, arrays, values one after another, one object."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING

from indexer.corpus.records.lines import Spoiled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from indexer.corpus.records.lines import Remarks

MAX_DEPTH = 64
"""Levels of nesting that are looked into."""

_TEXT_NAMES = frozenset(
    "text body content contents abstract summary message messages question answer transcript paragraphs comments "
    "comment caption article review notes note posts chapters sections".split()
)
_LIST_NAMES = frozenset(
    "data items records rows results entries documents docs features hits articles posts messages conversations "
    "questions annotations comments pages value values".split()
)
_OWN_NAMES = frozenset("id _id title text body".split())
"""Fields of an object that is a record itself, whatever lists it holds."""
_SETTINGS_NAMES = frozenset("$schema openapi swagger compilerOptions scripts dependencies devDependencies".split())
_GAP = re.compile(r"[\s,\x1e]*")
_DECODER = json.JSONDecoder()

Row = tuple[int, "Mapping[str, object] | None"]


def line_rows(lines: Iterator[str], remarks: Remarks, max_chars: int) -> Iterator[Row]:
    """Yield (line, record) of each line of JSON; None for a line that is none.

    A file whose first line is no whole value, as an array or object written over many lines, is read whole, where it
    has at most ``max_chars`` characters.
    """
    seen: list[str] = []
    for line in lines:
        seen.append(line)
        if line.strip():
            break
    first = seen[-1] if seen else ""
    if first.lstrip("\ufeff \t\x1e")[:1] in ("[", "{") and not _is_json(first):
        size = len(first)
        for line in lines:
            seen.append(line)
            size += len(line)
            if size > max_chars:
                break
        text = "".join(line or "\n" for line in seen)
        if size <= max_chars and (found := values(text)):
            yield from _expanded(found)
            return
    elif first.lstrip().startswith("[") and (after := next(lines, None)) is None:
        yield from _expanded([(len(seen), json.loads(first))])
        return
    elif first.lstrip().startswith("[") and after is not None:
        seen.append(after)
    for number, line in enumerate(chain(seen, lines), 1):
        if isinstance(line, Spoiled):
            yield number, None
            continue
        line = line.strip("\x1e\ufeff \t\r\n")
        if not line:
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            remarks.fail(number, f"not JSON: {error.msg} at column {error.colno}")
            yield number, None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
            remarks.fail(number, f"JSON that cannot be read: {error}")
            yield number, None
        else:
            record = as_record(value)
            if record is None:
                remarks.fail(number, f"a JSON {_name(value)}, where an object with fields is needed")
            yield number, record


def values(text: str) -> list[tuple[int, object]] | None:
    """Return (line, value) of JSON values that stand one after another; None where the text is not JSON.

    The items of an array that is the whole text come with their own lines.
    """
    try:
        at = _GAP.match(text, 1 if text.startswith("\ufeff") else 0).end()  # type: ignore[union-attr]
        found: list[tuple[int, object]] = []
        line, counted = 1, 0
        while at < len(text):
            value, end = _DECODER.raw_decode(text, at)
            line, counted = line + text.count("\n", counted, at), at
            found.append((line, value))
            at = _GAP.match(text, end).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        return None
    if len(found) == 1 and isinstance(found[0][1], list):
        return _items(text, text.index("[")) or found
    return found


def records_of(text: str, found: list[tuple[int, object]]) -> list[Row] | None:
    """Return the records of a JSON file; None where it is settings rather than data, to be read as it is written.

    Data are several values, an array of objects or texts, an object that wraps such an array, and an object with
    prose or with a field whose name stands for text.
    """
    if len(found) > 1 or (found and _is_item(text)):
        rows = [(line, as_record(value)) for line, value in found]
        data = [(line, record) for line, record in rows if record is not None]
        return list(data) if data else None
    value = found[0][1] if found else None
    if not isinstance(value, dict) or _SETTINGS_NAMES & set(value):
        return None
    if (name := _wrapped(value)) is not None:
        rest = {key: other for key, other in value.items() if key != name}
        place = re.search(re.escape(json.dumps(name)) + r"\s*:\s*\[", text)
        items = _items(text, place.end() - 1) if place else []
        if not items:
            items = [(1, item) for item in value[name]]
        head: list[Row] = [(1, rest)] if any(True for _ in strings(rest)) else []
        return head + [(line, record) for line, item in items if (record := as_record(item)) is not None]
    return [(found[0][0], value)] if _has_prose(value) else None


def as_record(value: object) -> Mapping[str, object] | None:
    """Return a JSON value as fields: an object is them, a text or a list with texts is the field "text"."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str | list) and any(text.strip() for text in strings(value)):
        return {"text": value}
    return None


def strings(value: object) -> Iterator[str]:
    """Yield every text within a value, in order; a single word that only names the type of its object is left out."""
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            yield item
        elif depth < MAX_DEPTH and isinstance(item, list):
            stack.extend((part, depth + 1) for part in reversed(item))
        elif depth < MAX_DEPTH and isinstance(item, dict):
            typed = depth and len(item) > 1 and isinstance(item.get("type"), str) and " " not in item["type"]
            stack.extend((item[key], depth + 1) for key in reversed(item) if not (typed and key == "type"))


def unescaped(text: str) -> str:
    r"""Return text with ``\u00e9`` and the like as the letters they stand for; escapes of ASCII stay."""

    def letter(match: re.Match[str]) -> str:
        char: str = json.loads(f'"{match[0]}"')
        return char if char.isprintable() and char > "\x7f" and not "\ud800" <= char[0] <= "\udfff" else match[0]

    return re.sub(
        r"(?<!\\)(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4})", letter, text
    )


def _is_json(line: str) -> bool:
    try:
        json.loads(line.strip("\x1e\ufeff \t\r\n"))
    except (ValueError, RecursionError):
        return False
    return True


def _expanded(found: list[tuple[int, object]]) -> Iterator[Row]:
    if len(found) == 1 and isinstance(found[0][1], list) and any(isinstance(item, dict) for item in found[0][1]):
        found = [(found[0][0], item) for item in found[0][1]]
    for line, value in found:
        yield line, as_record(value)


def _items(text: str, at: int) -> list[tuple[int, object]]:
    """Return (line, item) of the array that begins at an offset."""
    found: list[tuple[int, object]] = []
    line, counted = 1, 0
    at = _GAP.match(text, at + 1).end()  # type: ignore[union-attr]
    try:
        while at < len(text) and text[at] != "]":
            value, end = _DECODER.raw_decode(text, at)
            line, counted = line + text.count("\n", counted, at), at
            found.append((line, value))
            at = _GAP.match(text, end).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        return []
    return found


def _is_item(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n").startswith("[")


def _wrapped(value: Mapping[str, object]) -> str | None:
    """Return the field whose list of objects or texts is most of an object, if there is one."""
    if _OWN_NAMES & {key.lower() for key, item in value.items() if item}:
        return None
    sizes = {key: sum(map(len, strings(item))) for key, item in value.items()}
    total = sum(sizes.values())
    for key, item in value.items():
        if not isinstance(item, list) or not item or sizes[key] * 2 < total or not sizes[key]:
            continue
        objects = sum(isinstance(part, dict) for part in item)
        if objects == len(item) and (key.lower() in _LIST_NAMES or _has_prose(item)):
            return key
    return None


def _has_prose(value: object) -> bool:
    """Return whether a value is texts rather than settings."""
    names: set[str] = set()
    level: list[object] = [value]
    for _ in range(3):
        level = [
            part
            for item in level
            for part in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ][:200]
        names.update(
            key.lower()
            for item in [value, *level]
            if isinstance(item, dict)
            for key, part in item.items()
            if part and isinstance(part, str | list | dict)
        )
    if names & _TEXT_NAMES:
        return True
    texts = list(strings(value))
    total = sum(map(len, texts))
    prose = sum(len(text) for text in texts if len(text.split()) >= 4 or (len(text) >= 20 and not text.isascii()))
    return total > 0 and prose > 0.6 * total


def _name(value: object) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
