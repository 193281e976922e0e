"""What the page must bear: hostile files, long hits, a keyboard alone, a token, nothing relevant, a swap."""

from __future__ import annotations

import pytest

from semsearch.collection import Collection
from semsearch.encoders import EncoderOverrides
from tests.service.page.conftest import EVIL, NEEDED

if not NEEDED:
    pytest.importorskip("selenium")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.service.page.browser import Page


@pytest.fixture
def page(chrome, served) -> Page:
    return Page(chrome, served.port)


def test_html_in_titles_names_texts_and_questions_executes_nothing(page, shots):
    page.open(q=f"evil {EVIL}")
    hit = next(each for each in page.hits() if "An evil boat" in each.text)
    assert EVIL in hit.find_element("css selector", "h2").text
    assert f"evil {EVIL}.md" in hit.find_element("css selector", ".place").text
    assert "<script>window.evil=1</script>" in hit.text
    page.check()
    hit.find_element("css selector", "h2 a").click()
    page.until(lambda: "<script>" in page.one("#document .text").text)
    page.check()
    page.button("Close").click()
    page.button("✓ Right").click()
    page.told("Kept: hit 1 is right.")
    for view in ("map", "judged", "status"):
        page.one(f"nav a[data-view={view}]").click()
        page.until(lambda view=view: f"view={view}" in page.address and page.one("#told").text)
        page.check()
    assert not page.all("main img, main script")


def test_a_hit_of_ten_thousand_characters(page, shots):
    page.look(390, 844)
    page.open(q="sang the crew", collection="long")
    [hit] = page.hits()
    assert len(hit.find_element("css selector", ".passage").text) < 1_200
    shots(page.chrome, "long-1-cut")
    more = next(each for each in page.all("button") if each.text.startswith("Show all"))
    more.click()
    page.until(lambda: len(hit.find_element("css selector", ".passage").text) > 9_500)
    words = {each.text for each in page.all(".passage b")}
    assert words <= {"sang", "crew", "the", "The"}  # marks stay in place behind characters of two halves
    assert "sang" in words
    page.check()
    more.click()
    page.until(lambda: len(hit.find_element("css selector", ".passage").text) < 1_200)


def test_by_keyboard_alone(page, chrome):
    """From the question to a judgement and back from a document, without a pointer."""
    page.open()
    page.told("Ask in your own words")
    keys = ActionChains(chrome)

    def focused() -> str:
        return chrome.execute_script("const e = document.activeElement; return e.textContent.trim() || e.name || e.id")

    def tab_to(name: str, most: int = 40) -> None:
        for _ in range(most):
            if focused() == name:
                return
            keys.send_keys(Keys.TAB).perform()
        raise AssertionError(f"{name!r} was not reached; the focus is on {focused()!r}")

    assert chrome.switch_to.active_element.get_attribute("id") == "q"
    keys.send_keys("sailing boat", Keys.ENTER).perform()
    page.hits()
    tab_to("In context")
    keys.send_keys(Keys.ENTER).perform()
    page.one("#document .row.meant")
    keys.send_keys(Keys.ESCAPE).perform()
    page.until(lambda: "open=" not in page.address)
    assert focused() == "In context"  # the focus is where it was
    tab_to("✗ Wrong")
    keys.send_keys(Keys.SPACE).perform()
    page.told("Kept: hit 1 is wrong.")
    keys.send_keys(Keys.SPACE).perform()  # and again: taken back
    page.told("Taken back.")
    page.one("nav a[data-view=map]").send_keys(Keys.ENTER)
    canvas = page.one("canvas")
    canvas.send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: "line" in page.one(".under").text)
    canvas.send_keys(Keys.ENTER)
    page.one("#document .row.meant")


def test_a_link_is_an_answer(page, chrome):
    page.open(q="dough", mode="lexical", path="kitchen/**")
    assert ["Bread" in each.text for each in page.hits()] == [True]
    assert page.one("#q").get_attribute("value") == "dough"
    assert "path=kitchen/**" in page.one("#filtered").text
    page.ask("galaxy")
    page.told("Nothing found")  # in the kitchen
    page.one("main a").click()
    page.until(lambda: "path=" not in page.address)
    assert "galaxy" in page.hits()[0].text
    chrome.back()
    page.told("Nothing found")
    chrome.back()
    page.until(lambda: page.all(".hits article") and "dough" in page.one(".hits").text)
    assert page.one("#q").get_attribute("value") == "dough"


def test_nothing_relevant_is_said(page):
    page.open(q="qwertz uiopü asdfgh", sure="1")
    page.told("Nothing relevant")
    page.told("99% of random pairs")
    page.check()
    page.one("main a").click()
    page.hits()
    page.told("Nothing here is clearly about your question")


def test_why(page):
    page.open(q="sailing boat")
    first = page.hits()[0]
    first.find_element("css selector", ".more summary").click()
    page.until(lambda: "Words of the question that stand here: sailing, boat." in first.text)
    assert "of random pairs of passages" in first.text
    assert [each.text for each in first.find_elements("css selector", ".scores > span:first-child")] == ["meaning"]
    page.check()


def test_more_like_this_and_twins(page):
    page.open(q="lighthouse harbour")
    first = page.hits()[0]
    assert "Nearly the same in 1 other place" in first.text
    page.button("Nearly the same in 1 other place").click()
    assert sum("harbour.txt" in each.text for each in page.all(".twins li, .hits .place")) == 2
    page.button("More like this").click()
    page.told("More like")
    page.until(lambda: "like=" in page.address)
    assert not [each for each in page.all("button") if each.text == "✓ Right"]  # there is no question to answer
    page.check()


