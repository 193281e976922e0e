"""Small files of office programs and books, made in the test from their bare parts."""

# ruff: noqa: E501 - markup reads better on one line

from __future__ import annotations

import io
import zipfile

import openpyxl

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
WORD = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    f'xmlns:r="{RELATION}" xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"'
)
SLIDE = (
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    f'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" xmlns:r="{RELATION}"'
)
OPENDOCUMENT = (
    " ".join(
        f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for prefix, name in (
            ("office", "office"),
            ("text", "text"),
            ("table", "table"),
            ("draw", "drawing"),
            ("presentation", "presentation"),
            ("style", "style"),
            ("svg", "svg-compatible"),
        )
    )
    + ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
)


def zipped(parts: dict[str, str | bytes]) -> bytes:
    """A zip file of these parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content, zipfile.ZIP_STORED if name == "mimetype" else None)
    return out.getvalue()


def relationships(*items: tuple[str, str, str]) -> str:
    """A part of relationships: (id, kind, target)."""
    lines = "".join(f'<Relationship Id="{i}" Type="{RELATION}/{kind}" Target="{t}"/>' for i, kind, t in items)
    return f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships">{lines}</Relationships>'


def run(text: str, properties: str = "") -> str:
    return f'<w:r>{f"<w:rPr>{properties}</w:rPr>" if properties else ""}<w:t xml:space="preserve">{text}</w:t></w:r>'


def para(*content: str, style: str = "", properties: str = "") -> str:
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    runs = "".join(part if part.startswith("<") else run(part) for part in content)
    return f"<w:p><w:pPr>{named}{properties}</w:pPr>{runs}</w:p>"


def row(*cells: str) -> str:
    return (
        "<w:tr>" + "".join(f"<w:tc>{cell if cell.startswith('<') else para(cell)}</w:tc>" for cell in cells) + "</w:tr>"
    )


def control(content: str, properties: str = "") -> str:
    return f"<w:sdt><w:sdtPr>{properties}</w:sdtPr><w:sdtContent>{content}</w:sdtContent></w:sdt>"


def make_word(
    body: str,
    parts: dict[str, str | bytes] | None = None,
    links: tuple[tuple[str, str, str], ...] = (),
    title: str | None = None,
) -> bytes:
    """A DOCX of bare parts: its body, further parts by name, relationships of the body."""
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": f'{HEAD}<Types xmlns="{PACKAGE}/content-types"/>',
        "_rels/.rels": relationships(("r1", "officeDocument", "word/document.xml")),
        "word/document.xml": f"{HEAD}<w:document {WORD}><w:body>{body}</w:body></w:document>",
        "word/_rels/document.xml.rels": relationships(*links),
        **(parts or {}),
    }
    if title is not None:
        files["docProps/core.xml"] = (
            f'{HEAD}<c xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></c>'
        )
    return zipped(files)


def word_part(name: str, content: str) -> str:
    """A part of a DOCX whose root element has this name."""
    return f"{HEAD}<w:{name} {WORD}>{content}</w:{name}>"


def shape(*lines: str, placeholder: str = "", alternative: str = "") -> str:
    """A shape of a slide."""
    kind = f'<p:ph type="{placeholder}"/>' if placeholder else ""
    text = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in lines)
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="1" name="x" descr="{alternative}"/><p:nvPr>{kind}</p:nvPr></p:nvSpPr>'
        f"<p:txBody>{text}</p:txBody></p:sp>"
    )


def make_slides(slides: list[str], notes: dict[int, str] | None = None, media: int = 0) -> bytes:
    """A PPTX whose slides hold these shapes; speaker notes by slide number from 0."""
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": f'{HEAD}<Types xmlns="{PACKAGE}/content-types"/>',
        "_rels/.rels": relationships(("r1", "officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f"{HEAD}<p:presentation {SLIDE}><p:sldIdLst>"
        + "".join(f'<p:sldId id="{300 + i}" r:id="s{i}"/>' for i in range(len(slides)))
        + "</p:sldIdLst></p:presentation>",
        # the parts' numbers run against the order of the show
        "ppt/_rels/presentation.xml.rels": relationships(
            *((f"s{i}", "slide", f"slides/slide{len(slides) - i}.xml") for i in range(len(slides)))
        ),
    }
    for i, content in enumerate(slides):
        number = len(slides) - i
        pictures = '<p:pic><p:nvPicPr><p:cNvPr id="9" name="i" descr="A lighthouse"/></p:nvPicPr></p:pic>' * media
        files[f"ppt/slides/slide{number}.xml"] = (
            f"{HEAD}<p:sld {SLIDE}><p:cSld><p:spTree>{content}{pictures}</p:spTree></p:cSld></p:sld>"
        )
        if notes and i in notes:
            files[f"ppt/slides/_rels/slide{number}.xml.rels"] = relationships(
                ("n", "notesSlide", f"../notesSlides/notesSlide{number}.xml")
            )
            files[f"ppt/notesSlides/notesSlide{number}.xml"] = (
                f"{HEAD}<p:notes {SLIDE}>{shape(notes[i], placeholder='body')}{shape('7', placeholder='sldNum')}</p:notes>"
            )
    return zipped(files)


def make_book(sheets: dict[str, list[list[object]]]) -> bytes:
    """An XLSX of these sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for values in rows:
            sheet.append(values)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def make_opendocument(body: str, kind: str = "text", styles: str = "", title: str = "") -> bytes:
    """An OpenDocument file: the content of ``office:text``, ``office:spreadsheet`` or ``office:presentation``."""
    return zipped(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": f"{HEAD}<office:document-content {OPENDOCUMENT}><office:body><office:{kind}>{body}"
            f"</office:{kind}></office:body></office:document-content>",
            "styles.xml": f"{HEAD}<office:document-styles {OPENDOCUMENT}><office:master-styles>{styles}"
            "</office:master-styles></office:document-styles>",
            "meta.xml": f"{HEAD}<office:document-meta {OPENDOCUMENT}><dc:title>{title}</dc:title></office:document-meta>",
        }
    )


def make_epub(chapters: dict[str, str], title: str = "", contents: str = "") -> bytes:
    """An EPUB of these chapters (name → body), in this order; ``contents`` is its navigation page."""
    items = "".join(
        f'<item id="c{i}" href="text/{name}.xhtml" media-type="application/xhtml+xml"/>'
        for i, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    page = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
            "OPS/book.opf": f'<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>{title}</dc:title>'
            f'</metadata><manifest>{items}<item id="n" href="nav.xhtml" properties="nav" '
            f'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="n"/>{spine}</spine></package>',
            "OPS/nav.xhtml": page.format(f'<nav epub:type="toc">{contents}</nav>'),
            **{f"OPS/text/{name}.xhtml": HEAD + page.format(body) for name, body in chapters.items()},
        }
    )
