"""Subtitles (WebVTT, SubRip and their kin) → what is said, each line where it stands in the file."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from indexer.corpus.texts import plain_text
from indexer.errors import NothingToRead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.corpus.source import Source
    from indexer.types import Document, Notes

_CLOCK = r"(?:\d{1,3}:)?\d{1,2}:\d{2}(?:[.,:]\d{1,3})?"
_TIME = re.compile(rf"^[ \t]*{_CLOCK}[ \t]*(?:-->|,)[ \t]*{_CLOCK}.*$|^\{{\d+\}}\{{\d+\}}")
_LYRIC_TIME = re.compile(r"[\[<]\d{1,3}:\d{2}(?:[.:]\d{1,3})?[\]>]")
_VOICE = re.compile(r"<v(?:\.[^ >]*)?[ \t]+([^>]+)>")
_TAG = re.compile(
    r"</?(?:[ibusvc]|font|ruby|rt|lang|span|p)(?:[ .][^>]*)?>|<\d[\d:.]*>|\{\\[^}]*\}|\{[yYcCfFsSpP]:[^}]*\}", re.I
)
_DIALOGUE = re.compile(r"^(?:Dialogue|Comment):[ \t]*(?:[^,\n]*,){4}([^,\n]*),(?:[^,\n]*,){4}(.*)$")


def read(source: Source, notes: Notes) -> Iterator[Document]:
    """Yield what is said as one document, without times, counters, settings and styles."""
    text = plain_text.text_of(source, notes)
    name = source.name.lower().removesuffix(".gz")
    said = _scripted(text) if name.endswith((".ass", ".ssa")) else _cues(text)
    words = "\n".join(said)
    if not words.strip():
        raise NothingToRead("nothing is said in it")
    title = re.match(r"WEBVTT[ \t]+(?:-[ \t]*)?(\S[^\n]*)", text) or re.search(
        r"^(?:\[ti:|Title:[ \t]*)([^\]\n]+)", text, re.M
    )
    yield source.document(words, title=title[1] if title else None)


def _cues(text: str) -> Iterator[str]:
    """Yield each line: empty for one that only steers, and for one that repeats the words before it."""
    lines = text.split("\n")
    styled = False
    before = ""
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if not line.strip():
            styled = False
            yield ""
        elif styled or re.match(r"(?:STYLE|REGION)[ \t]*$", line):
            styled = True
            yield ""
        elif (number == 0 and line.lstrip("\ufeff").startswith("WEBVTT")) or (
            re.match(r"(?:Kind|Language|X-TIMESTAMP-MAP)[:=]", line) and number < 5
        ):
            yield ""
        elif "-->" not in line and "-->" in following and (line.strip().isdigit() or not lines[number - 1].strip()):
            yield ""  # the cue's counter or name
        elif match := _TIME.match(line):
            yield plain_words(line[match.end() :]) if line.startswith("{") else ""
        elif re.match(r"\[(?:ar|al|by|offset|length|re|ve|au):[^\]]*\]$", line):
            yield line.strip("[]")
        else:
            words = plain_words(line)
            yield "" if words == before else words  # captions that roll repeat the line before
            before = words or before


def _scripted(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        match = _DIALOGUE.match(line)
        words = plain_words(match[2].replace("\\N", " ").replace("\\n", " ").replace("\\h", " ")) if match else ""
        yield f"{match[1]}: {words}" if match and match[1] and words else words


def plain_words(line: str) -> str:
    """Return the words of a line without its marks; who speaks stands before them."""
    line = _LYRIC_TIME.sub("", _VOICE.sub(r"\1: ", line))
    return html.unescape(_TAG.sub("", line)).strip()
