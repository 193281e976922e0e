import pytest

from indexer.corpus.titles import best, usable


@pytest.mark.parametrize(
    "title",
    [
        *(
            "Microsoft Word - draft.doc",
            "Microsoft Word",
            "Microsoft PowerPoint - Talk_v2.ppt",
            "PowerPoint Presentation",
        ),
        *(
            "untitled",
            "Untitled-1",
            "[untitled]",
            "Untitled Document",
            "Unbenannt",
            "Sans titre 2",
            "无标题",
            "無題ドキュメント",
        ),
        *("Document1", "Doc1", "Dokument 3", "Presentation2", "Book1", "Word Document", "New Document (2)", "Slide 1"),
        *("i-xx_Ch4-fm.indd", "paper.dvi", "scan0001.pdf", "x.qxd", "Annual report.docx", "C:\\Users\\a\\b.doc"),
        *("file:///tmp/a.html", "IMG_1234", "DSC00012", "20190301123000", "Full page fax print", "React App"),
        *("", " ", "-", "\ufffd\ufffd\ufffd", "{8C7A9F42-1B2C-4D5E-8F90-AABBCCDDEEFF}", "null", "Title goes here"),
    ],
)
def test_names_that_say_nothing(title: str) -> None:
    assert usable(title) is None


@pytest.mark.parametrize(
    "title",
    [
        *("Otters at the weir", "Node.js", "ASP.NET Core", "1984", "Catch-22", "Index of birds", "Book of hours"),
        *("Document retrieval", "A test of titles", "Word order in Welsh", "Print culture", "C++", "Pages - a manual"),
        *("Untitled: a novel", "The scan line", "New York", "Draft treaty on fish", "灯台の歴史"),
    ],
)
def test_titles_that_look_a_little_like_them(title: str) -> None:
    assert usable(title) == title


def test_a_program_before_a_title_goes() -> None:
    assert usable("Microsoft Word - Annual report 2019") == "Annual report 2019"
    assert best((None, "untitled", " Gull\n care ", "x")) == "Gull care"
