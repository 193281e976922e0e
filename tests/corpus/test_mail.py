import gzip
import json
import mailbox
from email.message import EmailMessage
from pathlib import Path

import pytest

from indexer.errors import NothingToRead
from tests.corpus.files import make_pdf
from tests.corpus.readings import reading

LETTER = "The committee resolved that the lanterns shall be refurbished before the équinoxe at last.\n"


def mail(subject: str = "Réfection du môle", text: str = LETTER, cte: str | None = None) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Zoë Clerk <clerk@example.org>"
    message["To"] = "Board <board@example.org>"
    message["Date"] = "Mon, 02 Jan 2023 10:00:00 +0000"
    message["Subject"] = subject
    message.set_content(text, cte=cte)
    return message


@pytest.mark.parametrize("cte", ["quoted-printable", "base64", "8bit"])
@pytest.mark.parametrize("name", ["a.eml", "a.eml.gz", "1672653600.M1P2.host:2,S"])
def test_headers_and_bodies_are_decoded(cte: str, name: str) -> None:
    data = bytes(mail(cte=cte))
    (document,), notes = reading(name, gzip.compress(data) if name.endswith("gz") else data)
    assert (document.kind, document.title, document.record) == ("mail", "Réfection du môle", None)
    assert document.text.endswith("\n\n" + LETTER.strip())
    assert document.text.startswith("From: Zoë Clerk <clerk@example.org>\nTo: Board <board@example.org>\nDate: Mon, 02")
    assert document.fields["from"] == "Zoë Clerk <clerk@example.org>"
    assert notes.warnings == notes.problems == []


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1252", "utf-8", "iso-2022-jp", "koi8-r"])
def test_bodies_in_the_encoding_that_they_declare(charset: str) -> None:
    text = {"iso-2022-jp": "霧笛の日誌", "koi8-r": "Привет"}.get(charset, "Größe")
    head = f"Subject: x\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n\n"
    assert text in reading("a.eml", head.encode() + text.encode(charset))[0][0].text


def test_headers_with_bare_bytes_and_words_that_are_cut() -> None:
    data = b"Subject: R\xe9fection =?utf-8?q?du_m=C3=B4le?=\n =?utf-8?q?_et_plus?=\nFrom: a@b\n\nx"
    assert reading("a.eml", data)[0][0].title == "Réfection du môle et plus"


def test_attachments_are_documents_of_their_own() -> None:
    message = mail()
    message.add_attachment(b"id,text\n7,heron\n8,egret\n", maintype="text", subtype="csv", filename="birds.csv")
    message.add_attachment(make_pdf(["The charter"]), maintype="application", subtype="pdf", filename="Sætning.pdf")
    message.add_attachment(b"# Notes\n\nThe pawl.", maintype="application", subtype="octet-stream", filename="n.md")
    message.add_attachment(b"\x89PNG\0\1\2" * 400, maintype="image", subtype="png", filename="p.png")
    message.add_attachment(b"%PDF-1.4 broken", maintype="application", subtype="pdf", filename="bad.pdf")
    found, notes = reading("a.eml", bytes(message))
    assert [(d.record, d.kind) for d in found] == [
        (None, "mail"),
        ("birds.csv#7", "csv"),
        ("birds.csv#8", "csv"),
        ("Sætning.pdf", "pdf"),
        ("n.md", "markdown"),
    ]
    assert {d.path for d in found} == {"/a.eml"}
    assert found[3].text == "The charter"
    assert found[3].page_starts == (0,)
    assert [w.partition(":")[0] for w in notes.warnings] == [
        "attachment bad.pdf left out",
        "1 attachment without text",
    ]
    assert notes.problems == []


def test_a_mail_within_a_mail() -> None:
    outer = mail("Outer", "See below.")
    outer.add_attachment(mail("Inner", "The carillon was doubled."))
    found, _ = reading("a.eml", bytes(outer))
    assert [d.title for d in found] == ["Outer", "Inner"]
    assert "carillon" in found[1].text


def test_of_two_forms_of_one_text_one_is_read() -> None:
    message = mail(text="The harbourmaster is away until the tide turns.")
    message.add_alternative("<p>The <b>harbourmaster</b> is away until the tide turns.</p>", subtype="html")
    (document,), _ = reading("a.eml", bytes(message))
    assert document.text.count("harbourmaster") == 1
    message = mail(text="Your program shows no HTML.")
    message.add_alternative("<p>" + "The harbourmaster is away. " * 9 + "</p>", subtype="html")
    assert "harbourmaster" in reading("a.eml", bytes(message))[0][0].text
    page = mail()
    page.clear_content()
    page.set_content("<style>p {}</style><p>The caf&eacute; &amp; <i>quay</i></p>", subtype="html")
    assert reading("a.eml", bytes(page))[0][0].text.endswith("The café & quay")


