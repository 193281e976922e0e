import base64
import binascii
import gzip
import json
import random

import pytest

from indexer.corpus.decoding.terminal import plain
from indexer.corpus.splitter import Splitter
from indexer.corpus.texts.latex import to_text
from indexer.errors import NothingToRead, ReadError
from indexer.types import Document
from tests.corpus.readings import reading, texts

E = "\x1b"
NOISE = random.Random(1).randbytes(6_000)
BASE64 = base64.b64encode(NOISE).decode()


def double(word: str) -> str:
    return "".join(f"{char}\b{char}" for char in word)


@pytest.mark.parametrize(
    ("captured", "shown"),
    [
        (f"{E}[32m INFO{E}[0m compiled\n{E}[1m{E}[31mTimeout{E}[0m: x", " INFO compiled\nTimeout: x"),
        (double("SYNOPSIS") + " of " + "".join(f"_\b{c}" for c in "file"), "SYNOPSIS of file"),
        ("".join(f"{c}\b_" for c in "under"), "under"),
        ("_\bX\bX+\bo 漢\b\b漢", "Xo 漢"),
        ("gti\b\b\x1b[K\x1b[?25lit status", "git status"),
        (f"{E}]0;user@host: ~\x07$ ls\n{E}]8;;http://x{E}\\link{E}]8;;{E}\\", "$ ls\nlink"),
        (f"{E}(B{E}=a{E}M{E}[12;40Hb", "ab"),
        ("Down 10%\rDown 20%\rDown 100%\nDone\n", "Down 100%\nDone\n"),
        ("one\r\ntwo\r\n", "one\r\ntwo\r\n"),
        ("snake_case and a_b", "snake_case and a_b"),
    ],
)
def test_text_is_read_as_a_terminal_shows_it(captured: str, shown: str) -> None:
    assert plain(captured) == shown


@pytest.mark.parametrize("name", ["run.log", "typescript", "man.txt", "notes.md", "run.log.gz"])
def test_captured_terminals_under_any_name(name: str) -> None:
    data = f"Script started\n{E}]0;t\x07{E}[1m{E}[31mBrokerTimeout{E}[0m: {double('SYNOPSIS')}\n".encode()
    assert texts(name, gzip.compress(data) if name.endswith("gz") else data) == [
        "Script started\nBrokerTimeout: SYNOPSIS\n"
    ]


def wrapped(text: str, width: int) -> str:
    return "\n".join(text[i : i + width] for i in range(0, len(text), width))


@pytest.mark.parametrize(
    ("before", "run", "after"),
    [
        ("![](data:image/png;base64,", BASE64, ") the end"),
        ("[i]: <data:image/png;base64,", BASE64, ">\n\nthe end"),
        ("url(data:image/svg+xml,", "%3Csvg" * 60, ") the end"),
        ("token ", BASE64[:400], " the end"),
        ("-----BEGIN CERTIFICATE-----\n", wrapped(BASE64[:1500], 64), "\n-----END CERTIFICATE-----\nthe end"),
        ("> ", wrapped(BASE64, 76).replace("\n", "\n> "), "\nthe end"),
        ("digest ", NOISE.hex()[:1000], " the end"),
        ("", wrapped(NOISE.hex()[:3200], 64), "\nthe end"),
        (
            "",
            "begin 644 f\n"
            + "".join(binascii.b2a_uu(NOISE[i : i + 45]).decode() for i in range(0, 900, 45))
            + "`\nend",
            "\nthe end",
        ),
    ],
)
@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.py"])
def test_encoded_bytes_are_left_out_and_told(before: str, run: str, after: str, name: str) -> None:
    text = f"Words first.\n{before}{run}{after}"
    (document,), notes = reading(name, text)
    assert len(document.text) < 300 + text.count("\n")
    assert document.text.startswith("Words first.\n")
    assert "the end" in document.text
    assert document.text.count("\n") == text.count("\n"), "the lines after it have other numbers"
    assert len(notes.warnings) == 1
    assert "encoded bytes" in notes.warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        "/usr/lib/python3/dist-packages/" * 9,
        "snake_case_name_" * 20,
        "Donaudampfschifffahrt" * 20,
        "-" * 300,
        "ACGT" * 100,
        "data:text/plain;base64,SGVsbG8=",
        "\n".join(["SomeCamelCaseNamesAsTheyStandInCode"] * 9),
        "https://example.org/" + "a-long-path/" * 30,
    ],
)
def test_long_words_stay(text: str) -> None:
    assert reading("a.txt", text)[0][0].text == text


