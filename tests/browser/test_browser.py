"""ComfyUI's own page in a real Chromium: what a person does with the templates, and what they see."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comfyui_server import PACK, ROOT, Comfy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SECONDS = 1000
PATIENCE = 120 * SECONDS
"""Only ends what would never end by itself."""

TEMPLATES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))

IMAGES = """type => {
    const images = window.app.graph.nodes.find(node => node.type === type)?.imgs ?? []
    return images.filter(image => image.complete && image.naturalWidth > 0).map(image => image.src)
}"""
"""JavaScript: the addresses of the pictures that a node shows."""


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")]
    chromium = next(filter(None, found), None)
    if chromium is None:
        pytest.skip(
            "SKIPPED ALL TESTS IN A BROWSER (tests/browser): there is no chromium, chromium-browser or google-chrome on "
            "the PATH. Install Chromium, for example with apt install chromium."
        )
    playwright = pytest.importorskip(
        "playwright.sync_api",
        reason="SKIPPED ALL TESTS IN A BROWSER (tests/browser): playwright is missing. Run pip install -e '.[test]'.",
    )
    arguments = [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser", comfy: Comfy, tmp_path: Path) -> Iterator["Page"]:
    """ComfyUI's page, ready to work. Fails where the page had an error or shows one."""
    comfy.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.Locale": "en"})
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    open_frontend(page, comfy)
    yield page
    page.screenshot(path=tmp_path / "end.png")
    shown = page.locator(".p-dialog, .p-toast-message-error").all_inner_texts()
    page.close()
    assert not errors
    assert not shown


def open_frontend(page: "Page", comfy: Comfy) -> None:
    page.goto(comfy.url)
    page.wait_for_function("window.app && window.app.graph && window.app.extensionManager")


def open_template(page: "Page", name: str) -> None:
    """By hand: Templates, our category, the card."""
    open_category(page)
    page.get_by_test_id(f"template-workflow-{name}").click()
    page.wait_for_function("type => window.app.graph.nodes.some(node => node.type === type)", arg=a_node_of(name))


def open_category(page: "Page") -> None:
    page.get_by_role("button", name="Templates").first.click()
    page.get_by_role("button", name=PACK).click()
    page.get_by_test_id("template-workflows-content").wait_for()


def nodes_of(name: str) -> list[dict[str, Any]]:
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))["nodes"]


def a_node_of(name: str) -> str:
    return nodes_of(name)[0]["type"]


def press_run(page: "Page") -> None:
    page.get_by_test_id("queue-button").click()


def images_on(page: "Page", node_type: str, part_of_address: str) -> list[str]:
    """Waits for pictures on a node; returns their addresses."""
    shows = f"([type, part]) => {{ const found = ({IMAGES})(type); return found.some(src => src.includes(part)) }}"
    page.wait_for_function(shows, arg=[node_type, part_of_address])
    return page.evaluate(IMAGES, node_type)


# Templates.


def test_the_templates_are_offered_with_their_pictures(page: "Page") -> None:
    open_category(page)
    for name in TEMPLATES:
        card = page.get_by_test_id(f"template-workflow-{name}")
        card.wait_for()
        picture = card.locator("img").first
        is_loaded(picture)
        assert f"/workflow_templates/{PACK}/{name}.jpg" in picture.get_attribute("src")
    page.get_by_role("button", name="Close").last.click()


def is_loaded(picture: "Locator") -> None:
    picture.evaluate("image => image.decode()")
    assert picture.evaluate("image => image.naturalWidth") > 0


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_opens_whole(page: "Page", name: str) -> None:
    open_template(page, name)
    expected = sorted(node["type"] for node in nodes_of(name))
    assert sorted(page.evaluate("() => window.app.graph.nodes.map(node => node.type)")) == expected
    page.wait_for_function("() => window.app.canvas.visible_nodes.length === window.app.graph.nodes.length")
    prompt = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    for node in prompt.values():
        del node["_meta"]
    assert prompt == json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))


def test_training_shows_its_progress_on_the_node_and_ends_with_pictures(page: "Page", comfy: Comfy) -> None:
    open_template(page, "train_a_gan_on_a_folder")
    page.evaluate("""() => {
        const node = window.app.graph.nodes.find(node => node.type === "TrainGAN")
        node.widgets.find(widget => widget.name === "kimg").value = 3
        window.previews = []
        window.app.api.addEventListener("b_preview_with_metadata", event => window.previews.push(event.detail.nodeId))
    }""")
    press_run(page)
    images_on(page, "TrainGAN", "blob:")
    page.get_by_text("images/s").first.wait_for()
    trainer = page.evaluate("() => window.app.graph.nodes.find(node => node.type === 'TrainGAN').id")
    assert set(page.evaluate("() => window.previews")) == {str(trainer)}

    (result,) = images_on(page, "SaveImage", "type=output")
    assert "filename=digits_" in result
    images_on(page, "TrainGAN", "type=temp")
    images_on(page, "LossGraphNode", "/view?")
    page.get_by_text("saved as output/gan/digits_").first.wait_for()
    assert last_status(comfy) == "success"


def test_sampling_ends_with_pictures(page: "Page", comfy: Comfy) -> None:
    open_template(page, "sample_a_generator")
    press_run(page)
    (result,) = images_on(page, "SaveImage", "type=output")
    assert "filename=samples_" in result
    assert last_status(comfy) == "success"


def last_status(comfy: Comfy) -> str:
    return list(comfy.get("/history?max_items=1").values())[-1]["status"]["status_str"]


# Help and languages.


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_node_has_a_help_page(comfy: Comfy, language: str) -> None:
    for name in comfy.node_info():
        assert comfy.text(f"/extensions/{PACK}/docs/{name}/{language}.md").startswith("# "), name


def test_the_nodes_speak_chinese(page: "Page", comfy: Comfy) -> None:
    titles = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    comfy.post("/settings", {"Comfy.Locale": "zh"})
    open_frontend(page, comfy)
    page.evaluate("graph => window.app.loadGraphData(graph)", json.loads(
        (ROOT / "workflows" / "train_a_gan_on_a_folder.json").read_text(encoding="utf-8")))
    page.wait_for_function("() => window.app.graph.nodes.some(node => node.type === 'TrainGAN')")
    title = page.evaluate("() => window.app.graph.nodes.find(node => node.type === 'TrainGAN').title")
    assert title == titles["TrainGAN"]["display_name"]
    assert any("\u4e00" <= letter <= "\u9fff" for letter in title)
