"""A browser for all tests of the page."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.report.browser import Page, running_browser
from tests.report.made_run import SAMPLES, write

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="session")
def browser(_folder: Path) -> Iterator[webdriver.Chrome]:
    with running_browser(_folder) as running:
        yield running


@pytest.fixture
def open_page(browser: webdriver.Chrome, _folder: Path) -> Open:
    """Return what opens a page from disk and waits until it is ready."""
    return lambda path, width=1400: Page(browser, path, _folder / "downloads", width)


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a run of two samples."""
    return write(tmp_path_factory.mktemp("run"), SAMPLES)


@pytest.fixture
def page(path: Path, open_page: Open) -> Page:
    return open_page(path)