def test_encoded_bytes_in_records_and_pages() -> None:
    assert len(texts("a.jsonl", json.dumps({"text": f"x {BASE64} y"}))[0]) < 20
    assert len(texts("a.html", f"<h1>A</h1><pre>{BASE64}</pre><h2>B</h2><p>end</p>")[0]) < 60
    found = reading("a.html", f"<h1>A</h1><pre>{BASE64}</pre><h2>B</h2><p>end</p>")[0][0]
    assert [found.text[head.start : head.end].strip() for head in found.headings] == ["A", "B"]


def cell(kind: str, text: str, *outputs: dict) -> dict:
    return {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True), "outputs": list(outputs)}


def notebook(*cells: dict) -> str:
    return json.dumps(
        {"nbformat": 4, "metadata": {"kernelspec": {"language": "python"}}, "cells": list(cells)}, indent=1
    )


def test_notebooks() -> None:
    text = notebook(
        cell("markdown", "# Tides\n\nSpikes are *resets*."),
        cell(
            "code",
            "# no heading\nplot(levels)",
            {"output_type": "stream", "name": "stdout", "text": ["high 3\n", f"{E}[31mlow 1{E}[0m\n"]},
            {"output_type": "display_data", "data": {"image/png": BASE64, "text/plain": "<Figure size 640x480>"}},
            {
                "output_type": "error",
                "ename": "KeyError",
                "evalue": "'x'",
                "traceback": [f"{E}[0;31mKeyError{E}[0m: 'x'"],
            },
        ),
        cell("raw", "raw words"),
    )
    (document,), notes = reading("a.ipynb", text)
    assert (document.kind, document.title) == ("notebook", "Tides")
    assert document.text == (
        "# Tides\n\nSpikes are *resets*.\n\n```python\n# no heading\nplot(levels)\n```\n\n"
        "```\nhigh 3\nlow 1\n```\n\n```\nKeyError: 'x'\n```\n\nraw words"
    )
    assert notes.warnings == ["1 picture left out"]
    passages = Splitter(lambda text: len(text.split()), 100).split(document)
    assert len(passages) == 1, "a comment was taken for a heading"


def test_older_and_broken_notebooks() -> None:
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1", "outputs": [{"text": "one\n"}]}]}]}
    assert "x = 1" in texts("a.ipynb", json.dumps(old))[0]
    for broken in ('{"cells": [', "[]", '{"a": 1}', "3"):
        with pytest.raises(ReadError, match="notebook"):
            reading("a.ipynb", broken)
    with pytest.raises(NothingToRead):
        reading("a.ipynb", notebook(cell("markdown", " ")))
    assert texts("a.ipynb", '{"cells": [3, {"source": 4, "outputs": 5}, {"source": "x", "outputs": [{"data": []}]}]}')


@pytest.mark.parametrize(
    ("latex", "words"),
    [
        (r"Caf\'e na\"{\i}ve \v{S}koda \c c M\"{u}ller", "Café naïve Škoda ç Müller"),
        (r"stra\ss e, \aa ngstr\"om, \O re \ae{}on", "straße, ångström, Øre æon"),
        (r"\section*{The breakwater}\label{sec:b}", "The breakwater"),
        (r"see~\cite[p.~3]{smith2001} in \ref{x}.", "see p. 3 smith2001 in ."),
        (r"\textbf{bold \textit{nested}} 50\% \& more---dash ``quoted''", "bold nested 50% & more—dash “quoted”"),
        (r"$\alpha + \beta \leq \infty$", "α + β ≤ ∞"),
        (r"\begin{tabular}{l|r} acacia & pale \\ oak & dark \end{tabular}", "acacia | pale oak | dark"),
        (r"\href{http://x.org}{link text}\footnote{A note.}", "http://x.org link text A note."),
        ("% a remark\nwords % more", "a remark\nwords more"),
        ("\\begin{verbatim}\ncode \\here {x}\n\\end{verbatim}", "code \\here {x}"),
        (r"\usepackage[utf8]{inputenc}\documentclass[a4]{article}\mycommand{kept words}", "kept words"),
    ],
)
def test_latex_without_its_commands(latex: str, words: str) -> None:
    assert to_text(latex).split() == words.split()


