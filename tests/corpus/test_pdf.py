import pytest

from indexer.corpus.pdf.hyphens import mend
from indexer.corpus.pdf.pages import ranges
from indexer.errors import NothingToRead, ReadError
from tests.corpus.files import make_pdf, one, parsed
from tests.corpus.pdf_files import SCAN, annotation, make_form, make_objects, make_page, make_scans, stream, words


def test_text_and_where_its_pages_begin() -> None:
    document = one("a.pdf", make_pdf(["The first page", "", "The third"], title="Three pages"))
    assert (document.kind, document.title) == ("pdf", "Three pages")
    assert document.text == "The first page\n\n\n\nThe third"
    assert [document.text[start:][:5] for start in document.page_starts] == ["The f", "\n\nThe", "The t"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (make_pdf(["secret"], encrypted=True), "encrypted"),
        (make_pdf(["one", "two"])[:-400], "cut off"),
        (make_pdf(["one", "two"])[:-8], "cut off"),
        (make_pdf(["one", "two"])[:60], "cut off"),
        (make_pdf(["one"]) + b"9 0 obj\n<</A 1>>\nendobj\n10 0 obj\n<</B", "cut off"),
        (make_pdf(["", ""]), "OCR"),
        (b"hello", "not a PDF"),
        (b"%PDF-1.4\n%%EOF\n", "damaged"),
        (b"", "empty"),
    ],
    ids=["encrypted", "half", "end", "begin", "later version", "scanned", "text", "hollow", "empty"],
)
def test_bad_pdf_has_a_reason(data: bytes, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        parsed("a.pdf", data)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"\0" * 200_000),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n", b""),
        (b"x" * 5000, b"\n<!-- served by a proxy -->\n"),
        (b"\xef\xbb\xbf", b"\x1a" * 3),
    ],
    ids=["padding", "head", "both", "mark"],
)
def test_bytes_around_a_pdf_are_not_its_damage(before: bytes, after: bytes) -> None:
    document = one("a.pdf", before + make_pdf(["The first page", "The second"]) + after)
    assert document.text == "The first page\n\nThe second"


@pytest.mark.parametrize("appearances", [True, False])
def test_a_form_value_stands_behind_its_label(appearances: bool) -> None:
    assert one("a.pdf", make_form("Petrel", appearances)).text == "Name of vessel:\n\nName of vessel: Petrel"


def appearance(text: str) -> bytes:
    entries = b"/Type/XObject/Subtype/Form/BBox[0 0 300 20]/Resources<</Font<</F1 3 0 R>>>>"
    return stream(words((2, 5, text)), entries)


@pytest.mark.parametrize(
    ("kind", "entries", "shown"),
    [
        ("FreeText", "/Contents(new bilge alarm)/DA(/F1 11 Tf)", "new bilge alarm"),
        ("Text", "/Contents(ask the owner)", "ask the owner"),
        ("Highlight", "/Contents(too late)", "too late"),
        ("Stamp", "/AP<</N 7 0 R>>", "APPROVED"),
        ("Widget", "/FT/Ch/T(c)/TU(Port)/Opt[(Bergen)(Turku)]/V(Turku)", "Port: Turku"),
        ("Widget", "/FT/Tx/T(t)/TU(Keel)/V<FEFF006F0061006B>", "Keel: oak"),
        ("Widget", "/FT/Btn/T(b)/TU(Insured)/V/Yes/AS/Yes/AP<</N<</Yes 7 0 R/Off 7 0 R>>>>", "Insured: Yes"),
        ("Widget", "/FT/Btn/T(b)/TU(Insured)/AS/Off/AP<</N<</Yes 7 0 R/Off 7 0 R>>>>", None),
        ("Widget", "/FT/Tx/T(p)/Ff 8192/V(secret)", None),
        ("FreeText", "/F 2/Contents(hidden)", None),
        ("Popup", "/Contents(again)", None),
    ],
    ids=[
        "free text",
        "note",
        "highlight",
        "stamp",
        "choice",
        "UTF-16",
        "checked",
        "unchecked",
        "password",
        "hidden",
        "popup",
    ],
)
def test_notes_and_fields_as_a_viewer_shows_them(kind: str, entries: str, shown: str | None) -> None:
    drawn = (
        annotation(kind, entries, 500)
        if "/F 2" not in entries
        else annotation(kind, entries, 500).replace(b"/F 4", b"")
    )
    document = one("a.pdf", make_page(words((72, 720, "Permit")), [drawn, appearance("APPROVED")]))
    assert document.text == ("Permit" if shown is None else f"Permit\n\n{shown}")


