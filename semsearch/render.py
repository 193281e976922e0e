"""Write results as text for a terminal or as JSON. Nothing here decides what a result is."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from math import floor
from typing import TYPE_CHECKING, Any

from semsearch import wrapping
from semsearch.search.showing.sentences import unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from indexer.parts.produce import PartReport
    from indexer.pipeline import Report
    from indexer.types import FileRecord, IndexReport, Problem
    from semsearch.search.showing.explain import Explanation, Words
    from semsearch.search.showing.hits import Duplicate, Hit
    from semsearch.search.showing.sentences import Span
    from semsearch.status import Status, Unreadable

EXCERPT = 6
"""Lines of a passage shown around its most telling sentence, unless it is asked for whole."""
WIDTH = 320
"""Most characters of such an excerpt: prose often comes in one long line."""
ABOVE = 1
"""Lines shown above the one that matters."""
TERMS = 12
"""Most words shown of those that a passage shares with a query."""
NAMES = 3
"""Most files named of those that were skipped for one reason."""


BOLD, DIM, UNDERLINE, YELLOW, CYAN = 1, 2, 4, 33, 36
"""ANSI's codes."""

_CONTROLS = {code: " " for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}

EXTRACTED = frozenset({"docx", "epub", "html", "odt", "pdf", "rtf"})
"""Kinds whose line numbers are those of the extracted text, and no help in finding the place in the file."""


def dump(value: Any, ascii_only: bool = False) -> str:
    """Return one line of JSON; bytes of file names that are no text are written as escapes.

    Args:
        value: What JSON can hold.
        ascii_only: Write every other character as an escape too.
    """
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "backslashreplace").decode("utf-8")


