import pytest

from indexer.errors import NothingToRead, ReadError
from tests.corpus.files import one, parsed
from tests.corpus.samples import PAGE


def text(body: str, name: str = "a.html") -> str:
    return one(name, f"<!doctype html><meta charset=utf-8><title>T</title><body>{body}").text


def test_the_content_in_paragraphs() -> None:
    document = one("a.html", PAGE)
    assert document.title == "Bees & honey"
    assert document.text == (
        "Bees\n\nThey dance in the sun.\nOften.\n\nfirst\nsecond\n\n\nHoney\n\nkind | color\nacacia | pale\n\na\n   b c"
    )
    assert [(document.text[h.start : h.end], h.level, h.text) for h in document.headings] == [
        ("Bees", 1, "Bees"),
        ("Honey", 2, "Honey"),
    ]


def test_the_main_part_is_preferred_unless_it_holds_little() -> None:
    page = "<body><div>menu</div><main><h1>T</h1>content<footer>note</footer></main><div>related</div>"
    document = one("a.htm", page)
    assert (document.title, document.text) == ("T", "T\n\ncontent\n\nnote")
    two = "<body><main><p>first tab of two</p></main><main><p>second tab of two</p></main><div>aside</div>"
    assert text(two) == "first tab of two\n\nsecond tab of two"
    beside = f"<main>Loading</main><div>{'real content ' * 20}</div>"
    assert text(beside).startswith("Loading\n\nreal content")
    teaser = f"<article>One teaser</article><div>{'real content ' * 20}</div>"
    assert "real content" in text(teaser)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("<h3><button>May a tandem ride along?</button></h3><p>Yes.</p>", "May a tandem ride along?\n\nYes."),
        ('<button aria-expanded="false" aria-controls="x">Tides</button><p>Low.</p>', "Tides\n\nLow."),
        ("<p>Run it</p><button>Copy</button>", "Run it"),
        ("<details><summary>More</summary><p>folded</p></details>", "More\n\nfolded"),
        ('<div hidden="until-found"><p>Soapstone</p></div>', "Soapstone"),
        ("<p>a</p><div hidden><p>DRAFT</p></div>", "a"),
        ('<p>a</p><div hidden=""><p>DRAFT</p></div>', "a"),
        ('<p>a</p><p style="color:red; DISPLAY : none">DRAFT</p><p style="visibility:hidden">X</p>', "a"),
        ('<p style="display:block">a</p>', "a"),
        ("<div role=tabpanel><p>apt</p></div><div role=tabpanel hidden><p>brew</p></div>", "apt\n\nbrew"),
        ('<a data-toggle="collapse" href="#c">Open</a><div id="c" style="display:none">inside</div>', "Open\n\ninside"),
        ('<button aria-controls="p1">Mac</button><div id="p1" hidden>brew</div>', "Mac\n\nbrew"),
        ("<dialog open><p>The gangway is closed.</p></dialog>", "The gangway is closed."),
        ("<p>a</p><dialog><p>never</p></dialog><div popover>never</div>", "a"),
        ('<x-n><template shadowrootmode="open"><p>Leap</p></template></x-n>', "Leap"),
        ("<p>a</p><template><p>ROW</p></template><script>s()</script><style>p{}</style><noscript>n</noscript>", "a"),
        ("<p>a<!-- comment --></p>", "a"),
        ("<textarea>the letter</textarea>", "the letter"),
        ("<p>a</p><select><option>Norway<option>Peru</select><input value=x>", "a"),
        ('<p>See <img src="h.png" alt="a heron"> there</p>', "See a heron there"),
        ("<svg><title>tip</title><defs><text>no</text></defs><text>Pump</text><text>Valve</text></svg>", "Pump\nValve"),
        ("<ruby>東<rp>(</rp><rt>とう</rt>京<rt>きょう</rt><rp>)</rp></ruby>へ", "東京(とうきょう)へ"),
        ("<p>soft&shy;hyphen</p>", "softhyphen"),
        ("<h2>Top <a class=headerlink href='#top'>¶</a></h2><p>a</p>", "Top\n\na"),
        ("<p aria-hidden=true>seen</p><span aria-hidden=true>icon</span>", "seen"),
        ("<table><tr><td><p>Aurora</p><td><div>weeps</div> glycol</table>", "Aurora | weeps glycol"),
        ("<table><tr><td><h2>Left</h2><p>one<td><p>two</table>", "Left\n\none\ntwo"),
        ("<pre>a\n   b</pre><xmp>x\n  y</xmp>", "a\n   b\n\nx\n  y"),
        ("<div role=heading aria-level=3>Named</div><p>a</p>", "Named\n\na"),
    ],
)
def test_what_a_browser_shows_or_unfolds(body: str, shown: str) -> None:
    assert text(body) == shown


