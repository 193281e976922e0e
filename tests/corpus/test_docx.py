# ruff: noqa: E501 - markup reads better on one line
import io

import docx
import pytest

from indexer.corpus.office import container
from indexer.errors import NothingToRead, ReadError
from tests.corpus.files import make_docx, make_zip_bomb, one, parsed
from tests.corpus.office_files import (
    HEAD,
    PACKAGE,
    RELATION,
    control,
    make_opendocument,
    make_word,
    para,
    relationships,
    row,
    run,
    word_part,
    zipped,
)

STRICT = "http://purl.oclc.org/ooxml/"


def text(body: str, **values: object) -> str:
    return one("a.docx", make_word(body, **values)).text  # type: ignore[arg-type]


def test_headings_lists_and_tables() -> None:
    document = one("a.docx", make_docx())
    assert (document.kind, document.title) == ("docx", "On bees")
    assert document.text == "Bees\n\nThey dance.\n\nfirst\n\n\nHoney\n\nkind | color\nacacia | pale\n\nIt keeps."
    assert [(h.level, h.text) for h in document.headings if h.text] == [(1, "Bees"), (2, "Honey")]


def test_a_style_based_on_a_heading_is_one_whatever_its_name() -> None:
    styles = (
        '<w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>'
        '<w:style w:styleId="Eigen"><w:name w:val="Kapitel"/><w:basedOn w:val="berschrift1"/></w:style>'
        '<w:style w:styleId="Rund"><w:name w:val="x"/><w:basedOn w:val="Rund"/></w:style>'
        '<w:style w:styleId="Stufe"><w:name w:val="y"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style>'
    )
    body = para("A", style="Eigen") + para("B", style="Stufe") + para("c", style="Rund")
    body += para("D", properties='<w:outlineLvl w:val="0"/>')
    document = one("a.docx", make_word(body, {"word/styles.xml": word_part("styles", styles)}))
    assert [(h.level, h.text) for h in document.headings if h.text] == [(1, "A"), (3, "B"), (1, "D")]


def notes(kind: str, *items: tuple[str, str]) -> str:
    return word_part(f"{kind}s", "".join(f'<w:{kind} w:id="{i}">{content}</w:{kind}>' for i, content in items))


def test_notes_and_comments_follow_the_text_that_refers_to_them() -> None:
    body = para(run("It ends early"), '<w:r><w:footnoteReference w:id="2"/></w:r>') + para("Next.")
    body += para("Rent", '<w:r><w:endnoteReference w:id="2"/></w:r>', '<w:r><w:commentReference w:id="0"/></w:r>')
    parts = {
        "word/footnotes.xml": notes(
            "footnote", ("2", para("See the quayside ruling.")), ("3", para("Never referred to."))
        ),
        "word/endnotes.xml": notes("endnote", ("2", para("Base year."))),
        "word/comments.xml": notes("comment", ("0", para("The insurer paid."))),
    }
    links = (("f", "footnotes", "footnotes.xml"), ("e", "endnotes", "endnotes.xml"), ("c", "comments", "comments.xml"))
    assert text(body, parts=parts, links=links) == (
        "It ends early\n\nSee the quayside ruling.\n\nNext.\n\nRent\n\nBase year.\n\nComment: The insurer paid.\n\n"
        "Never referred to."
    )


def test_a_note_of_deleted_text_is_deleted_with_it() -> None:
    body = para("Kept.", '<w:del><w:r><w:footnoteReference w:id="2"/></w:r></w:del>')
    parts = {"word/footnotes.xml": notes("footnote", ("2", para("Gone.")))}
    assert text(body, parts=parts, links=(("f", "footnotes", "footnotes.xml"),)) == "Kept."


def test_headers_and_footers_come_last_and_once() -> None:
    header = word_part("hdr", para("Matter KESTREL"))
    parts = {"word/header1.xml": header, "word/header2.xml": header, "word/footer1.xml": word_part("ftr", para("3"))}
    links = (("a", "header", "header1.xml"), ("b", "header", "header2.xml"), ("c", "footer", "footer1.xml"))
    styles = '<w:style w:styleId="H"><w:name w:val="heading 1"/></w:style>'
    parts["word/styles.xml"] = word_part("styles", styles)
    document = one("a.docx", make_word(para("Top", style="H") + para("Body."), parts, links))
    assert document.text == "Top\n\nBody.\n\nMatter KESTREL"
    assert document.headings[-1].text == "", "a page's header does not stand under the last heading"


