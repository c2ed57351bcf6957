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
    """Waits until a node shows an image from an address that has this in it; returns all of the address."""
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
        card.scroll_into_view_if_needed()  # until then a card has no image
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
    node(page, "TrainGAN").evaluate("node => { node.widgets.find(({name}) => name === 'kimg').value = 3 }")
    press_run(page)
    sheet = page.locator(".gan-sheet")
    page.wait_for_function("image => image.naturalWidth > 0", arg=sheet.element_handle())
    page.get_by_text("Images/s").first.wait_for()
    page.screenshot(path=tmp_path / "learning.png")

    assert "filename=digits_" in picture_on(page, "SaveImage", "type=output")
    picture_on(page, "LossGraphNode", "/view?")
    page.get_by_text("Kept in output/gan/runs/digits").first.wait_for()
    page.get_by_text("saved as output/gan/digits_").first.wait_for()
    assert sheet.get_attribute("alt").startswith("Samples after 3.")
    assert last_status(comfy) == "success"


def test_sampling_ends_with_pictures(page: "Page", comfy: Comfy) -> None:
    open_template(page, "sample_a_generator")
    press_run(page)
    assert "filename=samples_" in picture_on(page, "SaveImage", "type=output")
    assert last_status(comfy) == "success"


def test_a_run_that_had_nothing_to_do_says_so(page: "Page") -> None:
    open_template(page, "sample_a_generator")
    node(page, "SampleNoise").evaluate(
        """node => {
            const widget = name => node.widgets.find(widget => widget.name === name)
            widget("control_after_generate").value = "fixed"
            widget("seed").value = 4711  // which nobody has run before
        }"""
    )
    press_run(page)
    picture_on(page, "SaveImage", "type=output")
    assert not page.get_by_text("Nothing has changed").count()
    press_run(page)
    page.get_by_text("Nothing has changed").wait_for()


def test_budgets_are_shown_as_they_are(page: "Page") -> None:
    page.evaluate("graph => window.app.loadGraphData(graph)", workflow("train_a_gan_on_a_folder"))
    page.evaluate("""() => window.app.graph.add(window.LiteGraph.createNode("GANSettings"))""")
    shown = [
        node(page, kind).evaluate(
            """(node, [name, text]) => {
                const widget = node.widgets.find(widget => widget.name === name)
                widget.value = text
                widget.callback(widget.value)
                return [widget.value, widget._displayValue]
            }""",
            [name, text],
        )
        for kind, name, text in (
            ("TrainGAN", "kimg", "0.3"),
            ("TrainGAN", "minutes", "0.3"),
            ("GANSettings", "learning_rate", "0.000002"),
        )
    ]
    assert shown == [["0.3", "0.3"], ["0.3", "0.3"], ["0.000002", "0.000002"]]


# What lies where.

PICTURED = [
    "SaveImage",
    "PreviewImage",
    "TrainGAN",
    "TrainVAE",
    "LossGraphNode",
    "ProjectImageToLatent",
    "MeasureGenerator",
    "LoadGANImageFolder",
    "ImagesToGANDataset",
    "CompareGenerators",
]
"""Nodes that show an image once they have run."""

SPEAKING = [
    "LoadGANImageFolder", "TrainGAN", "TrainVAE", "LoadGenerator", "SaveGenerator", "ImportGenerator", "VAEToGenerator",
    "PublishGenerator", "MeasureGenerator", "MeasureVAELikelihood", "ProjectImageToLatent", "FindLatentDirections",
    "SaveLatentDirections", "GANSeedGrid", "LatentDirectionGrid", "CompareGenerators",
]  # fmt: skip
"""Nodes that show a text then."""

SAID = "12.3 kimg, 456 images/s, loss D 0.69 G 1.23, KID 4.567\nkept in output/gan/runs/my_generator"

BOXES = """vue => window.app.graph.nodes.map(node => {
    if (!vue) return [node.type, node.pos[0], node.pos[1] - 30, node.size[0], node.size[1] + 30]
    const element = document.querySelector(`[data-node-id="${node.id}"]`)
    const {left, top, width} = element.getBoundingClientRect()
    const parts = [element, ...element.querySelectorAll("*")].map(part => part.getBoundingClientRect())
    const bottom = Math.max(...parts.filter(part => part.width && part.height).map(part => part.bottom))
    const scale = window.app.canvas.ds.scale
    return [node.type, left / scale, top / scale, width / scale, (bottom - top) / scale]
})"""

SHOW = """async ({said, speaking, pictured}) => {
    const {api, graph} = window.app
    for (const node of graph.nodes) {
        const id = String(node.id)
        const images = [{filename: "box.png", type: "input", subfolder: ""}]
        const shown = {node: id, display_node: id, prompt_id: "box", output: {images}}
        if (speaking.includes(node.type)) api.dispatchCustomEvent("progress_text", {nodeId: id, text: said})
        if (pictured.includes(node.type)) api.dispatchCustomEvent("executed", shown)
    }
}"""
"""What the server sends of a run, without running it."""


def covered(boxes: list[tuple[str, float, float, float, float]]) -> list[str]:
    """Pairs of nodes of which one lies on the other."""
    return [
        f"{one[0]} and {other[0]}"
        for place, one in enumerate(boxes)
        for other in boxes[place + 1 :]
        if all(one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2] for axis in (1, 2))
    ]


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "Nodes 2.0"])
def test_no_node_of_a_template_covers_another_before_or_after_a_run(page: "Page", comfy: Comfy, vue: bool) -> None:
    Image.new("RGB", (512, 512)).save(comfy.input / "box.png")
    found = {}
    for name in TEMPLATES:
        page.evaluate("graph => window.app.loadGraphData(graph)", workflow(name))
        # Nodes outside of the view are not drawn.
        page.evaluate("() => window.app.canvas.ds.reset()")
        page.evaluate("() => { window.app.canvas.ds.scale = 0.3; window.app.canvas.setDirty(true, true) }")
        count = len(workflow(name)["nodes"])
        if vue:
            page.wait_for_function("n => document.querySelectorAll('[data-node-id]').length >= n", arg=count)
        page.wait_for_timeout(300)
        before = covered(page.evaluate(BOXES, vue))
        page.evaluate(SHOW, {"said": SAID, "speaking": SPEAKING, "pictured": PICTURED})
        page.wait_for_timeout(500)
        after = covered(page.evaluate(BOXES, vue))
        if before or after:
            found[name] = before, after
    assert not found


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
