"""Results → text for a terminal, JSON, JSON lines. Nothing here decides what a result is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import floor
from typing import Any

from rich.console import Console
from rich.text import Text

from indexer.pipeline import Report
from semsearch.collections import Status
from semsearch.encoders import describe
from semsearch.search.explain import Explanation, Words
from semsearch.search.hits import Duplicate, Hit

EXCERPT = 6
"""Lines of a passage shown around its most telling sentence, unless it is asked for whole."""
WIDTH = 320
"""Most characters of such an excerpt: prose often comes in one long line."""
TERMS = 12
"""Most words shown of those that a passage shares with a query."""


_CONTROLS = {code: " " for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}

EXTRACTED = frozenset({"pdf", "docx", "html"})
"""Kinds whose line numbers are those of the extracted text, and no help in finding the place in the file."""


def dump(value: Any) -> str:
    """One line of JSON; bytes of file names that are no text are written as escapes."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")


def hit_value(hit: Hit) -> dict[str, Any]:
    """A hit as JSON shows it."""
    return asdict(hit)


def hits(found: Sequence[Hit], console: Console, full: bool = False) -> None:
    """One block a hit: rank, score, where it stands; the passage with its most telling sentence and the query's words
    marked; then where else it stands and why it was found."""
    for hit in found:
        head = Text.assemble((f"{hit.rank:>2}", "bold"), f"  {hit.score:.3f}  ", (quiet(place(hit)), "cyan"))
        body = Text(quiet(hit.text))
        if hit.highlight:
            body.stylize("bold yellow", *hit.highlight)
        for match in hit.matches:
            body.stylize("underline", *match)
        start, end = (0, len(hit.text)) if full else excerpt(hit.text, hit.highlight)
        body = Text("… " if start else "") + body[start:end] + Text(" …" if end < len(hit.text) else "")
        notes = why(hit.explanation) if hit.explanation else []
        console.print(head, soft_wrap=True)
        for text in (body, *(Text(quiet(note), "dim") for note in notes)):
            for line in text.wrap(console, max(20, console.width - 4)):
                line.rstrip()
                console.print(Text("    ") + line, soft_wrap=True)
        for twin in hit.duplicates:  # a path stays in one piece, to be copied or clicked
            console.print(Text(f"    also: {quiet(place(twin))}", "dim"), soft_wrap=True)
        console.print()


def quiet(text: str) -> str:
    """The same length, without characters that would steer a terminal or that rich would drop."""
    return text.translate(_CONTROLS)


def place(at: Hit | Duplicate) -> str:
    """``path:12-20``, with page and record where there are any."""
    where = at.path
    if at.page is not None:
        where += f" page {at.page}"
    elif at.kind not in EXTRACTED:
        where += f":{at.line_start}" + (f"-{at.line_end}" if at.line_end != at.line_start else "")
    return where + (f" record {at.document}" if at.document is not None else "")


def why(explanation: Explanation) -> list[str]:
    """Lines that say why a hit was found; nothing about what is not known."""
    parts = {arm: f" ({part:+.3f})" for arm, part in explanation.parts.items()}
    scores = [
        f"{arm} {'none' if score is None else _number(score)}{parts.get(arm, '')}"
        for arm, score in explanation.scores.items()
    ]
    scores += [f"fused {explanation.fused:.3f}"] if explanation.fused is not None else []
    scores += [f"reranked {explanation.rerank:.3f}"] if explanation.rerank is not None else []
    lines = [f"scores: {', '.join(scores)}"]
    if explanation.unusual is not None:
        lines.append(f"nearer to the query than {percent(explanation.unusual)} of random pairs are to each other")
    if explanation.terms:
        more = f" and {len(explanation.terms) - TERMS} more" if len(explanation.terms) > TERMS else ""
        lines.append(f"words found: {', '.join(explanation.terms[:TERMS])}{more}")
    if explanation.query_means or explanation.passage_means:
        lines.append(f"in one word: query {_weighed(explanation.query_means)}")
        lines.append(f"             passage {_weighed(explanation.passage_means)}")
        lines.append(f"             both {', '.join(explanation.shared) or 'nothing'}")
    return lines


def _number(score: float) -> str:
    """Three decimals, or the order of magnitude: bm25 is tiny in a small collection."""
    return f"{score:.3f}" if abs(score) >= 0.0005 or not score else f"{score:.0e}"


