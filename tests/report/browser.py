"""Chromium without a screen, driven by selenium."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    # A window that nobody sees would be left undrawn for minutes on a busy machine.
    *("--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
SECONDS = 600  # that a page may take on a busy machine


@contextmanager
def running_browser(folder: Path) -> Iterator[webdriver.Chrome]:
    """Yield a browser; tests that have none are skipped and say so.

    Args:
        folder: for what is downloaded.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in FLAGS:
        options.add_argument(flag)
    downloads = {"download.default_directory": str(folder / "downloads")}
    downloads |= {"profile.default_content_setting_values.automatic_downloads": 1}  # several from one page
    options.add_experimental_option("prefs", downloads)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    chrome.set_script_timeout(SECONDS)
    chrome.set_page_load_timeout(SECONDS)
    try:
        yield chrome
    finally:
        chrome.quit()


class Page:
    """A page as a test sees it."""

    def __init__(self, browser: webdriver.Chrome, path: Path, downloads: Path, width: int = 1400) -> None:
        self.browser, self.downloads = browser, downloads
        browser.set_window_size(width, 1000)
        browser.get_log("browser")
        browser.get(path.absolute().as_uri())
        self.wait("document.body.dataset.ready")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < deadline, f"{condition}: {self.problems()}"
            time.sleep(0.05)

    def problems(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def set(self, selector: str, value: str | float) -> None:
        """Type a value, as far as a page can tell."""
        script = """const field = document.querySelector(arguments[0]); field.focus(); field.value = arguments[1];
            for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));"""
        self.run(script, selector, str(value))

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).click()", selector)

    def download(self, selector: str) -> Path:
        """Click, and return the file that comes of it."""
        before = set(self.downloads.glob("*"))
        self.click(selector)
        deadline = time.monotonic() + SECONDS
        while True:
            new = [
                path
                for path in set(self.downloads.glob("[!.]*")) - before  # Chromium's own begin with a dot
                if path.suffix not in (".crdownload", ".tmp") and path.stat().st_size  # an empty one keeps the name
            ]
            if new:
                return new[0]
            assert time.monotonic() < deadline, "nothing was downloaded"
            time.sleep(0.05)