BOXED = f"<w:txbxContent>{para('In the box')}</w:txbxContent>"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (f"<w:r><w:pict><v:shape><v:textbox>{BOXED}</v:textbox></v:shape></w:pict></w:r>", "Text\n\nIn the box"),
        (
            f'<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wps:txbx>{BOXED}</wps:txbx></w:drawing>'
            f"</mc:Choice><mc:Fallback><w:pict>{BOXED}</w:pict></mc:Fallback></mc:AlternateContent></w:r>",
            "Text\n\nIn the box",
        ),
        (
            f'<w:r><mc:AlternateContent><mc:Choice Requires="x"/><mc:Fallback><w:pict>{BOXED}</w:pict></mc:Fallback>'
            "</mc:AlternateContent></w:r>",
            "Text\n\nIn the box",
        ),
        ('<w:r><w:drawing><wp:docPr id="1" name="P" descr="A cormorant"/></w:drawing></w:r>', "Text\n\nA cormorant"),
        ('<w:r><w:pict><v:shape alt="A weir"/></w:pict></w:r>', "Text\n\nA weir"),
        ('<w:r><w:pict><v:shape><v:textpath string="GALA"/></v:shape></w:pict></w:r>', "Text\n\nGALA"),
        ("<m:oMath><m:r><m:t>E=mc</m:t></m:r></m:oMath>", "TextE=mc"),
        ("<w:r><w:tab/><w:t>x</w:t><w:br/><w:t>y</w:t><w:noBreakHyphen/><w:t>z</w:t></w:r>", "Text\tx\ny-z"),
        ('<w:r><w:sym w:font="Symbol" w:char="03B1"/><w:sym w:font="Wingdings" w:char="F0FC"/></w:r>', "Textα"),
        (
            "<w:r><w:ruby><w:rt><w:r><w:t>とう</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>東</w:t></w:r></w:rubyBase></w:ruby></w:r>",
            "Text東(とう)",
        ),
    ],
)
def test_what_stands_in_a_paragraph_beside_runs(content: str, shown: str) -> None:
    assert text(para("Text", content)) == shown


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (row("Pump", "Finding") + control(row("Aurora", "weeps glycol")), ["Pump | Finding", "Aurora | weeps glycol"]),
        (control(control(row("Aurora", "rumbles"))), ["Aurora | rumbles"]),
        (f"<w:customXml>{row('Corvus', 'torn')}</w:customXml>", ["Corvus | torn"]),
        (f"<w:tr>{control('<w:tc>' + para('Draco') + '</w:tc>')}<w:tc>{para('bent')}</w:tc></w:tr>", ["Draco | bent"]),
        (row(control(para("Eridanus")), "leaks"), ["Eridanus | leaks"]),
        (row("a", f"<w:tbl>{row('b', 'c')}</w:tbl>"), ["a | b | c"]),
        (row("a", "b") + f"<w:ins>{row('new', 'row')}</w:ins>", ["a | b", "new | row"]),
        (row("a", "b") + "<w:tr><w:trPr><w:del/></w:trPr><w:tc><w:p/></w:tc></w:tr>", ["a | b"]),
    ],
)
def test_rows_and_cells_within_controls(table: str, rows: list[str]) -> None:
    assert text(f"<w:tbl>{table}</w:tbl>") == "\n".join(rows)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (control(para("Filled in")), "Filled in"),
        (para("Name: ", control(run("Ada"))), "Name: Ada"),
        (para("x") + control(para("Click to enter text."), "<w:showingPlcHdr/>"), "x"),
        (
            control(para("1. Tides 3"), '<w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj>')
            + para("x"),
            "x",
        ),
        (
            control(para("Tides 3"), '<w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj>'),
            "Tides 3",
        ),
        (f"<w:customXml><w:smartTag>{para('a')}</w:smartTag></w:customXml>", "a"),
    ],
)
def test_content_controls(body: str, shown: str) -> None:
    assert text(body) == shown