def test_pages_without_text_are_named_and_blank_ones_are_not() -> None:
    pages = [words((72, 720, "Annual report")), SCAN, SCAN, b"", SCAN, b"10 10 m 200 200 l S"]
    (document,), notes = parsed("a.pdf", make_scans(pages))
    assert document.text.strip() == "Annual report"
    assert notes.warnings == ["pages 2-3, 5-6 hold no text: run it through OCR to search them"]
    assert notes.problems == []


@pytest.mark.parametrize(
    "stamps",
    [
        [(72, 770, "Ministry of Works 1"), (72, 770, "Ministry of Works 2"), (72, 770, "Ministry of Works 3")],
        [(300, 20, "Page 1"), (300, 20, "Page 2"), (300, 20, "Page 3")],
        [(250, 400, "COPY 1"), (250, 400, "COPY 2"), (250, 400, "COPY 3")],
    ],
    ids=["header", "number", "watermark"],
)
def test_a_scan_with_a_stamp_is_a_scan(stamps: list[tuple[float, float, str]]) -> None:
    _, notes = parsed("a.pdf", make_scans([SCAN + words(stamp) for stamp in stamps]))
    assert notes.warnings == [
        "pages 1-3 are pictures with no text but a header or stamp: run it through OCR to search them"
    ]


def test_a_scan_with_its_text_behind_it_is_read_wholly() -> None:
    lines = [(72.0, 600.0 - 14 * i, f"recognised words of the line {i} on this page") for i in range(20)]
    (document,), notes = parsed("a.pdf", make_scans([SCAN + words(*lines)]))
    assert "line 19" in document.text
    assert notes.warnings == []


def test_a_pdf_of_nothing_but_scans_is_skipped_with_what_to_do() -> None:
    with pytest.raises(NothingToRead, match=r"no text on any of its pages \(2\).*OCR"):
        parsed("a.pdf", make_scans([SCAN, SCAN]))


LEFT = [
    "the left column tells of a ship that was exam-",
    "ined by the harbour master in the spring of",
    "that year and found to be sound in all parts",
    "which was a surprise to everyone in the town",
    "because it had been laid up for many years",
    "without any care and nobody had looked at it",
]
RIGHT = [
    "while the right column speaks about the weather",
    "of the coast and of the winds that blow there",
    "in autumn when the fishing boats come home and",
    "the nets are hung to dry along the stone quay",
    "and children play between the barrels and the",
    "ropes until the lamps are lit in the evening",
]
TITLE = (50.0, 740.0, "A title that reaches over both columns of this page and is long enough to do so")


def place(x: float, lines: list[str]) -> list[tuple[float, float, str]]:
    return [(x, 700 - 14 * i, line) for i, line in enumerate(lines)]


@pytest.mark.parametrize("order", ["line by line", "left first", "right first"])
def test_two_columns_are_read_one_after_the_other(order: str) -> None:
    left, right = place(50, LEFT), place(320, RIGHT)
    placed = {
        "line by line": [word for pair in zip(left, right, strict=True) for word in pair],
        "left first": left + right,
        "right first": right + left,
    }[order]
    text = one("a.pdf", make_page(words(TITLE, *placed))).text
    joined = " ".join(text.split())
    assert joined == " ".join([TITLE[2], *LEFT, *RIGHT]).replace("exam- ined", "examined")


