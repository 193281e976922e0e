import csv
import io

import pytest

from indexer.corpus.records.tables import choose
from tests.corpus.readings import reading, texts

PRICES = [["Name", "Price", "Note", "Date"]] + [
    [f"Item {i}", f"{i},50", f"a note, number {i}; see", f"2024-0{i % 9 + 1}-11"] for i in range(12)
]
PROSE = [["id", "text"]] + [[str(i), f"the fox no. {i} jumps over"] for i in range(5)]
STOCK = [["sku", "qty"]] + [[f"A{i}", str(i * 3)] for i in range(6)]
WIDE = [[*"abcdef"]] + [[str(i * j) for j in range(6)] for i in range(4)]
FEW = [["Ticket", "Problem"], ["7", "badge reader beeps"], ["8", "fan roars"]]
QUOTES = [["id", "text"], ["1", 'he said "no", then'], ["2", '5" disk'], ["3", "z"]]
BANK = "Account statement\nHolder: Jane Doe\nIBAN: XX00\n\n"


def written(rows: list[list[str]], delimiter: str, before: str = "", **how: object) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, **how).writerows(rows)  # type: ignore[arg-type]
    return before + out.getvalue()


CASES = [(rows, d, "", {}) for rows in (PRICES, PROSE, STOCK, WIDE, FEW) for d in ",;\t|^"]
for d in ",;":
    CASES += [
        (PRICES, d, BANK, {}),
        ([*FEW, ["9", "x y"]], d, f"Report{d}\nExported 2024-01-01{d}\n\n", {}),
        (STOCK, d, "Stock list\n", {}),
        (PRICES, d, "", {"quoting": csv.QUOTE_ALL}),
        (PROSE, d, "", {"quotechar": "'", "quoting": csv.QUOTE_ALL}),
        (QUOTES, d, "", {"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL}),
    ]
CASES += [
    ([["id", "text"], ["1", "two\nlines; here"], ["2", "x\n\ny"], ["3", "z"]], ",", "", {}),
    ([["time", "msg"]] + [[f"10:2{i}:33", "started: now"] for i in range(5)], ",", "", {}),
    ([["url", "n"]] + [[f"https://x.org/{i}?a=b", str(i)] for i in range(5)], "|", "", {}),
]


@pytest.mark.parametrize(("rows", "delimiter", "before", "how"), CASES)
def test_the_form_of_a_table_is_recognised(rows: list, delimiter: str, before: str, how: dict) -> None:
    text = written(rows, delimiter, before, **how)
    lines = text.splitlines(keepends=True)
    form = choose(lines, "csv")
    assert form.delimiter == delimiter
    read = csv.reader(
        lines[form.first - 1 :],
        delimiter=form.delimiter,
        quotechar=form.quote,
        escapechar=form.escape,
        doublequote=form.escape is None,
    )
    assert [row for row in read if row] == rows


@pytest.mark.parametrize("delimiter", [";", "|", "^", ",", "\t", "~", "#", "*", "§"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_may_name_the_delimiter(delimiter: str, end: str) -> None:
    said = f'"sep={delimiter}"' if delimiter == "#" else f"sep={delimiter}"
    lines = [said, *(delimiter.join(row) for row in FEW)]
    found, notes = reading("a.csv", end.join(lines) + end)
    assert [(d.fields, d.record, d.line_start) for d in found] == [
        ({"Ticket": "7", "Problem": "badge reader beeps"}, "1", 3),
        ({"Ticket": "8", "Problem": "fan roars"}, "2", 4),
    ]
    assert notes.problems == notes.warnings == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32"])
def test_decimal_commas_in_every_encoding(encoding: str) -> None:
    text = "Größe;Preis;Ort\r\n7;3,50;Köln über Nacht\r\n8;2,20;Zürich\r\n9;12,00;Görlitz\r\n"
    found, _ = reading("a.csv", text.encode(encoding))
    assert [d.fields["Preis"] for d in found] == ["3,50", "2,20", "12,00"]
    assert found[0].text == "7\n3,50\nKöln über Nacht"


def test_text_before_the_table_is_found_and_is_no_record_of_it() -> None:
    found, _ = reading("a.csv", written(PRICES, ";", BANK))
    assert (found[0].record, found[0].text) == ("preamble", "Account statement\nHolder: Jane Doe\nIBAN: XX00")
    assert [d.record for d in found[1:4]] == ["1", "2", "3"]
    assert found[1].fields["Price"] == "0,50"
    assert found[1].line_start == 6


def test_ragged_rows_keep_all_their_cells() -> None:
    found, notes = reading("a.csv", "id,title,text\n1,T,one,and more\n2,U\n3,V,three,,\n,,\n4,W,four\n")
    assert [d.text for d in found] == ["T\none\nand more", "U", "V\nthree", "W\nfour"]
    assert notes.warnings == ["line 2: 4 cells, more than the header's 3: kept as column 4"]
    assert notes.problems == []


def test_rows_without_a_line_of_names() -> None:
    found, notes = reading("a.csv", "17,heron at dawn,3.5\n18,egret at dusk,2.5\n19,stork,1\n")
    assert [d.fields["column 2"] for d in found] == ["heron at dawn", "egret at dusk", "stork"]
    assert "names no columns" in notes.warnings[0]
    years = reading("b.csv", "Country,2019,2020\nFrance,17,18\nSpain,19,20\n")[0]
    assert years[0].fields == {"Country": "France", "2019": "17", "2020": "18"}


def test_one_column_is_not_cut() -> None:
    assert texts("a.csv", "text\none; two\nthree; four\nfive; six\nseven; eight\n")[0] == "one; two"
    assert texts("b.csv", "notes\nsome words, and more\nothers\n")[0].split() == "some words, and more".split()


@pytest.mark.parametrize(
    "head", ["ID,Title,Text", "Id,TITLE,text", '"ID","Title","Text"', "\ufeffID, Title , Text", "_ID,title,TEXT"]
)
def test_names_of_columns_in_any_case(head: str) -> None:
    (document,), _ = reading("a.csv", head + "\n77,The Sea,heron at dawn\n")
    assert (document.record, document.title, document.text) == ("77", "The Sea", "The Sea\nheron at dawn")


def test_a_repeated_header_is_no_record() -> None:
    assert len(texts("a.csv", "a,b\n1,x y\na,b\n2,z w\n")) == 2


def test_a_tsv_file_with_semicolons() -> None:
    assert reading("a.tsv", "Ticket;Problem\n7;beeps\n8;roars\n")[0][0].fields["Ticket"] == "7"