def test_other_collections(page, served):
    page.open(q="knight")
    page.hits()
    page.one("select[name=collection] option[value=other]").click()
    page.until(lambda: "collection=other" in page.address)
    page.until(lambda: "king and rook" in page.one("main").text)
    page.button("✓ Right").click()
    page.told("Kept")
    assert len(served.get("/v1/judgements?collection=other").json["judgements"]) == 1
    page.check()


def test_the_generation_that_answered_is_told_through_a_swap(page, home):
    page.open(q="sailing boat")
    page.hits()
    page.button("✓ Right").click()
    page.told("Kept")
    with Collection(home=home) as docs:
        before = docs.spec.fingerprint[:8]
        docs.reindex(EncoderOverrides(model="hash:128"))
        after = docs.spec.fingerprint[:8]
    page.open(q="sailing boat")
    page.hits()
    assert after in page.one("#told").text != before
    assert page.button("✓ Right").get_attribute("aria-pressed") == "true"  # the judgement came along


def test_what_the_server_refuses_is_said(page):
    page.open(q="boat", type="nonsense")
    page.told("nothing in this collection is of type 'nonsense'")
    page.open(q="boat", collection="gone")
    page.told("there is no collection 'gone'")
    page.open(view="map", collection="gone")
    page.told("there is no collection 'gone'")


def test_a_token_is_asked_for_and_kept_for_the_tab(chrome, start, shots):
    served = start(token="a-token-of-some-length")
    page = Page(chrome, served.port)
    page.open(q="sailing boat")
    page.told("This server asks for its token")
    field = page.one("#token-value")
    field.send_keys("wrong", Keys.ENTER)
    page.until(lambda: field.is_displayed() and field.get_attribute("value") == "")
    shots(chrome, "token")
    field.send_keys("a-token-of-some-length", Keys.ENTER)
    page.hits()
    chrome.refresh()
    page.hits()
    assert not page.one("main").find_elements("css selector", "dialog[open]")
    assert "a-token" not in chrome.current_url
    assert chrome.execute_script("return localStorage.length + document.cookie.length") == 0
    page.chrome.get_log("browser")  # 401 is logged by the browser itself
    assert served.ask("GET", "/page/main.js", headers={"authorization": ""}).status == 200
    assert served.ask("GET", "/v1/collections", headers={"authorization": ""}).status == 401


def test_passages_that_wait_are_shown(page, home, tmp_path):
    """A run that was stopped: what waits for vectors is told, and the page follows it to the end."""
    from indexer.types import Document, FileRecord, Parsed, ParsedDocument, Passage

    with Collection(home=home) as docs:
        text = "A turtle waits for its vector."
        document = Document("/new/turtle.txt", text, "text")
        passage = Passage(text, 0, len(text), 1, 1, 7)
        with docs.store.writer() as writer:
            writer.stage(
                Parsed(FileRecord("/new/turtle.txt", "/new", 1, 1, "x"), (ParsedDocument(document, (passage,)),))
            )
            writer.commit()
        page.open(view="status")
        page.told("1 of 17 passages wait for vectors")
        assert page.one("progress").get_attribute("max")
        page.check()
        docs.remove(["/new/turtle.txt"])
    page.told("Every passage has its vector.")


def test_another_question_on_the_map(page, chrome):
    """The hits that are lit are those of the question in the address, also where it was asked on the map."""
    page.open(q="sailing boat", view="map", mode="lexical")
    page.told("★ your question")
    page.one("#q").clear()
    page.one("#q").send_keys("galaxy", Keys.ENTER)
    page.until(lambda: "q=galaxy" in page.address and "view=map" in page.address)
    page.until(lambda: page.button("The map as a table").click() or "2 hits" in page.one("tbody").text)
    page.until(lambda: any("sky" in row.text and "2 hits" in row.text for row in page.all("tbody tr")))
    asked = chrome.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert any("map?query=galaxy" in each for each in asked)
    page.check()


def test_a_run_that_begins_while_the_status_is_shown(page, home, tmp_path):
    page.open(view="status")
    page.told("Every passage has its vector.")
    (tmp_path / "docs" / "sky" / "new.txt").write_text("A comet.")
    with Collection(home=home) as docs:
        docs.index(tmp_path / "docs")
    page.until(lambda: any(each.text == "9" for each in page.all(".figures dd")))
    page.open(q="comet", view="status")
    page.one("nav a[data-view=search]").click()
    page.hits()
    page.button("In context").click()
    page.one("#document .row.meant")


def test_only_the_pages_own_files_are_given_out(served):
    for path, status in {
        "/": 200, "/page/page.css": 200, "/page/main.js": 200, "/page/__init__.py": 404, "/page/": 404,
        "/page/../app.py": 404, "/page/%2e%2e/app.py": 404, "/page/axe.min.js": 404,
    }.items():  # fmt: skip
        assert served.get(path).status == status, path
    html = served.get("/")
    assert html.headers["content-type"] == "text/html; charset=utf-8"
    assert html.headers["content-security-policy"].startswith("default-src 'self'")
    text = html.data.decode() + served.get("/page/page.css").data.decode()
    assert "http:" not in text
    assert "https:" not in text
    assert " style=" not in text
    assert " onclick=" not in text