def test_three_columns() -> None:
    columns = [[line[:32] for line in lines] for lines in (LEFT[1:], RIGHT[1:], LEFT[:0:-1])]
    placed = [(40.0 + 185 * j, 700.0 - 14 * i, columns[j][i]) for i in range(5) for j in range(3)]
    text = one("a.pdf", make_page(words(*placed))).text
    assert [line.strip() for line in text.splitlines()] == [line.strip() for column in columns for line in column]


def test_the_rows_of_a_table_stay_together() -> None:
    rows = [
        (f"Row {i} name of a thing with words in it", f"{i}00 euros and a remark on that thing here") for i in range(8)
    ]
    placed = [cell for i, (a, b) in enumerate(rows) for cell in ((50.0, 700.0 - 14 * i, a), (320.0, 700.0 - 14 * i, b))]
    assert one("a.pdf", make_page(words(*placed))).text.splitlines() == [f"{a} {b}" for a, b in rows]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("an exam-\nple", "an example"),
        ("an exam\u2010\nple", "an example"),
        ("an exam\ufffe\nple", "an example"),
        ("an exam\x02ple", "an example"),
        ("soft\u00adhyphens in\u00ad\nside", "softhyphens inside"),
        ("a well-known way, the well-\nknown way", "a well-known way, the well-known way"),
        ("Marie-\nAnne and pages 10-\n12", "Marie-Anne and pages 10-12"),
        ("IN CAPI-\nTALS", "IN CAPITALS"),
        ("- a list\n- of two", "- a list\n- of two"),
    ],
)
def test_words_parted_at_the_end_of_a_line(text: str, right: str) -> None:
    assert mend([text]) == [right]


def test_a_compound_known_from_another_page_keeps_its_hyphen() -> None:
    assert mend(["a self-made boat", "the self-\nmade mast", "the sub-\nmarine"]) == [
        "a self-made boat",
        "the self-made mast",
        "the submarine",
    ]


@pytest.mark.parametrize(
    "title",
    [
        "Microsoft Word - draft.doc",
        "untitled",
        "i-xx_Ch4-fm.indd",
        "paper.dvi",
        "scan0001.pdf",
        "PowerPoint Presentation",
    ],
)
def test_a_scratch_files_name_is_no_title(title: str) -> None:
    assert one("a.pdf", make_pdf(["Otters at the weir."], title=title)).title is None


def attached(name: str, data: bytes) -> bytes:
    return make_objects(
        [
            b"<</Type/Catalog/Pages 2 0 R/Names<</EmbeddedFiles<</Names[(f) 6 0 R]>>>>>>",
            b"<</Type/Pages/Kids[4 0 R]/Count 1>>",
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
            b"<</Type/Page/Parent 2 0 R/Contents 5 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>>>",
            stream(words((72, 720, "Cover letter"))),
            f"<</Type/Filespec/F({name})/UF({name})/EF<</F 7 0 R>>>>".encode(),
            stream(data, b"/Type/EmbeddedFile"),
        ]
    )


def test_attached_files_are_documents_of_their_own() -> None:
    documents, notes = parsed("a.pdf", attached("list.txt", b"cormorant"))
    assert [(d.record, d.kind, d.text) for d in documents] == [
        (None, "pdf", "Cover letter"),
        ("list.txt", "text", "cormorant"),
    ]
    assert notes.warnings == []
    documents, notes = parsed("a.pdf", attached("photo.png", b"\x89PNG"))
    assert [d.text for d in documents] == ["Cover letter"]
    assert notes.warnings == ["not read: 1 attached file (photo.png)"]


def test_ranges() -> None:
    assert [ranges([3]), ranges([2, 3, 4, 9])] == ["page 3", "pages 2-4, 9"]
