"""ComfyUI's own page in a real Chromium: what a person does with the templates, and what they see."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comfyui_server import PACK, ROOT, Comfy
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import JSHandle, Page

TEMPLATES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


# What a person does.


def open_category(page: "Page") -> None:
    page.get_by_role("button", name="Templates").first.click()
    page.get_by_role("button", name=PACK).click()
    page.get_by_test_id("template-workflows-content").wait_for()


def open_template(page: "Page", name: str) -> None:
    """Templates, our category, the card; then all of its nodes are to be seen."""
    open_category(page)
    page.get_by_test_id(f"template-workflow-{name}").click()
    expected = sorted(node["type"] for node in workflow(name)["nodes"])
    page.wait_for_function(
        """expected => {
            const types = window.app.canvas.visible_nodes.map(node => node.type).sort()
            return JSON.stringify(types) === JSON.stringify(expected)
        }""",
        arg=expected,
    )


def press_run(page: "Page") -> None:
    page.get_by_test_id("queue-button").click()


# What a person sees.


def workflow(name: str, folder: str = "workflows") -> dict[str, Any]:
    return json.loads((ROOT / folder / f"{name}.json").read_text(encoding="utf-8"))


def node(page: "Page", node_type: str) -> "JSHandle":
    """The only node of a type, as an object of the page."""
    return page.evaluate_handle("type => window.app.graph.nodes.find(node => node.type === type)", node_type)


def picture_on(page: "Page", node_type: str, address: str) -> str:
    """Waits until a node shows a picture from an address that has this in it; returns all of the address."""
    shown = page.wait_for_function(
        """([node, address]) => {
            const loaded = (node.imgs ?? []).filter(image => image.complete && image.naturalWidth > 0)
            return loaded.map(image => image.src).find(src => src.includes(address))
        }""",
        arg=[node(page, node_type), address],
    )
    return shown.json_value()


def last_status(comfy: Comfy) -> str:
    return list(comfy.get("/history?max_items=1").values())[-1]["status"]["status_str"]


# Templates.


def test_the_templates_are_offered_with_their_pictures(page: "Page") -> None:
    open_category(page)
    for name in TEMPLATES:
        card = page.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()  # until then a card has no picture
        picture = card.locator("img").first
        picture.evaluate("image => image.decode()")
        assert "default-template" not in picture.get_attribute("src"), f"workflows/{name}.jpg is missing"
        with Image.open(ROOT / "workflows" / f"{name}.jpg") as thumbnail:
            assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == list(thumbnail.size)
    page.get_by_test_id(f"template-workflow-{TEMPLATES[0]}").click()
    page.get_by_test_id("template-workflows-content").wait_for(state="detached")


def test_the_page_makes_the_api_twins_of_the_templates(page: "Page") -> None:
    for name in TEMPLATES:
        page.evaluate("graph => window.app.loadGraphData(graph)", workflow(name))
        prompt = page.evaluate("async () => (await window.app.graphToPrompt()).output")
        for sent in prompt.values():
            del sent["_meta"]
        assert prompt == workflow(name, "workflows/api")


def test_training_is_watched_on_the_node_and_ends_with_pictures(page: "Page", comfy: Comfy, tmp_path: Path) -> None:
    open_template(page, "train_a_gan_on_a_folder")
    trainer = node(page, "TrainGAN")
    trainer.evaluate(
        """node => {
            node.widgets.find(widget => widget.name === "kimg").value = 3
            window.previews = []
            const note = ({detail}) => window.previews.push(detail.nodeId)
            window.app.api.addEventListener("b_preview_with_metadata", note)
        }"""
    )
    press_run(page)
    picture_on(page, "TrainGAN", "blob:")
    page.get_by_text("images/s").first.wait_for()
    page.screenshot(path=tmp_path / "learning.png")

    assert "filename=digits_" in picture_on(page, "SaveImage", "type=output")
    picture_on(page, "LossGraphNode", "/view?")
    page.get_by_text("kept in output/gan/runs/digits").first.wait_for()
    page.get_by_text("saved as output/gan/digits_").first.wait_for()
    assert set(page.evaluate("() => window.previews")) == {trainer.evaluate("node => String(node.id)")}
    assert last_status(comfy) == "success"


def test_sampling_ends_with_pictures(page: "Page", comfy: Comfy) -> None:
    open_template(page, "sample_a_generator")
    press_run(page)
    assert "filename=samples_" in picture_on(page, "SaveImage", "type=output")
    assert last_status(comfy) == "success"


# Help and languages.


@pytest.mark.parametrize(("language", "letters"), [("en", "az"), ("zh", "\u4e00\u9fff")], ids=["English", "Chinese"])
def test_nodes_have_titles_and_help_in_the_persons_language(page: "Page", language: str, letters: str) -> None:
    page.evaluate("graph => window.app.loadGraphData(graph)", workflow("train_a_gan_on_a_folder"))
    title = node(page, "TrainGAN").evaluate("node => node.title")
    assert title == workflow("nodeDefs", f"locales/{language}")["TrainGAN"]["display_name"]
    assert any(letters[0] <= letter <= letters[1] for letter in title)

    node(page, "TrainGAN").evaluate("node => window.app.canvas.selectNode(node)")
    page.get_by_test_id("info-button").click()
    heading = (ROOT / "web" / "docs" / "TrainGAN" / f"{language}.md").read_text(encoding="utf-8").splitlines()[0]
    page.get_by_role("heading", name=heading.removeprefix("# "), level=1).wait_for()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_node_has_a_help_page(comfy: Comfy, language: str) -> None:
    for name in comfy.node_info():
        assert comfy.text(f"/extensions/{PACK}/docs/{name}/{language}.md").startswith("# "), name