@pytest.mark.parametrize("name", ["a.mbox", "Inbox", "a.mbox.gz"])
def test_a_mailbox(tmp_path: Path, name: str) -> None:
    box = mailbox.mbox(str(tmp_path / "box"))
    for number in range(3):
        box.add(
            mail(f"Letter {number}", f"From the quay no. {number}.\n\nFrom here on.\n", "base64" if number else "7bit")
        )
    box.flush()
    data = (tmp_path / "box").read_bytes()
    found, notes = reading(name, gzip.compress(data) if name.endswith("gz") else data)
    assert [(d.record, d.title) for d in found] == [("1", "Letter 0"), ("2", "Letter 1"), ("3", "Letter 2")]
    assert found[0].text.endswith("From the quay no. 0.\n\nFrom here on.")
    assert notes.problems == notes.warnings == []


def test_a_saved_page() -> None:
    data = (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary="x"\r\n\r\n'
        b'--x\r\nContent-Type: text/html; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
        b"<title>A page</title><p>The har=\r\nbourmaster caf=C3=A9.</p>\r\n"
        b"--x\r\nContent-Type: image/png\r\nContent-Location: http://x/p.png\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        b"iVBORw0KGgoAAAA=\r\n--x--\r\n"
    )
    (document,), notes = reading("page.mhtml", data)
    assert "harbourmaster café." in document.text
    assert document.title == "A page"
    assert notes.warnings == ["1 attachment without text: attachment 1"]


def test_an_eml_file_that_is_none() -> None:
    assert reading("a.eml", "Only some words.\nAnd more.")[0][0].text == "Only some words.\nAnd more."
    assert "no message here" in reading("a.mbox", "no message here\n")[0][0].text
    for empty in ("\n\n", "From a Mon Jan  2 10:00:00 2023\n\n"):
        with pytest.raises(NothingToRead):
            reading("a.mbox", empty)


CALENDAR = """BEGIN:VCALENDAR\r
BEGIN:VEVENT\r
UID:7@x\r
DTSTART:20240102T100000Z\r
SUMMARY:Meeting about the new breakwater and the light\r
 house lantern\\, again\r
DESCRIPTION;LANGUAGE=en:Bring oil.\\nAnd rags.\r
ATTENDEE;CN="Bob, Jr":mailto:bob@example.org\r
BEGIN:VALARM\r
ACTION:DISPLAY\r
END:VALARM\r
END:VEVENT\r
BEGIN:VTODO\r
SUMMARY:Grease the pawl\r
END:VTODO\r
END:VCALENDAR\r
"""


@pytest.mark.parametrize("name", ["a.ics", "a.ics.gz", "calendar"])
def test_calendars(name: str) -> None:
    data = CALENDAR.encode()
    found, notes = reading(name, gzip.compress(data) if name.endswith("gz") else data)
    assert [(d.record, d.title) for d in found] == [
        ("7@x", "Meeting about the new breakwater and the lighthouse lantern, again"),
        ("2", "Grease the pawl"),
    ]
    assert "Bring oil.\nAnd rags." in found[0].text
    assert "Attendee: Bob, Jr bob@example.org" in found[0].text
    assert found[0].fields["dtstart"] == "20240102T100000Z"
    assert found[0].line_start == 2
    assert notes.warnings == []


def test_address_books() -> None:
    data = (
        "BEGIN:VCARD\nVERSION:2.1\nN:Doe;Zo;;;\n"
        "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Zo=C3=AB=\n Doe\nORG:Quay;Docks\n"
        "NOTE:Knows\\, the tides\nPHOTO;ENCODING=b:AAAA\nEND:VCARD\nBEGIN:VCARD\nFN:Ann\nEND:VCARD\n"
    )
    found, _ = reading("a.vcf", data)
    assert [d.title for d in found] == ["Zoë Doe", "Ann"]
    assert "Knows, the tides" in found[0].text
    assert "Org: Quay, Docks" in found[0].text
    assert "AAAA" not in found[0].text


def test_mail_in_json_lines_is_not_mail() -> None:
    assert reading("a.jsonl", json.dumps({"Subject": "From: x"}))[0][0].kind == "jsonl"
