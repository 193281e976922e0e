# ruff: noqa: E501 - markup reads better on one line
import datetime as dt
import sys

import pytest

from indexer.errors import NothingToRead, ReadError
from tests.corpus.files import one, parsed
from tests.corpus.office_files import make_book, make_epub, make_opendocument, make_slides, shape, zipped
from tests.corpus.samples import RTF


def pages(name: str, data: bytes) -> list[str]:
    """The text of each page."""
    document = one(name, data)
    ends = [*document.page_starts[1:], len(document.text) + 2]
    return [document.text[start : end - 2] for start, end in zip(document.page_starts, ends, strict=True)]


def test_slides_are_pages_in_the_order_of_the_show() -> None:
    table = "".join(
        f"<a:tr>{''.join(f'<a:tc><a:txBody><a:p><a:r><a:t>{c}</a:t></a:r></a:p></a:txBody></a:tc>' for c in cells)}</a:tr>"
        for cells in (("pump", "state"), ("Aurora", "leaks"))
    )
    data = make_slides(
        [
            shape("Plan", placeholder="title") + shape("one", "two") + shape("12", placeholder="sldNum"),
            f"<p:grpSp>{shape('grouped')}</p:grpSp>",
            f"<p:graphicFrame><a:tbl>{table}</a:tbl></p:graphicFrame>",
            shape(alternative="A drawn heron"),
        ],
        notes={1: "Speak slowly."},
    )
    assert pages("a.pptx", data) == [
        "Plan\n\none\ntwo",
        "grouped\n\nSpeak slowly.",
        "pump | state\nAurora | leaks",
        "A drawn heron",
    ]
    document = one("a.pptx", data)
    assert (document.title, [h.text for h in document.headings]) == ("Plan", ["Plan"])


def test_pictures_on_slides_are_said_and_their_words_read() -> None:
    (document,), notes = parsed("a.pptx", make_slides([shape("one")], media=2))
    assert document.text == "one\n\nA lighthouse\n\nA lighthouse"
    assert notes.warnings == ["not read: 2 pictures"]
    with pytest.raises(NothingToRead, match="no text on any slide"):
        parsed("a.pptx", make_slides([""]))


def test_sheets_are_pages_and_rows_name_their_columns() -> None:
    data = make_book(
        {
            "Pumps": [
                ["Name", "Share", "Since"],
                ["Aurora", 0.5, dt.datetime(2024, 3, 1)],
                [None, None, None],
                ["Borealis", 3.0, None],
            ],
            "Empty": [],
            "Free": [["Dear all,"], ["the pump leaks.", 12]],
        }
    )
    assert pages("a.xlsx", data) == [
        "Pumps\n\nName | Share | Since\nName: Aurora | Share: 0.5 | Since: 2024-03-01\nName: Borealis | Share: 3",
        "",
        "Free\n\nDear all,\nthe pump leaks. | 12",
    ]
    assert [h.text for h in one("a.xlsx", data).headings] == ["Pumps", "Free"]


def test_values_as_the_sheet_shows_them() -> None:
    import io

    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "S"
    values = [
        (0.25, "0%"),
        (True, "General"),
        (1e20, "General"),
        (dt.datetime(2024, 3, 1, 10, 5), "yyyy-mm-dd h:mm"),
        (dt.time(9, 30), "hh:mm"),
    ]
    for column, (value, number_format) in enumerate(values, 1):
        sheet.cell(1, column, value).number_format = number_format
    sheet.cell(2, 1, "noted").comment = openpyxl.comments.Comment("Ask the harbour", "Ada")
    sheet.cell(3, 16384, "far")
    out = io.BytesIO()
    book.save(out)
    (document,), notes = parsed("a.xlsx", out.getvalue())
    text = document.text
    assert notes.warnings == ["not read: 1 cell beyond column 2,000"]
    assert text.startswith("S\n\n25% | TRUE | 1e+20 | 2024-03-01 10:05:00 | 09:30:00\nnoted")
    assert "Comment: Ask the harbour" in text


def test_formulas_without_a_stored_value_are_said() -> None:
    (document,), notes = parsed("a.xlsx", make_book({"S": [["a", "b"], [1, "=A2*2"], [2, "=A3*2"]]}))
    assert "a: 1" in document.text
    assert notes.warnings == ["not read: 2 formulas without a value (open and save it in a spreadsheet program)"]


