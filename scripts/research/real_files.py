"""Read a few thousand real files of a Debian machine with the real parser, and count what becomes of them.

    python scripts/research/real_files.py [--out scripts/results/real_files.json] [--per-category 500]

No file is embedded. A file ends up as "indexed" (read wholly), "partly" (a part left out on purpose, or unreadable,
and said so), "skipped" or "failed", each with its reasons. "empty" counts files that were said to be indexed and gave
no passage: there must be none. Paths are not written down, only categories and kinds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import sysconfig
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from indexer.corpus.formats import ReadOptions, has_binary_name, kind_of
from indexer.corpus.parse import parse
from indexer.corpus.splitter import Splitter
from indexer.types import FileRecord, Parsed

CATEGORIES: dict[str, tuple[str, ...]] = {
    "documentation": ("/usr/share/doc",),
    "manual pages": ("/usr/share/man",),
    "licences": ("/usr/share/common-licenses",),
    "Python's library": (sysconfig.get_path("stdlib"),),
    "Python packages": (sysconfig.get_path("purelib"),),
    "Perl's library": ("/usr/share/perl", "/usr/share/perl5"),
    "shared data": ("/usr/share",),
    "configuration": ("/etc",),
}
RICH = frozenset(("html", "pdf", "docx", "pptx", "xlsx", "rtf", "odt", "ods", "odp", "epub"))
"""Kinds of which every file is read, up to the number of a category, beside the even sample."""
LIBRARIES = ("selectolax", "lxml", "pypdfium2", "openpyxl", "striprtf", "charset-normalizer", "semantic-text-splitter")
_SKIPPED = frozenset(("__pycache__", ".git", "torch", "nvidia", "triton"))
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,]*|0x[0-9a-f]+|\([^()]*\)")


def files(roots: tuple[str, ...], number: int) -> list[Path]:
    """Return an even sample of the regular files below these folders, and more of the rich formats."""
    found = sorted(
        Path(folder, name)
        for root in roots
        for folder, _, names in os.walk(root)
        if not _SKIPPED & set(Path(folder).parts)
        for name in names
        if Path(folder, name).is_file() and not Path(folder, name).is_symlink()
    )
    step = max(len(found) // number, 1)
    rich = [path for path in found if kind_of(str(path)) in RICH]
    chosen = dict.fromkeys([*found[::step][:number], *rich[:: max(len(rich) // number, 1)][:number]])
    return list(chosen)


def outcome(parsed: Parsed) -> tuple[str, list[str]]:
    """Return the word for what became of a file, and the reasons."""
    record = parsed.file
    if record.status == "skipped":
        return "skipped", [record.reason or ""]
    if record.status == "failed":
        return ("partly" if parsed.documents else "failed"), [record.reason or ""]
    if not any(document.passages for document in parsed.documents):
        return "empty", ["indexed without a passage"]
    return ("partly" if record.warnings else "indexed"), list(record.warnings)


def plain(reason: str) -> str:
    """Return a reason without the numbers and names of its file, to count it with its like."""
    return " ".join(_QUOTED.sub("…", reason.split("\n")[0]).split())[:120]


def main() -> int:
    """Run over the files and write the counts."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--out", type=Path)
    options.add_argument("--per-category", type=int, default=500)
    options.add_argument("--show", action="store_true", help="print each file that was not read wholly")
    chosen = options.parse_args()
    splitter = Splitter(lambda text: -(-len(text) // 4), 128)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    seen: set[str] = set()
    slowest = 0.0
    begin = time.perf_counter()
    for category, roots in CATEGORIES.items():
        for path in files(roots, chosen.per_category):
            if str(path) in seen:
                continue
            seen.add(str(path))
            if has_binary_name(str(path)):
                word, why = "skipped", ["its name says that it holds no text"]
            else:
                stat = path.stat()
                record = FileRecord(str(path), roots[0], stat.st_size, stat.st_mtime_ns, None)
                start = time.perf_counter()
                word, why = outcome(parse(record, ReadOptions(), splitter))
                slowest = max(slowest, time.perf_counter() - start)
            counts[category][word] += 1
            kinds[kind_of(str(path)) or "by content"][word] += 1
            for reason in why:
                reasons[word][plain(reason)] += 1
            if chosen.show and word != "indexed":
                print(word, path, "; ".join(why)[:200], sep="\t")
    total = sum((Counter(counter) for counter in counts.values()), Counter())
    result = {
        "files": sum(total.values()),
        "outcomes": dict(total),
        "by category": {name: dict(counter) for name, counter in counts.items()},
        "by kind": {name: dict(counter) for name, counter in sorted(kinds.items())},
        "reasons": {word: dict(counter.most_common()) for word, counter in reasons.items()},
        "slowest file, seconds": round(slowest, 2),
        "seconds": round(time.perf_counter() - begin, 1),
        "made": {
            "by": "scripts/research/real_files.py",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "libraries": {name: metadata.version(name) for name in LIBRARIES},
        },
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    if chosen.out:
        chosen.out.write_text(text + "\n")
    print(text)
    return 1 if total["empty"] else 0


if __name__ == "__main__":
    sys.exit(main())