@pytest.mark.parametrize(
    "furniture",
    [
        "<nav>Home</nav>",
        "<div role=navigation><a href=/>Home</a></div>",
        "<header>Site name</header>",
        "<footer>Imprint</footer>",
        '<div class="cookie-banner">We use cookies. <button>Accept all</button></div>',
        '<div id="onetrust-consent-sdk" role="dialog"><h2>Cookies</h2><p>We value you.</p><a href=#>OK</a></div>',
        '<div id="toc" class="toc"><h2>Contents</h2><ul><li><a href="#a">Alpha</a><li><a href="#b">Beta</a></ul></div>',
        '<ul><li><a href="#a">One</a><li><a href="#b">Two</a><ul><li><a href="#c">Three</a></ul></ul>',
        '<ul class="breadcrumb"><li><a href="/">Home</a><li><a href="/x">Docs</a></ul>',
        '<div class="sphinxsidebar"><a href="x.html">Next topic</a></div>',
        '<a class="skip-link" href="#main">Skip to content</a>',
    ],
)
def test_furniture_is_no_hit_unless_it_is_all_there_is(furniture: str) -> None:
    assert text(f"{furniture}<h1>Gulls</h1><p>They eat fish.</p>") == "Gulls\n\nThey eat fish."
    assert text(furniture).strip()


@pytest.mark.parametrize(
    "content",
    [
        '<div class="contents"><p>The chest held gold, a letter and a map of the island.</p></div>',
        "<header><h1>Gulls</h1><p>By the sea.</p></header>",
        "<article><header>Written at sea.</header><footer>Signed by the crew.</footer></article>",
        '<div class="cookie-recipe"><h1>Ginger cookies</h1><p>Flour and butter.</p><button>Print</button></div>',
        '<ol><li>The first note says a great deal about boats. <a href="#r1">↩</a></ol>',
        '<ul><li><a href="a.html">Tides</a><li><a href="b.html">Winds</a><li><a href="c.html">Fog</a></ul>',
    ],
)
def test_content_that_looks_like_furniture_stays(content: str) -> None:
    assert len(text(f"<p>Before.</p>{content}")) > len("Before.") + 10


@pytest.mark.parametrize(
    ("label", "codec", "words"),
    [
        ("gb2312", "gbk", "王喆在囧囧书店整理地图"),
        ("x-sjis", "cp932", "①㈱灯台の髙田さん"),
        ("Windows-31J", "cp932", "①㈱灯台の髙田さん"),
        ("euc-kr", "cp949", "똠방각하 등대"),
        ("ks_c_5601-1987", "cp949", "똠방각하"),
        ("us-ascii", "cp1252", "Don’t cross the café quay"),
        ("latin1", "cp1252", "“quote”"),
        ("iso-8859-9", "cp1254", "“ışık”"),
        ("tis-620", "cp874", "ช่างซ่อมนาฬิกา"),
        ("iso-2022-jp", "iso-2022-jp", "防波堤の修理"),
        ("big5", "big5hkscs", "香港嘅燈塔"),
        ("x-x-big5", "big5", "燈塔"),
        ("koi8-r", "koi8-r", "маяк"),
        ("x-cp1251", "cp1251", "маяк"),
        ("x-mac-cyrillic", "mac-cyrillic", "маяк"),
        ("utf-16", "utf-8", "phare éteint"),
        ("hz-gb-2312", "hz", "灯塔"),
        ("iso-8859-1", "utf-8", "châteaux d’eau"),
    ],
)
def test_charset_labels_as_browsers_take_them(label: str, codec: str, words: str) -> None:
    for head in (f'<meta charset="{label}">', f"<meta http-equiv=Content-Type content='text/html; charset={label}'>"):
        assert one("a.html", f"<html><head>{head}<title>T</title><body><p>{words}".encode(codec)).text == words
    declared = (
        f'<?xml version="1.0" encoding="{label}"?><html><head><title>T</title></head><body><p>{words}</p></body></html>'
    )
    assert one("a.xhtml", declared.encode(codec)).text == words