@pytest.mark.parametrize(
    ("name", "module", "package"), [("a.xlsx", "openpyxl", "office"), ("a.rtf", "striprtf", "office")]
)
def test_without_the_extra_a_file_is_skipped_with_the_command(
    name: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_book({"S": [["a"]]}) if name == "a.xlsx" else RTF
    for loaded in [key for key in sys.modules if key == module or key.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NothingToRead, match=rf"need {module}: pip install 'semsearch\[{package}\]'"):
        parsed(name, data)


def test_rtf_with_its_notes_header_and_title() -> None:
    (document,), notes = parsed("a.rtf", RTF)
    assert document.title == "Привет"
    assert document.text == "Привет world\nSecond end €\n\nHarbour office\n\nSee the quay."
    assert notes.warnings == ["not read: 1 picture"]
    review = rb"{\rtf1\ansi kept {\deleted gone }end\par {\field{\*\fldinst HYPERLINK \"http://x\"}{\fldrslt linked}}}"
    assert one("b.rtf", review).text == "kept end\nlinked"
    with pytest.raises(ReadError, match="not an RTF"):
        parsed("a.rtf", b"plain")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('<text:h text:outline-level="2">Head</text:h><text:p>a</text:p>', "Head\n\na"),
        ('<text:p>a<text:s text:c="3"/>b<text:tab/>c<text:line-break/>d</text:p>', "a   b\tc\nd"),
        ("<text:list><text:list-item><text:p>a</text:p></text:list-item><text:list-item><text:p>b</text:p></text:list-item></text:list>", "a\nb"),
        ("<text:p>a<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>n</text:p></text:note-body></text:note>b</text:p>", "ab\n\nn"),
        ("<text:p>a<office:annotation><dc:creator>Ada</dc:creator><text:p>why?</text:p></office:annotation></text:p>", "a\n\nComment (Ada): why?"),
        ("<text:tracked-changes><text:changed-region><text:deletion><text:p>GONE</text:p></text:deletion></text:changed-region></text:tracked-changes><text:p>a</text:p>", "a"),
        ("<text:table-of-content><text:index-body><text:p>Head 3</text:p></text:index-body></text:table-of-content><text:p>a</text:p>", "a"),
        ("<text:table-of-content><text:index-body><text:p>Head 3</text:p></text:index-body></text:table-of-content>", "Head 3"),
        ("<text:section><text:p>a</text:p></text:section>", "a"),
        ("<text:p><draw:frame><draw:text-box><text:p>box</text:p></draw:text-box></draw:frame>a</text:p>", "a\n\nbox"),
        ("<text:p>a<text:span>b<text:a>c</text:a></text:span>d</text:p>", "abcd"),
        ("<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p></table:table-cell></table:table-row></table:table-header-rows></table:table>", "a | b"),
    ],
)  # fmt: skip
def test_text_documents(body: str, shown: str) -> None:
    assert one("a.odt", make_opendocument(body)).text == shown


def test_headers_titles_and_pictures_of_text_documents() -> None:
    body = "<text:p>a<draw:frame><draw:image/><svg:desc>A heron</svg:desc></draw:frame></text:p>"
    styles = "<style:master-page><style:header><text:p>Harbour office</text:p></style:header></style:master-page>"
    (document,), notes = parsed("a.odt", make_opendocument(body, styles=styles, title="On herons"))
    assert (document.title, document.text) == ("On herons", "a\n\nA heron\n\nHarbour office")
    assert notes.warnings == ["not read: 1 picture"]


def cell(text: str, attributes: str = "") -> str:
    return f"<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>"


def test_opendocument_sheets() -> None:
    rows = f"<table:table-row>{cell('Name')}{cell('State')}</table:table-row>"
    rows += f"<table:table-row>{cell('Aurora')}{cell('ok', 'table:number-columns-repeated=' + chr(34) + '2' + chr(34))}</table:table-row>"
    rows += '<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    body = f'<table:table table:name="Pumps">{rows}</table:table><table:table table:name="None"/>'
    assert pages("a.ods", make_opendocument(body, "spreadsheet")) == [
        "Pumps\n\nName | State\nName: Aurora | State: ok | ok",
        "",
    ]


def test_opendocument_slides() -> None:
    box = "<draw:frame {}><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>"
    body = (
        f"<draw:page>{box.format('presentation:class=' + chr(34) + 'title' + chr(34), 'Plan')}{box.format('', 'one')}"
    )
    body += f"<presentation:notes>{box.format('', 'Slowly.')}</presentation:notes></draw:page>"
    body += "<draw:page><draw:g><draw:custom-shape><text:p>two</text:p></draw:custom-shape></draw:g></draw:page>"
    assert pages("a.odp", make_opendocument(body, "presentation")) == ["Plan\n\none\n\nSlowly.", "two"]


def test_opendocument_as_one_file_and_encrypted() -> None:
    flat = (
        '<?xml version="1.0"?><office:document xmlns:office="o" xmlns:text="t"><office:body><office:text><text:p>flat</text:p>'
        "</office:text></office:body></office:document>"
    )
    assert one("a.fodt", flat).text == "flat"
    manifest = "<manifest:manifest xmlns:manifest='m'><manifest:encryption-data/></manifest:manifest>"
    with pytest.raises(ReadError, match="encrypted"):
        parsed("a.odt", zipped({"META-INF/manifest.xml": manifest, "content.xml": b"\x00\x01"}))
    with pytest.raises(ReadError, match="holds no document"):
        parsed("a.odt", zipped({"hello": b"x"}))


def test_a_book_is_read_in_order_without_its_table_of_contents() -> None:
    contents = "<ol><li><a href='text/b.xhtml'>NAVIGATION</a></li></ol>"
    chapters = {"b": "<h1>One</h1><p>First &nbsp;<a id='x'/>words.</p>", "a": "<h1>Two</h1><header>Second.</header>"}
    document = one("a.epub", make_epub(chapters, "On herons", contents))
    assert (document.kind, document.title) == ("epub", "On herons")
    assert document.text == "One\n\nFirst words.\n\n\nTwo\n\nSecond."
    assert [h.text for h in document.headings if h.text] == ["One", "Two"]


def test_pages_of_pictures_and_missing_chapters_of_a_book_are_said() -> None:
    data = make_epub({"one": "<p>First.</p>", "two": "<img src='x.png'/>"})
    (_,), notes = parsed("a.epub", data)
    assert notes.warnings == ["1 of its pages hold no text (pictures)"]
    with pytest.raises(ReadError, match="list of its parts"):
        parsed("a.epub", zipped({"hello": b"x"}))
    with pytest.raises(NothingToRead, match="no text in it: only pictures"):
        parsed("a.epub", make_epub({"one": "<img src='x.png'/>"}))