def hit_value(hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON shows it."""
    return asdict(hit)


def hits(found: Sequence[Hit], width: int, *, styled: bool = False, full: bool = False) -> str:
    """Return one block a hit, each line with its end.

    Rank, score and place come first, then the passage with its most telling sentence and the query's words marked, then
    where else it stands and why it was found.

    Args:
        found: The hits.
        width: Cells of a line; a place stays in one piece, to be copied or clicked.
        styled: Whether marks are shown, as ANSI's escapes.
        full: Show whole passages.
    """
    return "".join(f"{line.rstrip()}\n" for hit in found for line in _block(hit, width, styled, full))


def _block(hit: Hit, width: int, styled: bool, full: bool) -> Iterator[str]:
    def paint(text: str, *codes: int) -> str:
        return f"\x1b[{';'.join(map(str, sorted(codes)))}m{text}\x1b[0m" if styled and codes and text else text

    where = place(hit)
    if hit.heading and hit.page is None and hit.kind in EXTRACTED:  # no line or page says where it stands
        where += f" › {hit.heading}"
    yield f"{paint(f'{hit.rank:>2}', BOLD)}  {hit.score:.3f}  {paint(quiet(where), CYAN)}"
    body = unwrapped(quiet(hit.text))  # lines are broken once, for this terminal
    start, end = (0, len(body)) if full else excerpt(body, hit.highlight, hit.matches)
    marks: list[tuple[Span, tuple[int, ...]]] = [(hit.highlight, (BOLD, YELLOW))] if hit.highlight else []
    marks += [(match, (UNDERLINE,)) for match in hit.matches]
    before, behind = "… " if start else "", " …" if end < len(body) else ""
    shift, shown = len(before) - start, before + body[start:end] + behind
    room = max(20, width - 4)
    for at in wrapping.lines(shown, room):
        pieces = [(span, codes) for (first, last), codes in marks if (span := _within(at, first + shift, last + shift))]
        yield "    " + _marked(shown, at, pieces, paint)
    for note in why(hit.explanation) if hit.explanation else ():
        said = quiet(note)
        yield from (f"    {paint(said[slice(*at)], DIM)}" for at in wrapping.lines(said, room))
    for twin in hit.duplicates:
        differs = f" ({quiet(twin.difference)})" if twin.difference else ""
        yield paint(f"    also: {quiet(place(twin))}{differs}", DIM)
    yield ""


def _within(at: Span, start: int, end: int) -> Span | None:
    """Return what of a span lies in another; None: nothing."""
    start, end = max(at[0], start), min(at[1], end)
    return (start, end) if start < end else None


def _marked(text: str, at: Span, marks: Sequence[tuple[Span, tuple[int, ...]]], paint: Callable[..., str]) -> str:
    """Return the line of a text with its marks painted, over each other where they overlap."""
    cuts = sorted({*at, *(end for span, _ in marks for end in span)})
    return "".join(
        paint(text[start:end], *(code for span, codes in marks if span[0] <= start < span[1] for code in codes))
        for start, end in pairwise(cuts)
    )


def quiet(text: str) -> str:
    """Return text of the same length, without characters that would steer a terminal or that it would not show."""
    return text.translate(_CONTROLS)


def place(at: Hit | Duplicate) -> str:
    """Return ``path:12-20``, with page and record where there are any."""
    where = at.path
    if at.page is not None:
        where += f" page {at.page}"
    elif at.kind not in EXTRACTED:
        where += f":{at.line_start}" + (f"-{at.line_end}" if at.line_end != at.line_start else "")
    return where + (f" record {at.document}" if at.document is not None else "")


def why(explanation: Explanation) -> list[str]:
    """Return lines that say why a hit was found; nothing about what is not known."""
    parts = {retriever: f" ({part:+.3f})" for retriever, part in explanation.parts.items()}
    scores = [
        f"{retriever} {'none' if score is None else _number(score)}{parts.get(retriever, '')}"
        for retriever, score in explanation.scores.items()
    ]
    scores += [f"fused {explanation.fused:.3f}"] if explanation.fused is not None else []
    scores += [f"reranked {explanation.rerank:.3f}"] if explanation.rerank is not None else []
    lines = [f"scores: {', '.join(scores)}"]
    if explanation.percentile is not None:
        lines.append(f"nearer to the query than {percent(explanation.percentile)} of random pairs are to each other")
    if explanation.terms:
        more = f" and {len(explanation.terms) - TERMS} more" if len(explanation.terms) > TERMS else ""
        lines.append(f"words found: {', '.join(explanation.terms[:TERMS])}{more}")
    if explanation.query_means or explanation.passage_means:
        lines.append(f"in one word: query {_weighed(explanation.query_means)}")
        lines.append(f"             passage {_weighed(explanation.passage_means)}")
        lines.append(f"             both {', '.join(explanation.shared) or 'nothing'}")
    return lines


def _number(score: float) -> str:
    """Return three decimals, or the order of magnitude: BM25 is tiny in a small collection."""
    return f"{score:.3f}" if abs(score) >= 0.0005 or not score else f"{score:.0e}"


def percent(share: float) -> str:
    """Return ``87%``, ``99.9%``: rounded down, as precisely as it takes to tell it from all."""
    return f"{floor(share * 1000) / 10:.1f}%" if share >= 0.99 else f"{floor(share * 100)}%"


def _weighed(words: Words) -> str:
    return ", ".join(f"{word} {weight:.0%}" for word, weight in words) or "nothing"


def report_value(report: Report, dry_run: bool) -> dict[str, Any]:
    """Return what ``index --json`` prints."""
    files = ("new", "changed", "moved", "deleted", "unchanged", "failed", "skipped")
    value: dict[str, Any] = {
        "files": {name: getattr(report, name) for name in files},
        "passages": {"embedded": report.embedded, "reused": report.reused, "total": report.total},
        "seconds": round(report.seconds, 3),
        "vanished_roots": report.vanished,
        "warnings": [{"path": path, "warnings": list(said)} for path, said in sorted(report.warnings.items())],
    }
    if dry_run:
        value["dry_run"] = {
            "passages": report.to_embed,
            "tokens": report.tokens,
            "estimated_seconds": None if report.estimate is None else round(report.estimate, 1),
        }
    return value


def report(report: Report, verb: str = "embedded") -> str:
    """Return the one-line summary of ``index``, and of ``merge``, which has only ``taken in`` what others embedded."""
    names = ("new", "changed", "moved", "deleted", "unchanged", "failed", "skipped")
    files = ", ".join(f"{getattr(report, name)} {name}" for name in names if getattr(report, name))
    if report.warnings:
        files += f" ({len(report.warnings)} read in part)"
    return (
        f"files: {files or 'none'}; passages: {report.embedded} {verb}, {report.total} in the index; "
        f"{duration(report.seconds)}"
    )


def part_value(report: PartReport) -> dict[str, Any]:
    """Return what ``index --shard --json`` prints."""
    files = ("read", "kept", "unchanged", "failed", "skipped")
    return {
        "part": str(report.part),
        "shards": {"folder": str(report.folder), "number": report.shards},
        "files": {name: getattr(report, name) for name in files},
        "passages": {"embedded": report.embedded},
        "tokens": report.tokens,
        "seconds": round(report.seconds, 3),
    }


def part(report: PartReport) -> str:
    """Return the summary of ``index --shard``."""
    names = {"read": "read", "kept": "in shards already", "unchanged": "unchanged", "failed": "failed"}
    files = ", ".join(f"{getattr(report, name)} {said}" for name, said in names.items() if getattr(report, name))
    skipped = f", {report.skipped} skipped" if report.skipped else ""
    return (
        f"part {report.part}: files: {files or 'none'}{skipped}; passages: {report.embedded} embedded; "
        f"{report.shards} shards in {report.folder}; {duration(report.seconds)}"
    )


def duration(seconds: float) -> str:
    """Return a time as ``0.8 s``, ``42 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(count: float) -> str:
    """Return a number of bytes in decimal units: ``93 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def dry_run(report: Report) -> str:
    """Return what ``index --dry-run`` says."""
    estimate = f", about {duration(report.estimate)}" if report.estimate is not None else ""
    return f"{report.to_embed} passages, {report.tokens} tokens to embed{estimate}; nothing was changed"


def status_value(status: Status | Unreadable) -> dict[str, Any]:
    """Return one collection as ``status --json`` shows it."""
    from semsearch.encoders import describe
    from semsearch.status import Unreadable

    if isinstance(status, Unreadable):
        error = {"kind": status.error.kind, "message": str(status.error)}
        return {"collection": status.name, "path": status.place, "error": error}
    counts = asdict(status.counts)
    return {
        "collection": status.name,
        "path": status.place,
        "files": {"indexed": counts["files"], "failed": counts["failed"], "skipped": counts["skipped"]},
        "documents": counts["documents"],
        "passages": {
            "embedded": counts["embedded"],
            "total": counts["passages"],
            "pending": counts["pending"],
            "deleted": counts["tombstones"],
        },
        "encoder": {
            "fingerprint": status.spec.fingerprint,
            "precision": status.spec.precision,
            **describe(status.spec),
        },
        "bytes": dict(status.sizes),
        "engines": dict(status.engines),
        "index": None if status.index is None else index_value(status.index),
        "roots": list(status.roots),
        "failed": [_problem(each) for each in status.problems if each.status == "failed"],
        "skipped": [_problem(each) for each in status.problems if each.status == "skipped"],
        "warnings": [{"path": each.path, "warnings": list(each.warnings)} for each in status.partial],
    }


def index_value(report: IndexReport) -> dict[str, Any]:
    """Return an index as JSON shows it. A recall that was not measured is null."""
    values = asdict(report)
    return {"plan": values.pop("factory"), **values}


def index(report: IndexReport) -> str:
    """Return an index in one line: what it is, how hard it is searched, and the recall that was measured, if any."""
    tried = [f"{name} {number:g}" for name, number in report.search.items() if name != "refine" or number > 1]
    parts = [f"{report.factory} of {report.rows:,} passages", *tried]
    if report.recall is not None:
        parts.append(f"recall@10 {report.recall:.3f} on {report.sampled} sampled passages (asked for {report.asked:g})")
    return ", ".join(parts) + (f": {report.why}" if report.why else "")


def statuses(found: Iterable[Status | Unreadable], every_file: bool = False) -> str:
    """Return collections as text: counts, encoder, sizes, then the files with problems.

    Args:
        found: The collections.
        every_file: Name every file that was skipped; else they are grouped by reason, with some names.
    """
    return "\n\n".join(_status(each, every_file) for each in found)


def _status(status: Status | Unreadable, every_file: bool) -> str:
    from semsearch.status import Unreadable

    if isinstance(status, Unreadable):
        return f"{status.name}  ({status.place})\n  cannot be opened: {status.error}"
    counts, spec = status.counts, status.spec
    sizes = ", ".join(f"{part} {size(n)}" for part, n in status.sizes.items())
    adapter = f" + adapter {spec.adapter}" if spec.adapter else ""
    failed = [each for each in status.problems if each.status == "failed"]
    skipped = [each for each in status.problems if each.status == "skipped"]
    lines = [
        f"{status.name}  ({status.place})",
        f"  files     {counts.files} indexed, {counts.failed} failed, {counts.skipped} skipped",
        f"  passages  {counts.passages}" + (f", {counts.pending} still to embed" if counts.pending else ""),
        f"  encoder   {spec.model}{adapter}, {spec.precision}, fingerprint {spec.fingerprint}",
        *([f"  size      {sizes}"] if sizes else []),
        *(f"  {part:<9} {said}" for part, said in status.engines.items()),
        *([f"  index     {index(status.index)}"] if status.index is not None else []),
        *(f"  root      {root}" for root in status.roots),
        *(f"  failed    {each.path}: {each.reason}" for each in failed),
        *(f"  in part   {each.path}: {'; '.join(each.warnings)}" for each in status.partial),
    ]
    if every_file:
        lines += [f"  skipped   {each.path}: {each.reason}" for each in skipped]
    else:
        lines += _grouped(skipped)
    return "\n".join(lines)


def _grouped(skipped: Sequence[FileRecord]) -> list[str]:
    """Return a line for each reason, with how many files it holds for and the names of some."""
    groups: dict[str, list[str]] = {}
    for each in skipped:
        groups.setdefault(each.reason or "", []).append(each.path.rpartition("/")[2] or each.path)
    lines = []
    for reason, names in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        more = f" and {len(names) - NAMES} more (--files)" if len(names) > NAMES else ""
        lines.append(f"  skipped   {len(names)}: {reason}: {', '.join(names[:NAMES])}{more}")
    return lines


def problems(name: str, found: Sequence[Problem]) -> str:
    """Return what ``doctor`` says of a collection."""
    if not found:
        return f"{name} is healthy"
    lines = []
    for each in found:
        state = "mended" if each.mended else "not mended"
        lines.append(f"{each.part}: {each.found} ({state}{': ' if each.remedy else ''}{each.remedy})")
    return "\n".join(lines)


def _problem(record: FileRecord) -> dict[str, Any]:
    return {"path": record.path, "reason": record.reason}


def excerpt(text: str, highlight: Span | None, matches: Sequence[Span] = ()) -> Span:
    """Return the span of ``text`` to show.

    It has at most EXCERPT lines and WIDTH characters, is cut at ends of lines or words, and holds a match where there
    is one: of the highlight before others, and where the most stand together.
    """
    if text.count("\n") < EXCERPT and len(text) <= WIDTH:
        return 0, len(text)
    first, last = _focus(text, highlight, matches)
    start = text.rfind("\n", 0, first) + 1
    if _is_far(text, start, last):  # the line begins far before
        start = first
        if not highlight or start != highlight[0]:
            before = text.find(" ", max(0, first - WIDTH // 4), first)
            start = before + 1 if before >= 0 else first
    for _ in range(ABOVE):
        above = text.rfind("\n", 0, max(0, start - 1)) + 1
        if not start or text[start - 1] != "\n" or _is_far(text, above, last + WIDTH // 4):
            break
        start = above
    end = start
    for _ in range(EXCERPT):
        end = text.find("\n", end + 1)
        if end < 0:
            end = len(text)
            break
    if end - start > WIDTH:
        end = max(text.rfind(sign, last, start + WIDTH) for sign in " \n")
        end = start + WIDTH if end < 0 else end
    return start, end


def _focus(text: str, highlight: Span | None, matches: Sequence[Span]) -> Span:
    """Return the span that an excerpt must show: the highlight or, where that does not show a match, one of them."""
    inside = [span for span in matches if highlight and highlight[0] <= span[0] < highlight[1]]
    if highlight and (not matches or (inside and not _is_far(text, highlight[0], inside[-1][1]))):
        return highlight[0], inside[-1][1] if inside else highlight[0]
    spans = inside or matches
    if not spans:
        return 0, 0

    def together(first: Span) -> int:
        return sum(first[0] <= start and end - first[0] <= WIDTH // 2 for start, end in spans)

    return max(spans, key=lambda span: (together(span), -span[0]))


def _is_far(text: str, start: int, end: int) -> bool:
    """Return whether ``end`` would not be shown in an excerpt that begins at ``start``."""
    return end - start > WIDTH or text.count("\n", start, end) >= EXCERPT
