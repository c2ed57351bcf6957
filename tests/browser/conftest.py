"""A real Chromium, and in it the page of the ComfyUI that is tested."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from comfyui_server import Comfy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE = 120_000
"""Milliseconds; they only end what would never end by itself."""

COMPLAINTS = ".p-dialog, .p-toast-message-error, [data-testid=error-overlay], [data-testid=error-dialog]"
"""What the page shows when something is wrong."""


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Said here and not in a fixture, so that the summary says it once and not once for each test.
    if "browser" in getattr(item, "fixturenames", ()) and not importlib.util.find_spec("playwright"):
        pytest.skip("NOTHING WAS TESTED IN A BROWSER (tests/browser): run pip install -e '.[test]' to have playwright.")
    if "browser" in getattr(item, "fixturenames", ()) and not find_chromium():
        pytest.skip(
            "NOTHING WAS TESTED IN A BROWSER (tests/browser): there is no chromium, chromium-browser or google-chrome "
            "on the PATH. Install Chromium, for example by apt install chromium."
        )


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    arguments = [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=find_chromium(), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def language() -> str:
    """The page's language; a test may choose another by parameter."""
    return "en"


@pytest.fixture
def vue() -> bool:
    """Whether nodes are drawn as HTML ("Nodes 2.0") and not on the canvas; a test may choose by parameter."""
    return False


@pytest.fixture
def page(browser: "Browser", comfy: Comfy, language: str, vue: bool, tmp_path: Path) -> Iterator["Page"]:
    """ComfyUI's page, ready to work. At the end it must have had no error and show none."""
    settings = {"Comfy.TutorialCompleted": True, "Comfy.Locale": language, "Comfy.VueNodes.Enabled": vue}
    comfy.post("/settings", settings)
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(comfy.url)
    page.wait_for_function("window.app?.extensionManager?.workflow?.activeWorkflow")  # the last that it makes ready
    # The workflow that it opens by itself lacks models, and it finds that out later: when a test has opened its own.
    page.wait_for_load_state("networkidle")
    yield page
    page.screenshot(path=tmp_path / "end.png")
    shown = page.locator(COMPLAINTS).all_inner_texts()
    page.close()
    assert not errors
    assert not shown
