"""What a person does in the browser, in few words; and what must never happen there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")


class Page:
    """The page in a browser."""

    def __init__(self, chrome: Chrome, port: int):
        """Watch a server's page; what an earlier test left in the browser goes."""
        self.chrome, self.port = chrome, port
        chrome.get("about:blank")
        self.look()
        chrome.get_log("browser")

    def look(self, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        """Look at it on a screen of this size, by day or night."""
        self.chrome.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})

    def open(self, **state: str) -> None:
        self.chrome.get(f"http://127.0.0.1:{self.port}/" + (f"?{urlencode(state)}" if state else ""))

    @property
    def address(self) -> str:
        return self.chrome.current_url.partition(f":{self.port}")[2]

    def all(self, selector: str) -> list[WebElement]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """Return the first shown element of a selector, once there is one."""
        return self.until(lambda: next((each for each in self.all(selector) if each.is_displayed()), None))

    def until(self, found: Any, seconds: float = 20) -> Any:
        redrawn = (StaleElementReferenceException,)
        return WebDriverWait(self.chrome, seconds, 0.05, redrawn).until(lambda _: found())

    def told(self, text: str) -> None:
        """Wait until the page says a text."""
        self.until(lambda: text in self.one("body").text)

    def button(self, name: str, within: str = "body") -> WebElement:
        return self.until(
            lambda: next((b for b in self.all(f"{within} button, {within} summary") if b.text.strip() == name), None)
        )

    def ask(self, text: str) -> None:
        """Type a query and wait for the answer."""
        field = self.one("#q")
        field.clear()
        field.send_keys(text, Keys.ENTER)
        self.until(lambda: urlencode({"q": text}) in self.address and " in " in self.one("#told").text)

    def search(self, text: str) -> list[WebElement]:
        """Type a query and return the hits, with their scores."""
        self.ask(text)
        return self.hits()

    def hits(self) -> list[WebElement]:
        self.one(".hits article")
        self.one(".hits .scores")
        return self.all(".hits article")

    def check(self) -> None:
        """Assert that nothing was complained of, nothing scrolls sideways and assistive technology finds its way."""
        logged = [each for each in self.chrome.get_log("browser") if each["level"] in ("SEVERE", "WARNING")]
        assert not logged, logged
        assert self.chrome.execute_script("return window.evil") is None
        wide, room = self.chrome.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= room, f"the page is {wide} wide on a screen of {room}"
        self.chrome.execute_script(AXE)
        found = self.chrome.execute_async_script(
            "axe.run({resultTypes: ['violations']}).then(arguments[0], error => arguments[0]({error: String(error)}))"
        )
        assert "error" not in found, found
        bad = [
            (each["id"], each["impact"], [node["html"][:160] for node in each["nodes"]], each["help"])
            for each in found["violations"]
        ]
        assert not bad, bad
