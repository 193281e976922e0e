"""Say which hits are right, and list, export and import what was said: ``semsearch judge``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexer.errors import UsageError
from semsearch.cli import output
from semsearch.cli.lazy import NearestGroup
from semsearch.cli.options import Choice, collection_options, json_option

if TYPE_CHECKING:
    from indexer.types import Judgement
    from semsearch.collection import Collection

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=NearestGroup)
def command() -> None:
    r"""Say which hits are right or wrong; `eval` and `train --collection` go by it.

    \b
    semsearch judge add "how are vectors stored" notes/store.md:12
    semsearch judge add "how are vectors stored" notes/cats.md --grade 0
    semsearch eval retrieval --collection        how well the collection is searched

    Judgements are kept with the collection, through every reindex. The page of `semsearch serve` makes them too.
    """


@command.command()
@click.argument("query")
@click.argument("places", metavar="PATH[:LINE]|ID...", nargs=-1, required=True)
@click.option("--grade", type=click.IntRange(min=0), default=1, show_default=True, help="0 is wrong, higher is better.")
@click.option("--take-back", is_flag=True, help="Say nothing about these places any more.")
@json_option
@collection_options()
def add(docs: Collection, query: str, places: tuple[str, ...], grade: int, take_back: bool, as_json: bool) -> int:
    """Say that places answer QUERY: indexed files, lines of them, or ids of hits. The last word on a place counts."""
    said = [docs.judge(query, place, None if take_back else grade) for place in places]
    output.value([asdict(each) for each in said], "\n".join(map(_row, said)), as_json)
    return 0


@command.command("list")
@click.option("--query", metavar="TEXT", help="Those of this query only.")
@json_option
@collection_options()
def list_judgements(docs: Collection, query: str | None, as_json: bool) -> int:
    """The judgements that count: grade, query and place, in the order in which they were made."""
    wanted = None if query is None else " ".join(query.split())
    found = [each for each in docs.judgements() if wanted in (None, each.query)]
    if as_json or found:
        output.value([asdict(each) for each in found], "\n".join(map(_row, found)), as_json)
    else:
        output.LOG.info("nothing has been judged yet")
    return 0 if found else 1


@command.command()
@click.argument("file", type=FILE)
@click.option(
    "--format", "form", type=Choice(["qrels", "jsonl"]), default="qrels", show_default=True,
    help="Lines of query, path and grade, or JSON with every field.",
)  # fmt: skip
@json_option
@collection_options()
def export(docs: Collection, file: Path, form: str, as_json: bool) -> int:
    """Write the judgements into FILE: for --judgements of other commands, other programs, or `judge import`.

    qrels has one line a document, with the highest grade of its passages; records of one file become one document.
    """
    from semsearch import judging

    found = docs.judgements()
    if not found:
        raise UsageError(f"collection {docs.name!r} has no judgements yet; make some with: semsearch judge add")
    if form == "jsonl":
        judging.write(file, found)
        written = len(found)
    else:
        grades: dict[tuple[str, str], int] = {}
        for each in found:
            about = each.query, each.path
            grades[about] = max(each.grade or 0, grades.get(about, 0))
        rows = [f"{query}\t{path}\t{grade}\n" for (query, path), grade in grades.items()]
        file.write_text("".join(rows), encoding="utf-8")
        written = len(rows)
    value = {"file": str(file.absolute()), "judgements": written}
    output.value(value, f"{written} judgements written to {file}", as_json)
    return 0


@command.command("import")
@click.argument("file", type=FILE)
@json_option
@collection_options()
def import_(docs: Collection, file: Path, as_json: bool) -> int:
    """Keep the judgements of FILE: lines of query<TAB>path[<TAB>grade], or JSON lines as `judge export` writes them."""
    from indexer.storage.manifest import moment
    from semsearch.evaluation.judged.queries import judgements_of_file

    with docs.view() as view:
        files, roots = [each.path for each in view.snapshot.files("indexed")], sorted(view.snapshot.roots())
    found = [each if each.at else replace(each, at=moment()) for each in judgements_of_file(file, files, roots)]
    docs.keep_judgements(found)
    value = {"collection": docs.name, "judgements": len(found)}
    output.value(value, f"{len(found)} judgements kept with collection {docs.name!r}", as_json)
    return 0


def _row(judgement: Judgement) -> str:
    """Return a judgement as a line for people."""
    from semsearch.render import quiet

    grade = {None: "taken back", 0: "wrong", 1: "right"}.get(judgement.grade, f"right ({judgement.grade})")
    lines = judgement.line_start, judgement.line_end
    where = judgement.path if lines[0] is None else f"{judgement.path}:{lines[0]}" + (
        f"-{lines[1]}" if lines[1] != lines[0] else "")  # fmt: skip
    record = f" record {judgement.record}" if judgement.record is not None else ""
    return quiet(f"{grade}\t{judgement.query}\t{where}{record}")