def test_latex_keeps_lines_and_has_a_title_and_headings() -> None:
    text = "\\documentclass{article}\n\\title{The \\emph{Harbour}\\thanks{x}}\n\\begin{document}\n" + (
        "\\section{Quay}\nThe pawl.\n\\subsection{Oil}\nGrease it.\n\\end{document}\n"
    )
    (document,), _ = reading("a.tex", text)
    assert (document.kind, document.title) == ("latex", "The Harbour")
    assert document.text.split("\n")[4] == "The pawl."
    assert document.text.count("\n") == text.count("\n")
    assert [(h.level, h.text, document.text[h.start : h.end]) for h in document.headings] == [
        (3, "Quay", "Quay"),
        (4, "Oil", "Oil"),
    ]
    with pytest.raises(NothingToRead):
        reading("a.tex", "\\begin{document}\\end{document}")


SUBTITLES = {
    "a.vtt": "WEBVTT - Tides\n\nSTYLE\n::cue { color: red }\n\nname\n00:01.000 --> 00:04.000 align:start\n"
    "<v Bob>The <i>pawl</i></v>\n&amp; the quay\n\n00:05.000 --> 00:06.000\n- end\n",
    "a.srt": "1\n00:00:01,000 --> 00:00:04,000\nThe <i>pawl</i>\n{\\an8}&amp; the quay\n\n"
    "2\n00:00:05,000 --> 00:00:06,000\n- end\n",
    "a.sbv": "0:00:01.000,0:00:04.000\nThe pawl\n& the quay\n\n0:00:05.000,0:00:06.000\n- end\n",
    "a.lrc": "[00:12.00]The pawl\n[00:17.20]& the quay\n[00:20.00]- end\n",
    "a.ass": "[Events]\nFormat: Layer\nDialogue: 0,0:00:01.00,0:00:04.00,Default,Bob,0,0,0,,"
    "{\\i1}The pawl\\N& the quay\n"
    "Dialogue: 0,0:00:05.00,0:00:06.00,Default,,0,0,0,,- end\n",
}


@pytest.mark.parametrize("name", SUBTITLES)
def test_subtitles(name: str) -> None:
    (document,), _ = reading(name, SUBTITLES[name])
    words = document.text.replace("Bob: ", "").split()
    assert words == "The pawl & the quay - end".split()
    assert document.text.rstrip("\n").count("\n") == SUBTITLES[name].rstrip("\n").count("\n"), "lines were lost"
    with pytest.raises(NothingToRead):
        reading("a.vtt", "WEBVTT\n\n00:01.000 --> 00:04.000\n\n")


@pytest.mark.parametrize(
    ("svg", "words"),
    [
        (
            '<svg xmlns="http://www.w3.org/2000/svg"><title>Map</title><text>Tide <tspan>table</tspan></text></svg>',
            "Map\nTide table",
        ),
        ('<svg><image href="data:image/png;base64,' + BASE64 + '"/><desc>A buoy</desc></svg>', "A buoy"),
        ('<svg><g aria-label="Pier"><path d="M0 0 10 10"/></g></svg>', "Pier"),
    ],
)
def test_svg(svg: str, words: str) -> None:
    assert texts("a.svg", svg) == [words]
    with pytest.raises(NothingToRead, match="a picture without text"):
        reading("a.svg", "<svg><path d='M0 0'/></svg>")


@pytest.mark.parametrize("name", ["clip.ts", "a.md", "b.csv", "c.json", "d.srt", "e.tex", "noname"])
def test_binary_content_under_a_name_of_text_is_skipped(name: str) -> None:
    with pytest.raises(NothingToRead, match="binary"):
        reading(name, b"\x47\x40\0" + NOISE[:400])


@pytest.mark.parametrize("kind", ["md", "txt", "py", "tex", "ipynb", "csv", "json", "vtt", "svg", "ics", "html"])
def test_every_text_kind_may_be_packed(kind: str) -> None:
    samples = {
        "ipynb": notebook(cell("markdown", "heron")),
        "csv": "a,b\nheron,x\n",
        "json": '[{"t": "heron"}]',
        "svg": "<svg><text>heron</text></svg>",
        "ics": "BEGIN:VEVENT\nSUMMARY:heron\nEND:VEVENT\n",
        "html": "<p>heron</p>",
    }
    data = gzip.compress(samples.get(kind, "heron\n").encode())
    assert "heron" in texts(f"a.{kind}.gz", data)[0]


@pytest.mark.parametrize("end", ["。", "！", "？", "؟ ", "। ", "។", "။", "．", "。」", "۔"])
def test_long_paragraphs_are_cut_at_the_ends_of_sentences(end: str) -> None:
    text = ("押金退還期限" * 4 + end) * 40
    passages = Splitter(lambda part: len(part), 64).split(Document(path="/f", text=text, kind="text"))
    blocks = [p for p in passages if p.start and text[: p.start].rstrip().endswith(end.strip())]
    assert blocks