def field(stage: str) -> str:
    return f'<w:r><w:fldChar w:fldCharType="{stage}"/></w:r>'


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (
            ("old ", f"<w:ins>{run('added')}</w:ins>", "<w:del><w:r><w:delText>removed</w:delText></w:r></w:del>"),
            "old added",
        ),
        ((f"<w:moveFrom>{run('here')}</w:moveFrom>", f"<w:moveTo>{run('there')}</w:moveTo>"), "there"),
        (
            (
                field("begin"),
                "<w:r><w:instrText>DATE</w:instrText></w:r>",
                field("separate"),
                run("1 May"),
                field("end"),
            ),
            "1 May",
        ),
        (
            (field("begin"), run("code of a field"), field("separate"), run("shown"), field("end"), run(" end")),
            "shown end",
        ),
        ((f"<w:fldSimple>{run('7')}</w:fldSimple>",), "7"),
        (
            (
                '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList><w:result w:val="1"/><w:listEntry w:val="Bergen"/>'
                '<w:listEntry w:val="Turku"/></w:ddList></w:ffData></w:fldChar></w:r>',
                field("end"),
            ),
            "Turku",
        ),
        ((run("seen"), run(" hidden", "<w:vanish/>"), run(" too", '<w:vanish w:val="0"/>')), "seen too"),
        ((f"<w:hyperlink>{run('linked')}</w:hyperlink>",), "linked"),
    ],
)
def test_changes_accepted_and_fields_as_shown(content: tuple[str, ...], shown: str) -> None:
    assert text(para(*content)) == shown


def test_a_field_without_end_hides_no_other_paragraph() -> None:
    assert text(para(field("begin"), run("lost")) + para("kept")) == "kept"


def test_a_paragraph_mark_that_was_deleted_joins_two_paragraphs() -> None:
    assert text(para("one ", properties="<w:rPr><w:del/></w:rPr>") + para("two")) == "one two"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.html", b"<html><body><h1>Report</h1><p>Glass negatives.</p></body></html>"),
        ("a.rtf", rb"{\rtf1\ansi Report\par\par Glass negatives.}"),
        ("a.txt", b"Report\n\nGlass negatives."),
        ("a.docx", make_word(para("Report") + para("Glass negatives."))),
        ("a.mht", b"MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n<h1>Report</h1><p>Glass negatives."),
    ],
)
def test_files_that_are_embedded_to_be_shown_in_place(name: str, data: bytes) -> None:
    body = para("Before") + '<w:altChunk r:id="c"/>' + para("After")
    shown = text(body, parts={f"word/{name}": data}, links=(("c", "aFChunk", name),))
    assert shown.split() == ["Before", "Report", "Glass", "negatives.", "After"]


def test_an_embedded_file_that_cannot_be_read_is_a_problem() -> None:
    body = para("Before") + '<w:altChunk r:id="c"/>'
    data = make_word(body, {"word/a.docx": b"PK\3\4damaged"}, (("c", "aFChunk", "a.docx"),))
    (document,), remarks = parsed("a.docx", data)
    assert document.text == "Before"
    assert [problem.split(":")[0] for problem in remarks.problems] == ["embedded a.docx"]


def test_strict_files() -> None:
    data = zipped(
        {
            "_rels/.rels": f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r" Target="word/document.xml" '
            f'Type="{STRICT}officeDocument/relationships/officeDocument"/></Relationships>',
            "word/document.xml": f'{HEAD}<w:document xmlns:w="{STRICT}wordprocessingml/main"><w:body>{para("Grafting.")}</w:body></w:document>',
        }
    )
    assert one("a.docx", data).text == "Grafting."


BODY = f'{HEAD}<w:document xmlns:w="x"><w:body>{para("Handrails.")}</w:body></w:document>'


@pytest.mark.parametrize(
    "parts",
    [
        {"word/document.xml": BODY},
        {"WORD/Document.XML": BODY, "_RELS/.rels": relationships(("r", "officeDocument", "word/document.xml"))},
        {"word\\document.xml": BODY},
        {"word/document.xml": BODY, "_rels/.rels": relationships(("r", "officeDocument", "/word/document.xml"))},
        {
            "word/document.xml": BODY,
            "word/_rels/document.xml.rels": relationships(("r", "image", "NULL"), ("s", "footnotes", "gone.xml")),
        },
        {"x/main.xml": BODY, "_rels/.rels": relationships(("r", "officeDocument", "x/main.xml"))},
        {"word/document.xml": BODY, "_rels/.rels": "<Relationships", "[Content_Types].xml": ""},
        {"word/document.xml": BODY, "word/styles.xml": "<w:styles", "docProps/core.xml": "no xml at all"},
        {
            "odd/d.xml": BODY,
            "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Override PartName="/odd/d.xml" '
            'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
        },
    ],
    ids=["bare", "case", "backslash", "absolute", "null", "elsewhere", "no relations", "bad parts", "by type"],
)
def test_slightly_broken_files_that_word_opens(parts: dict[str, str | bytes]) -> None:
    document = one("a.docx", zipped(parts))
    assert (document.text, document.title) == ("Handrails.", None)


