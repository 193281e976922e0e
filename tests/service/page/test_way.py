"""A person's whole way through the page, at three widths, by day and night."""

from __future__ import annotations

import pytest

from semsearch.collection import Collection
from tests.service.page.conftest import NEEDED, WIDTHS

if not NEEDED:
    pytest.importorskip("selenium")

from selenium.webdriver.support.ui import Select

from tests.service.page.browser import Page


@pytest.mark.parametrize("dark", [False, True], ids=["day", "night"])
@pytest.mark.parametrize("width", WIDTHS)
def test_search_filter_open_judge_map(chrome, served, home, shots, width, dark):
    page = Page(chrome, served.port)
    page.look(*WIDTHS[width], dark=dark)
    name = f"{width}-{'night' if dark else 'day'}"

    page.open()
    page.told("Ask in your own words")
    shots(chrome, f"{name}-1-welcome")
    page.check()

    hits = page.search("sailing boat in the bay")
    assert "bay" in hits[0].text
    assert page.all(".hits mark")
    assert {each.text.lower() for each in page.all(".hits b")} >= {"sailing", "boat"}
    assert "generation" in page.one("#told").text
    shots(chrome, f"{name}-2-hits")
    page.check()

    page.one("#filters summary").click()
    Select(page.one("select[name=type]")).select_by_value("markdown")
    page.until(lambda: "type=markdown" in page.address)
    page.until(lambda: all(".md" in each.text for each in page.all(".hits .place")[:1]))
    hits = page.hits()
    assert all(".md" in each.text for each in hits)
    shots(chrome, f"{name}-3-filtered")
    page.check()

    wanted = next(each for each in hits if "boats.md" in each.text)
    page.button("In context").click() if wanted == hits[0] else wanted.find_element("css selector", "h2 a").click()
    meant = page.one("#document .row.meant")
    page.until(lambda: "sailing boat" in page.one("#document .text").text)
    shown = chrome.execute_script(
        "const a = arguments[0].getBoundingClientRect(), b = document.querySelector('#document .text')"
        ".getBoundingClientRect(); return a.top >= b.top - 1 && a.top <= b.bottom", meant)  # fmt: skip
    assert shown
    assert "open=" in page.address
    shots(chrome, f"{name}-4-document")
    page.check()
    page.button("Close").click()
    page.until(lambda: "open=" not in page.address)

    right = page.button("✓ Right")
    right.click()
    page.until(lambda: right.get_attribute("aria-pressed") == "true")
    page.told("Kept: hit 1 is right.")
    with Collection(home=home) as docs:
        [said] = docs.judgements()
        assert (said.query, said.grade, said.encoder) == ("sailing boat in the bay", 1, docs.spec.fingerprint)
    page.check()

    page.one("nav a[data-view=judged]").click()
    page.told("nDCG@10 over 1 judged question")
    page.until(lambda: len(page.all(".figures dd")) == 3)
    shots(chrome, f"{name}-5-judged")
    page.check()

    page.one("nav a[data-view=map]").click()
    page.one("canvas")
    page.told("★ your question")
    assert chrome.execute_script(
        "const c = document.querySelector('canvas'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height)"
        ".data; let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n > 100"
    )
    shots(chrome, f"{name}-6-map")
    page.check()
    page.button("The map as a table").click()
    assert {"sea", "kitchen", "sky"} <= {each.text.strip() for each in page.all("tbody th")}
    page.check()

    page.one("nav a[data-view=status]").click()
    page.told("torn.pdf")
    page.told("Every passage has its vector.")
    shots(chrome, f"{name}-7-status")
    page.check()

    for view, what in (("map", "★ your question"), ("judged", "nDCG@10 over 1 judged question")):
        chrome.back()  # the way that was come
        page.until(lambda view=view: f"view={view}" in page.address)
        page.told(what)
    chrome.forward()
    page.told("★ your question")
    page.check()
