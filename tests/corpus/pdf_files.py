"""PDF files made in the test, object by object."""

from __future__ import annotations

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
BOX = b"/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>%b>>"


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<<%b/Length %d>>stream\n%b\nendstream" % (entries, len(data), data)


def make_objects(objects: list[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of these objects; the first is the catalog."""
    out, offsets = bytearray(b"%PDF-1.5\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return bytes(
        out + b"trailer\n<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start)
    )


def words(*placed: tuple[float, float, str]) -> bytes:
    """A page's content: (x, y, text) in the order of the file."""
    return b"".join(b"BT /F1 10 Tf %g %g Td (%b) Tj ET\n" % (x, y, text.encode("latin-1")) for x, y, text in placed)


def make_page(content: bytes, annotations: list[bytes] | None = None, form: bytes = b"") -> bytes:
    """A PDF of one page with this content and these annotations; ``form`` are entries of its form."""
    kids = b" ".join(b"%d 0 R" % (6 + i) for i in range(len(annotations or [])))
    catalog = b"<</Type/Catalog/Pages 2 0 R%b>>"
    return make_objects(
        [
            catalog % (b"/AcroForm<<%b/Fields[%b]>>" % (form, kids) if annotations else b""),
            b"<</Type/Pages/Kids[4 0 R]/Count 1>>",
            FONT,
            b"<</Type/Page/Parent 2 0 R/Contents 5 0 R%b/Annots[%b]>>" % (BOX % b"", kids),
            stream(content),
            *(annotations or []),
        ]
    )


def annotation(kind: str, entries: str, top: int = 720) -> bytes:
    return f"<</Type/Annot/Subtype/{kind}/F 4/Rect[200 {top - 20} 500 {top}]/P 4 0 R{entries}>>".encode()


def make_form(value: str, appearances: bool = True) -> bytes:
    """A form with one field "Name of vessel:", filled."""
    field = annotation("Widget", f"/FT/Tx/T(v)/V({value})/DA(/F1 11 Tf)")
    need = b"" if appearances else b"/NeedAppearances true"
    return make_page(words((72, 705, "Name of vessel:")), [field], need)


def make_scans(pages: list[bytes]) -> bytes:
    """A PDF whose pages have these contents and may show a picture ``/Im``."""
    kids = b" ".join(b"%d 0 R" % (5 + 2 * i) for i in range(len(pages)))
    picture = stream(
        bytes(256), b"/Type/XObject/Subtype/Image/Width 16/Height 16/ColorSpace/DeviceGray/BitsPerComponent 8"
    )
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(pages)),
        FONT,
        picture,
    ]
    for i, page in enumerate(pages):
        resources = BOX % b"/XObject<</Im 4 0 R>>"
        objects.append(b"<</Type/Page/Parent 2 0 R/Contents %d 0 R%b>>" % (6 + 2 * i, resources))
        objects.append(stream(page))
    return make_objects(objects)


SCAN = b"q 612 0 0 792 0 0 cm /Im Do Q\n"
