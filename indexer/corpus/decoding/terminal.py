"""Text as a terminal shows it: without colour codes, overstruck letters and progress that was written over."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # CSI: colours, movements
    r"|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC and other strings: titles, links
    r"|[ -/]+[0-~]"  # character sets
    r"|[0-~])"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_ERASED = re.compile(r"(\x08+)\x1b\[0?K")
_OVERSTRUCK = re.compile(r"([^\n\x08])(\x08+)(?=([^\n\x08]))")
_LEFT_OVER = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]|\x1b")
_CHANGING = re.compile(r"[\d\W_]+")
_BYTES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[0-~])")


def without_codes(data: bytes) -> bytes:
    """Return bytes without escape sequences, bells and backspaces, to judge what else is in them."""
    if b"\x1b" in data or b"\x08" in data or b"\x07" in data:
        return _BYTES.sub(b"", data).translate(None, b"\x07\x08")
    return data


def plain(text: str) -> str:
    """Return captured terminal output as it can be read; other text comes back as it is.

    Escape sequences go, and so do letters that others were struck over (``X``, backspace, ``X`` is a bold X; ``_``,
    backspace, ``X`` an underlined one) and states of a progress line that the next one replaced. Lines stay lines.

    Args:
        text: The text, its line ends not changed yet: a carriage return alone goes back to a line's beginning.
    """
    if "\x1b" in text or "\x08" in text or "\x9b" in text:
        if "\x08" in text:
            text = _erase(text)
        text = _SEQUENCE.sub("", text)
        if "\x08" in text:
            text = _strike(text)
        text = _LEFT_OVER.sub("", text)
    if "\r" in text and "\n" in text:
        text = "\n".join(_last_state(line) if "\r" in line.rstrip("\r") else line for line in text.split("\n"))
    return text


def _erase(text: str) -> str:
    """Return the text without letters that were deleted while they were typed: backspaces, then "erase to the end"."""
    parts: list[str] = []
    at = 0
    for match in _ERASED.finditer(text):
        before = text[at : match.start()]
        parts.append(before[: max(len(before) - len(match[1]), before.rfind("\n") + 1)])
        at = match.end()
    return "".join([*parts, text[at:]])


def _strike(text: str) -> str:
    def keep(match: re.Match[str]) -> str:
        below, over = match[1], match[3]
        return below + "\x08" if over == "_" and below != "_" else ""

    text = _OVERSTRUCK.sub(keep, text)
    return re.sub(r"([^\n])\x08+_", r"\1", text).replace("\x08", "")


def _last_state(line: str) -> str:
    """Return a line without the states that differ from the next one in figures and bars alone."""
    states = [state for state in line.split("\r") if state.strip()]
    words = [_CHANGING.sub(" ", state).strip() for state in states]
    kept = [states[i] for i in range(len(states)) if i + 1 == len(states) or not words[i + 1].startswith(words[i])]
    return "\r".join(kept) + "\r" * line.endswith("\r")
