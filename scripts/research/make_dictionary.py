"""Make a dictionary of words and their definitions for `semsearch demos search --dictionary`, from WordNet's own files.

    python scripts/research/make_dictionary.py --wordnet /usr/share/wordnet --out dictionary.tsv

WordNet 3.0 is free to use; Debian's package wordnet-base has its files. A line is a word, a tab and the definition of
the sense in which it is used most. Taken are single words that occur in WordNet's counted texts, so that they are known
to a small model too, with a definition of 3 to 20 words.
"""

from __future__ import annotations

import argparse
from pathlib import Path

KINDS = ("noun", "verb", "adj", "adv")
WORDS = range(3, 21)
"""How many words a definition may have."""


def entries(folder: Path, kind: str) -> dict[str, str]:
    """Return word → definition for one part of speech."""
    glosses: dict[str, str] = {}
    for line in (folder / f"data.{kind}").read_text("utf-8").splitlines():
        if not line.startswith("  "):  # the licence
            head, _, gloss = line.partition(" | ")
            glosses[head.split(" ", 1)[0]] = gloss
    found: dict[str, str] = {}
    for line in (folder / f"index.{kind}").read_text("utf-8").splitlines():
        if line.startswith("  "):
            continue
        word, _, _, pointers, *rest = line.split()
        counted, offsets = int(rest[int(pointers) + 1]), rest[int(pointers) + 2 :]
        definition = glosses[offsets[0]].partition(";")[0].strip()
        if counted and word.isalpha() and len(word) > 2 and len(definition.split()) in WORDS:
            found[word] = definition
    return found


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found: dict[str, str] = {}
    for kind in reversed(KINDS):
        found |= entries(options.wordnet, kind)  # a noun's definition before those of other kinds
    options.out.write_text("".join(f"{word}\t{definition}\n" for word, definition in sorted(found.items())), "utf-8")
    print(f"{options.out}: {len(found)} words")


if __name__ == "__main__":
    main()
