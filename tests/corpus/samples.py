"""One small sound file of every format, to be damaged at random."""

# ruff: noqa: E501 - markup reads better on one line

from __future__ import annotations

import gzip
import json
from email.message import EmailMessage

from tests.corpus import office_files as office
from tests.corpus.files import make_docx, make_pdf
from tests.corpus.pdf_files import make_form

PAGE = """<!doctype html><html><head><title> Bees &amp; honey </title><style>p {color: red}</style></head><body>
<nav><a href=/>Home</a></nav><header>Site</header>
<div><h1>Bees</h1><p>They <b>dan</b>ce
 in the   sun.<br>Often.</p><script>alert("no")</script><ul><li>first<li>second</ul>
<h2>Honey</h2><table><tr><th>kind<th>color<tr><td>acacia<td>pale</table><pre>a
   b <i>c</i></pre><p hidden>secret</p></div><footer>Contact</footer></body></html>"""

RTF = (
    rb"{\rtf1\ansi\ansicpg1251{\fonttbl{\f0\fcharset204 Arial;}}{\info{\title \'cf\'f0\'e8\'e2\'e5\'f2}}"
    rb"{\header\pard Harbour office\par}\pard \f0 \'cf\'f0\'e8\'e2\'e5\'f2 world\par Second"
    rb"{\footnote\pard See the quay.} end \u8364?\par{\pict\pngblip 89504e47}{\*\generator X;}}"
)

TEXT_DOCUMENT = office.make_opendocument(
    '<text:h text:outline-level="1">Tides</text:h><text:p>High<text:s text:c="2"/>water<text:note><text:note-body>'
    "<text:p>By the almanac.</text:p></text:note-body></text:note></text:p>",
    title="On tides",
)
SHEETS = office.make_opendocument(
    '<table:table table:name="Pumps"><table:table-row><table:table-cell><text:p>Name</text:p></table:table-cell>'
    "<table:table-cell><text:p>State</text:p></table:table-cell></table:table-row><table:table-row><table:table-cell>"
    "<text:p>Aurora</text:p></table:table-cell><table:table-cell><text:p>leaks</text:p></table:table-cell>"
    "</table:table-row></table:table>",
    "spreadsheet",
)
SLIDES = office.make_opendocument(
    '<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>Plan</text:p></draw:text-box></draw:frame>'
    "</draw:page>",
    "presentation",
)


def _letter() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Zoë <z@example.org>"
    message["Subject"] = "Réfection"
    message.set_content("The lanterns, équinoxe.\n", cte="quoted-printable")
    message.add_alternative("<p>The <b>lanterns</b></p>", subtype="html")
    message.add_attachment(b"id,text\n7,heron\n", maintype="text", subtype="csv", filename="birds.csv")
    message.add_attachment(b"\x89PNG\0\1", maintype="image", subtype="png", filename="p.png")
    message.set_boundary("boundary")
    return message


SAMPLES = {
    "txt": "naïve text\n".encode() * 20,
    "md": b"# T\n\nbody\n\n---\n```\ncode\n```\n" * 5,
    "rst": b"T\n=\n\nbody\n\n===\nU\n===\n" * 5,
    "html": PAGE.encode(),
    "xhtml": b'<?xml version="1.0"?><html xmlns="x"><head><title/></head><body><p>a<![CDATA[b < c]]></p><div/></body></html>',
    "pdf": make_pdf(["One page", "Another page"], title="T"),
    "form.pdf": make_form("Petrel"),
    "docx": make_docx(),
    "pptx": office.make_slides([office.shape("Plan", placeholder="title") + office.shape("one", "two")], {0: "slowly"}),
    "xlsx": office.make_book({"Pumps": [["Name", "State"], ["Aurora", "leaks"], ["Borealis", 2.5]]}),
    "odt": TEXT_DOCUMENT,
    "ods": SHEETS,
    "odp": SLIDES,
    "rtf": RTF,
    "epub": office.make_epub({"one": "<h1>One</h1><p>First.</p>", "two": "<p>Second.</p>"}, "Book"),
    "csv": 'id,title,text\n1,"a ""b""",ü\n'.encode() * 20,
    "tsv": b"id\ttext\n1\tb\n" * 20,
    "jsonl": b'{"id": 1, "title": "a", "text": "b \\u00e9", "x": [1]}\n' * 20,
    "json": b'[{"id": 1, "text": "heron \\u00e9"},\n {"id": 2, "body": {"plain": ["egret", "stork"]}}]\n' * 1,
    "bank.csv": "Statement\nHolder: Zoë\n\nTag;Betrag;Zweck\n1.2.;3,50;Miete\n2.2.;4,50;Öl\n".encode("utf-16"),
    "eml": bytes(_letter()),
    "mbox": b"".join(b"From a@b Mon Jan  2 10:00:00 2023\n" + bytes(_letter()) + b"\n\n" for _ in range(3)),
    "ics": b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Light\r\n house\\, x\r\nATTENDEE;CN=B:mailto:b@x\r\nEND:VEVENT\r\n",
    "vcf": b"BEGIN:VCARD\nFN;ENCODING=QUOTED-PRINTABLE:Zo=C3=AB=\nDoe\nADR:;;Quay 1;Port\nEND:VCARD\n" * 3,
    "vtt": b"WEBVTT - T\n\nSTYLE\n::cue {}\n\n1\n00:01.000 --> 00:04.000\n<v Bob>The <i>pawl</i>\n\n" * 3,
    "ass": b"[Events]\nDialogue: 0,0:00:01.00,0:00:04.00,Default,Bob,0,0,0,,{\\i1}The pawl\\N& quay\n" * 3,
    "ipynb": json.dumps(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "source": ["x = 1\n"],
                    "outputs": [{"text": ["one"]}, {"data": {"text/plain": "y"}}],
                }
            ]
        }
    ).encode(),
    "tex": b"\\documentclass{a}\n\\usepackage[latin1]{inputenc}\n\\title{T}\n\\section{Caf\\'e \xe9}\n$\\alpha$ \\verb|x| \\item[y] z\n"
    * 2,
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><title>Map</title><text>Tide <tspan>x</tspan></text></svg>',
    "log": b"\x1b[32mINFO\x1b[0m S\bSY\bY \x1b]0;t\x07 10%\r20%\n" * 9,
    "po": b'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=KOI8-R\\n"\n\nmsgid "a"\nmsgstr "\xf0\xd2"\n',
    "py": b"# -*- coding: cp1251 -*-\nx = '\xcf\xf0'\n",
    "jsonl.gz": gzip.compress(b'{"text": "b"}\n' * 200),
}
