"""A browser without a window, and a server over a collection that has everything the page must show."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from semsearch.collection import Collection
from semsearch.encoders import EncoderOverrides
from tests.service.conftest import Served, Start, make, write

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

REQUIRED = "SEMSEARCH_BROWSER_TESTS"
"""Set to 1 where these tests must run: a missing browser is a failure then."""
NEEDED, SHOTS = os.environ.get(REQUIRED) == "1", os.environ.get("SEMSEARCH_SCREENSHOTS")
"""Read now: no test keeps settings of the person who runs it."""
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
WIDTHS = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1440, 900)}

EVIL = "<img src=x onerror=window.evil=1>"
HOSTILE = {
    f"evil {EVIL}.md": f"# {EVIL}\n\nAn evil boat, {EVIL}, has <script>window.evil=1</script> on board.\n",
}
LONG = "The long voyage of the boat began in spring. " + "Waves came and went \U0001f30a and the crew sang. " * 240
SAME = "A sailing boat crosses the bay in the evening, and the lighthouse shows it the way into the harbour.\n"
DOCS = {
    "sea/boats.md": "# Boats\n\n" + "\n".join(f"Line {n} of the log says nothing." for n in range(80))
    + "\n\nA sailing boat crosses the bay. It is late, and the wind turns.\n\n"
    + "\n".join(f"Later line {n} of the log." for n in range(40)) + "\n",
    "sea/harbour.txt": SAME,
    "sea/copy-of-harbour.txt": SAME,
    "kitchen/bread.md": "# Bread\n\nKnead the dough. Let it rise until it is twice as large.\n",
    "kitchen/soup.md": "# Soup\n\nBoil the bones for the whole afternoon, then skim.\n",
    "sky/stars.txt": "The telescope shows a distant galaxy.\n",
    "sky/rows.csv": "id,text\nm31,Andromeda is a galaxy\nm42,Orion is a nebula\n",
}  # fmt: skip


def browser_missing() -> str | None:
    """Return what a browser lacks here; None: nothing."""
    try:
        import selenium  # noqa: F401
    except ModuleNotFoundError:
        return "selenium is not installed: pip install 'semsearch[test]'"
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        return "Chromium is not installed: apt-get install chromium chromium-driver"
    return None


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all tests, with a folder of its own."""
    if missing := browser_missing():
        if NEEDED:
            pytest.fail(f"{REQUIRED} is 1, and {missing}")
        pytest.skip(missing)
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(shutil.which("chromedriver")))
    driver.set_page_load_timeout(60)
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home: ``default`` has hostile names, twins and a file that failed, ``long`` a hit of 10,000 characters."""
    home, docs = tmp_path / "home", tmp_path / "docs"
    for name, text in {**DOCS, **{f"sea/{name}": text for name, text in HOSTILE.items()}}.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text)
    (docs / "sky" / "torn.pdf").write_bytes(b"%PDF-1.4 torn")
    with Collection("default", create=True, home=home, encoder=EncoderOverrides(model="hash:256")) as made:
        made.index(docs)
    long = write(tmp_path / "long", {"voyage.txt": LONG})
    with Collection("long", create=True, home=home, encoder=EncoderOverrides(model="hash:64", max_tokens=4096)) as made:
        made.index(long, passage_tokens=4096)
    make(home, "other", write(tmp_path / "more", {"chess.txt": "The knight forks king and rook.\n"}))
    return home


@pytest.fixture
def served(start: Start) -> Served:
    return start()


@pytest.fixture
def shots() -> Callable[[Chrome, str], None]:
    """Save what the browser shows, where a folder for it is named."""

    def shoot(driver: Chrome, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            driver.save_screenshot(str(Path(SHOTS) / f"{name}.png"))

    return shoot