def test_a_charset_in_a_comment_declares_nothing() -> None:
    page = '<!-- <meta charset="gbk"> --><meta charset="windows-1252"><p>café</p>'
    assert one("a.html", page.encode("cp1252")).text == "café"


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_and_utf_16(codec: str) -> None:
    page = '<?xml version="1.0"?><html><head><meta charset="gbk"></head><body><p>château</p></body></html>'
    assert one("a.html", page.encode(codec)).text == "château"


def test_bytes_that_no_encoding_knows_are_counted() -> None:
    (document,), notes = parsed("a.html", b'<meta charset="gbk"><p>ok \xff\xff ok</p>')
    assert document.text == "ok \ufffd\ufffd ok"
    assert notes.warnings == ["2 characters do not fit its encoding (gbk)"]


@pytest.mark.parametrize(
    "element", ["<title/>", '<script src="a.js"/>', "<style/>", '<a id="x"/>', '<textarea cols="3" />']
)
@pytest.mark.parametrize("name", ["a.xhtml", "a.html"])
def test_self_closed_elements_of_xhtml_swallow_nothing(element: str, name: str) -> None:
    page = f'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><body>{element}<p>One<br/>two</p><div/><p>a</p></body></html>'
    assert one(name, page).text == "One\ntwo\n\na"


def test_character_data_sections_of_xhtml() -> None:
    page = (
        '<html xmlns="x"><script><![CDATA[ if (a < b) ]]></script><body><p>x <![CDATA[a < b & c]]> y</p></body></html>'
    )
    assert one("a.xhtml", page).text == "x a < b & c y"


@pytest.mark.parametrize("title", ["Untitled Document", "Document", "index.html", "", "New Page 1", "React App"])
def test_a_heading_beats_a_title_that_is_none(title: str) -> None:
    page = f"<title>{title}</title><body><h1>Gull care</h1><p>Feed gulls.</p>"
    assert one("a.html", page).title == "Gull care"


def test_the_title_of_a_drawing_is_not_the_pages() -> None:
    assert one("a.html", "<body><svg><title>icon</title></svg><h1>Gulls</h1><p>a</p>").title == "Gulls"


def test_nested_very_deeply() -> None:
    assert one("a.html", "<div>" * 5_000 + "deep" + "</div>" * 5_000).text == "deep"
    for tag in ("<div>", "<B>"):
        with pytest.raises(ReadError, match="open at once"):
            parsed("b.html", tag * 10_000_000)
    assert one("c.html", "<p>x<br><b>y</b>\n" * 30_000).text.count("x\ny") == 30_000
    assert "z" in one("d.html", "<table><tr><td>" * 3_000 + "z").text


def test_without_text() -> None:
    for page in ("<title>App</title><body><script>run()</script></body>", "<body></body>"):
        with pytest.raises(NothingToRead, match="no text"):
            parsed("a.html", page)
    with pytest.raises(NothingToRead, match="frames are files of their own"):
        parsed("a.html", "<frameset><frame src=a.html></frameset>")


def test_a_page_that_declares_nothing_is_read_as_browsers_do() -> None:
    (document,), notes = parsed("a.html", b"<html><body><p>vis-\xe0-vis</p><p>\xfd" + b"plain words " * 50)
    assert document.text.startswith("vis-à-vis")
    assert any("encoding" in warning or "guess" in warning for warning in notes.warnings)