@pytest.mark.parametrize(
    "data",
    [
        rb"{\rtf1\ansi Handrails.}",
        b"<html><body><p>Handrails.</p></body></html>",
        make_opendocument("<text:p>Handrails.</text:p>"),
        (
            '<?xml version="1.0"?><pkg:package xmlns:pkg="p"><pkg:part pkg:name="/word/document.xml"><pkg:xmlData>'
            f"{BODY.removeprefix(HEAD)}</pkg:xmlData></pkg:part></pkg:package>"
        ).encode(),
    ],
    ids=["rtf", "html", "odt", "one XML file"],
)
def test_other_formats_under_the_name_of_a_docx(data: bytes) -> None:
    assert one("a.docx", data).text == "Handrails."


@pytest.mark.parametrize(
    "title", [None, "", "Word Document", "Document1", "Microsoft Word - x.doc", "report_final.docx"]
)
def test_a_title_that_is_none(title: str | None) -> None:
    assert one("a.docx", make_word(para("Wings."), title=title)).title is None


def test_what_is_left_out_is_said() -> None:
    body = para("Text", "<w:r><w:drawing><a:blip xmlns:a='x'/></w:drawing></w:r>", run("x", "<w:vanish/>"))
    parts: dict[str, str | bytes] = {
        "word/vbaProject.bin": b"",
        "word/embeddings/a.xlsx": b"",
        "word/embeddings/b.bin": b"",
    }
    (document,), remarks = parsed("a.docm", make_word(body, parts))
    assert document.text == "Text"
    assert remarks.warnings == ["not read: 1 picture, 1 hidden passage, macros, 2 embedded files"]


def test_words_of_charts_and_diagrams() -> None:
    chart = '<c xmlns:a="a"><a:p><a:t>Catch </a:t><a:t>by year</a:t></a:p><v>herring</v><v>12.5</v></c>'
    body = para("Text", '<w:r><w:drawing><c:chart xmlns:c="c" r:id="c1"/></w:drawing></w:r>')
    shown = text(body, parts={"word/charts/chart1.xml": chart}, links=(("c1", "chart", "charts/chart1.xml"),))
    assert shown == "Text\n\nCatch by year\nherring"


def test_without_text() -> None:
    empty = io.BytesIO()
    docx.Document().save(empty)
    with pytest.raises(NothingToRead, match="nothing at all"):
        parsed("a.docx", empty.getvalue())
    with pytest.raises(NothingToRead, match="only 1 picture"):
        parsed("a.docx", make_word(para("<w:r><w:drawing><a:blip xmlns:a='x'/></w:drawing></w:r>")))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"plain text", "no zip file"),
        (make_docx()[:-500], "no zip file"),
        (make_docx()[:200] + b"\0" * 100 + make_docx()[300:], "damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "encrypted file or one of an older office program"),
        (zipped({"hello": b"x"}), "not a readable DOCX"),
        (make_zip_bomb(130 << 20), "zip bomb"),
        (make_word("<w:ins>" * 3000 + para("x") + "</w:ins>" * 3000), "open at once"),
    ],
    ids=["text", "truncated", "flipped", "ole", "other zip", "bomb", "deep"],
)
def test_bad_docx_has_a_reason(data: bytes, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        parsed("a.docx", data)


def test_a_file_that_unpacks_to_more_than_it_says() -> None:
    data = bytearray(make_zip_bomb(2 << 20))
    for marker, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # the size fields of both headers
        place = data.rindex(marker) + at
        data[place : place + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(ReadError, match="not a DOCX"):
        parsed("a.docx", bytes(data))


@pytest.mark.parametrize("ending", ["docx", "pptx", "xlsx", "odt", "epub"])
def test_many_large_parts_are_refused_unread(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({f"p{i}": b" " * 400 for i in range(3)})
    monkeypatch.setattr(container, "MAX_WHOLE", 1000)
    monkeypatch.setattr(container.zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ReadError, match="zip bomb"):
        parsed(f"a.{ending}", data)


def test_relation_of_a_part_outside_is_not_followed() -> None:
    links = f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="i" Type="{RELATION}/image" TargetMode="External" Target="http://127.0.0.1/x"/></Relationships>'
    assert text(para("Kept."), parts={"word/_rels/document.xml.rels": links}) == "Kept."