def percent(share: float) -> str:
    """``87%``, ``99.9%``: rounded down, as precisely as it takes to tell it from all."""
    return f"{floor(share * 1000) / 10:.1f}%" if share >= 0.99 else f"{floor(share * 100)}%"


def _weighed(words: Words) -> str:
    return ", ".join(f"{word} {weight:.0%}" for word, weight in words) or "nothing"


def report_value(report: Report, dry_run: bool) -> dict[str, Any]:
    """What ``index --json`` prints."""
    files = ("new", "changed", "moved", "deleted", "unchanged", "failed", "skipped")
    value: dict[str, Any] = {
        "files": {name: getattr(report, name) for name in files},
        "passages": {"embedded": report.embedded, "reused": report.reused, "total": report.total},
        "seconds": round(report.seconds, 3),
        "vanished_roots": report.vanished,
    }
    if dry_run:
        value["dry_run"] = {
            "passages": report.to_embed,
            "tokens": report.tokens,
            "estimated_seconds": None if report.estimate is None else round(report.estimate, 1),
        }
    return value


def report(report: Report) -> str:
    """The one-line summary of ``index``."""
    names = ("new", "changed", "moved", "deleted", "unchanged", "failed", "skipped")
    files = ", ".join(f"{getattr(report, name)} {name}" for name in names if getattr(report, name))
    return (
        f"files: {files or 'none'}; passages: {report.embedded} embedded, {report.total} in the index; "
        f"{duration(report.seconds)}"
    )


def duration(seconds: float) -> str:
    """``0.8 s``, ``42 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(count: float) -> str:
    """Bytes in decimal units: ``93 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def status_value(status: Status) -> dict[str, Any]:
    """One collection as ``status --json`` shows it."""
    counts = asdict(status.counts)
    return {
        "collection": status.name,
        "path": str(status.path),
        "files": {"indexed": counts["files"], "failed": counts["failed"], "skipped": counts["skipped"]},
        "documents": counts["documents"],
        "passages": {
            "embedded": counts["passages"],
            "total": counts["passages"] + counts["pending"],
            "pending": counts["pending"],
            "deleted": counts["tombstones"],
        },
        "encoder": {
            "fingerprint": status.spec.fingerprint,
            "precision": status.spec.precision,
            **describe(status.spec),
        },
        "bytes": dict(status.sizes),
        "roots": list(status.roots),
        "failed": [_problem(r) for r in status.problems if r.status == "failed"],
        "skipped": [_problem(r) for r in status.problems if r.status == "skipped"],
    }


def statuses(found: Iterable[Status]) -> str:
    """Collections as text: counts, encoder, sizes, then every file with a problem and its reason."""
    blocks = []
    for status in found:
        counts, spec = status.counts, status.spec
        adapter = f" + adapter {spec.adapter}" if spec.adapter else ""
        lines = [
            f"{status.name}  ({status.path})",
            f"  files     {counts.files} indexed, {counts.failed} failed, {counts.skipped} skipped",
            f"  passages  {counts.passages}" + (f", {counts.pending} still to embed" if counts.pending else ""),
            f"  encoder   {spec.model}{adapter}, {spec.precision}, fingerprint {spec.fingerprint}",
            f"  size      {', '.join(f'{part} {size(n)}' for part, n in status.sizes.items())}",
            *(f"  root      {root}" for root in status.roots),
            *(f"  {record.status:<9} {record.path}: {record.reason}" for record in status.problems),
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _problem(record: Any) -> dict[str, Any]:
    return {"path": record.path, "reason": record.reason}


def excerpt(text: str, highlight: tuple[int, int] | None) -> tuple[int, int]:
    """The span of ``text`` to show: at most EXCERPT lines and WIDTH characters, from a little before the highlight,
    at the ends of lines or words."""
    if text.count("\n") < EXCERPT and len(text) <= WIDTH:
        return 0, len(text)
    first, last = highlight or (0, 0)
    start = text.rfind("\n", 0, first) + 1
    if last - start > WIDTH:  # the line begins far before the sentence
        start = first
    end = start
    for _ in range(EXCERPT):
        end = text.find("\n", end + 1)
        if end < 0:
            end = len(text)
            break
    if end - start > WIDTH:
        end = max(text.rfind(" ", start + 1, start + WIDTH), text.rfind("\n", start + 1, start + WIDTH), start + 1)
    return start, end
