"""The sidebar's tab of runs, and the name of a run on the nodes that train, in a real Chromium."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comfyui_graphs import EXAMPLE_FOLDER, load_folder, train
from comfyui_server import Comfy, Graph, Run

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

BOTH = pytest.mark.parametrize("vue", [False, True], ids=["canvas", "Nodes 2.0"])

WORKFLOW = {"id": "0b0e7a52-0000-4000-8000-000000000001", "version": 0.4, "last_node_id": 1, "last_link_id": 0,
            "nodes": [{"id": 1, "type": "Note", "pos": [0, 0], "size": [200, 100], "flags": {}, "order": 0, "mode": 0,
                       "inputs": [], "outputs": [], "properties": {}, "widgets_values": ["kept with the run"]}],
            "links": [], "groups": [], "config": {}, "extra": {}}  # fmt: skip
"""What the page sends with a prompt."""


@pytest.fixture(scope="module")
def two_runs(comfy: Comfy) -> tuple[str, str]:
    """ "listed" and "listed_2": a new run of a taken name."""
    for seed in (0, 1):
        graph = Graph()
        train(graph, load_folder(graph, EXAMPLE_FOLDER), "listed", seed=seed, kimg=0.4, preset="digits")
        queued = {"prompt": graph.prompt, "client_id": comfy.client_id}
        if seed == 0:
            queued["extra_data"] = {"extra_pnginfo": {"workflow": WORKFLOW}}
        assert comfy.finish(Run(comfy.post("/prompt", queued)["prompt_id"])).state == "success"
    return "listed", "listed_2"


@pytest.fixture(autouse=True)
def small_graph(page: "Page") -> None:
    """A graph of one note, instead of the page's default, which asks for models that nobody has."""
    page.evaluate("graph => window.app.loadGraphData(graph)", WORKFLOW)


def open_tab(page: "Page", name: str = "GAN runs") -> None:
    page.get_by_role("button", name=name).first.click()
    page.locator(".gan-runs").wait_for()


def card(page: "Page", run: str) -> "Locator":
    return page.locator(f".gan-card[data-run='{run}']")


def press(page: "Page", run: str, name: str) -> None:
    card(page, run).get_by_role("button", name=name, exact=True).click()


def nodes(page: "Page") -> list[dict[str, Any]]:
    """Types of the nodes of the graph, each with the values of its widgets."""
    return page.evaluate(
        """() => window.app.graph.nodes.map(node => ({
            type: node.type, ...Object.fromEntries((node.widgets ?? []).map(({name, value}) => [name, value]))
        }))"""
    )


def empty(page: "Page") -> None:
    page.evaluate("() => window.app.graph.clear()")


@BOTH
def test_the_tab_lists_runs_as_they_stand(page: "Page", two_runs: tuple[str, str], vue: bool, tmp_path: Path) -> None:
    open_tab(page)
    for run in two_runs:
        card(page, run).wait_for()
        text = card(page, run).inner_text()
        assert run in text and "Finished" in text and "digits" in text and "0.40 kimg" in text
        page.wait_for_function(
            "image => image.complete && image.naturalWidth > 0",
            arg=card(page, run).locator(".gan-thumbnail img").element_handle(),
        )
    page.screenshot(path=tmp_path / "tab.png")
    # The page makes a tab anew each time that it is opened.
    page.get_by_role("button", name="GAN runs").first.click()
    page.locator(".gan-runs").wait_for(state="detached")
    open_tab(page)
    card(page, two_runs[0]).wait_for()


@BOTH
def test_two_runs_are_compared(page: "Page", two_runs: tuple[str, str], vue: bool, tmp_path: Path) -> None:
    open_tab(page)
    compare = page.get_by_role("button", name="Compare two")
    assert compare.is_disabled()
    for run in two_runs:
        press(page, run, "Compare")
    compare.click()
    window = page.locator(".gan-compare")
    page.wait_for_function(
        """() => {
            const canvas = document.querySelector(".gan-compare canvas")
            if (!canvas?.width) return false
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
            const has = (r, g, b) => {
                for (let i = 0; i < data.length; i += 4)
                    if (data[i] === r && data[i + 1] === g && data[i + 2] === b && data[i + 3] === 255) return true
                return false
            }
            return has(0x4a, 0x97, 0xe0) && has(0xe2, 0x81, 0x3a)  // a curve of each
        }"""
    )
    page.wait_for_function(
        """() => [...document.querySelectorAll(".gan-compare .gan-sheet")].filter(image =>
            image.complete && image.naturalWidth).length === 2"""
    )
    page.screenshot(path=tmp_path / "compare.png")
    window.get_by_role("tab", name="generator", exact=True).click()
    assert window.get_by_role("tab", name="generator", exact=True).get_attribute("aria-selected") == "true"
    window.get_by_role("button", name="Close").click()
    window.wait_for(state="detached")


@BOTH
def test_a_run_is_continued_by_a_new_node_or_by_the_one_that_is_there(
    page: "Page", two_runs: tuple[str, str], vue: bool
) -> None:
    empty(page)
    open_tab(page)
    for run in two_runs:
        press(page, run, "Continue")
        page.get_by_text(f"is set to continue {run}").wait_for()
        (node,) = nodes(page)
        assert node["type"] == "TrainGAN"
        assert (node["run_name"], node["resume"], node["preset"]) == (run, True, "digits")
        page.locator(".gan-panel .gan-title").get_by_text(run, exact=True).wait_for()


@BOTH
def test_the_generator_of_a_run_is_loaded(page: "Page", comfy: Comfy, two_runs: tuple[str, str], vue: bool) -> None:
    empty(page)
    open_tab(page)
    press(page, two_runs[1], "Load generator")
    page.wait_for_function("() => window.app.graph.nodes.length === 1")
    (node,) = nodes(page)
    assert (node["type"], node["name"]) == ("LoadGenerator", "runs/listed_2/generator.safetensors")


@BOTH
def test_the_graph_of_a_run_is_opened(page: "Page", two_runs: tuple[str, str], vue: bool) -> None:
    open_tab(page)
    press(page, two_runs[0], "Open graph")
    page.wait_for_function("() => window.app.graph.nodes.length === 1 && window.app.graph.nodes[0].type === 'Note'")
    press(page, two_runs[1], "Open graph")  # of a program's prompt
    page.wait_for_function("() => window.app.graph.nodes.some(({type}) => type === 'TrainGAN')")


@BOTH
def test_a_run_is_moved_to_the_trash_once_a_person_is_sure(page: "Page", comfy: Comfy, vue: bool) -> None:
    name = f"discarded{int(vue)}"
    graph = Graph()
    train(graph, load_folder(graph, EXAMPLE_FOLDER), name, preset="digits")
    comfy.run(graph)
    folder = comfy.output / "gan" / "runs" / name
    open_tab(page)
    press(page, name, "To trash")
    page.get_by_text(f"The folder of {name} is moved into output/gan/trash.").wait_for()
    page.get_by_role("button", name="Cancel").click()
    assert folder.is_dir() and card(page, name).count() == 1
    press(page, name, "To trash")
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Moved to output/gan/trash/").wait_for()
    card(page, name).wait_for(state="detached")
    assert not folder.exists()
    (moved,) = (comfy.output / "gan" / "trash").glob(f"{name}-*")
    assert (moved / "generator.safetensors").is_file()


def test_without_runs_the_tab_says_how_there_will_be_some(page: "Page") -> None:
    page.route("**/gan_studio/runs", lambda route: route.fulfill(json={"runs": []}))
    open_tab(page)
    page.get_by_text("There are no runs yet. Train GAN and Train VAE keep each training here").wait_for()


def test_what_is_wrong_with_a_run_is_said_and_no_name_is_read_as_html(page: "Page") -> None:
    runs: list[dict[str, Any]] = [
        {"run": "<img src=x onerror=alert(1)>", "state": "diverged", "trouble": "A loss is no longer finite.",
         "preset": "dcgan", "images": 12_000, "live": False, "kid": {"latest": {"value": 0.25, "images": 9_000},
                                                                     "best": {"value": 0.2, "images": 4_000}}},
        {"run": "damaged", "state": "unreadable", "trouble": "There is no run in damaged.", "kid": None},
    ]  # fmt: skip
    for run in runs:
        run |= {"sheet": None, "sheets": 0, "generator": None, "graph": False, "changed": 1.7e9}
    page.route("**/gan_studio/runs", lambda route: route.fulfill(json={"runs": runs}))
    open_tab(page)
    diverged, damaged = page.locator(".gan-card").nth(0), page.locator(".gan-card").nth(1)
    for text in (
        "<img src=x",
        "Diverged",
        "A loss is no longer finite.",
        "KID 0.25, 3.00 kimg ago · best 0.2 at 4.00 kimg",
    ):
        diverged.get_by_text(text).wait_for()
    damaged.get_by_text("There is no run in damaged.").wait_for()
    for name in ("Continue", "Load generator", "Open graph"):
        assert damaged.get_by_role("button", name=name).is_disabled()
    assert damaged.get_by_role("button", name="To trash").is_enabled()


@pytest.mark.parametrize("language", ["zh"])
def test_the_tab_speaks_chinese(page: "Page", two_runs: tuple[str, str], language: str) -> None:
    open_tab(page, "GAN 训练任务")
    card(page, two_runs[0]).get_by_role("button", name="接着训练").wait_for()


# The name of a run.


def add_trainer(page: "Page", run_name: str, **properties: str) -> None:
    """The only node of the graph: Train GAN with a name, in view."""
    empty(page)
    page.evaluate(
        """([name, properties]) => {
            const {canvas, graph} = window.app
            const node = window.LiteGraph.createNode("TrainGAN")
            node.pos = [500, 100]
            graph.add(node)
            node.widgets.find(widget => widget.name === "run_name").value = name
            Object.assign(node.properties, properties)
            canvas.ds.scale = 1
            canvas.ds.offset = [0, 0]
            canvas.setDirty(true, true)
        }""",
        [run_name, properties],
    )
    page.evaluate("() => window.app.loadGraphData(window.app.graph.serialize())")
    page.locator(".gan-panel").wait_for(state="attached")


def open_names(page: "Page", vue: bool) -> None:
    if vue:
        page.get_by_role("combobox", name="run_name").click()
        return
    place = page.evaluate(
        """() => {
            const [node] = window.app.graph.nodes
            const widget = node.widgets.find(({name}) => name === "run_name")
            const {scale, offset} = window.app.canvas.ds
            const {left, top} = window.app.canvas.canvas.getBoundingClientRect()
            const at = [node.pos[0] + node.size[0] / 2, node.pos[1] + widget.last_y + 10]
            return [left + (at[0] + offset[0]) * scale, top + (at[1] + offset[1]) * scale]
        }"""
    )
    page.mouse.click(*place)


def choose(page: "Page", text: str) -> None:
    page.locator(".litecontextmenu .litemenu-entry, [role=option]").get_by_text(text, exact=True).click()


def run_name_is(page: "Page", name: str) -> None:
    page.wait_for_function(
        """name => window.app.graph.nodes[0].widgets.find(widget => widget.name === "run_name").value === name""",
        arg=name,
    )


@BOTH
def test_run_name_offers_the_runs_and_takes_a_new_name(
    page: "Page", comfy: Comfy, two_runs: tuple[str, str], vue: bool, tmp_path: Path
) -> None:
    add_trainer(page, "of a shared workflow")
    run_name_is(page, "of a shared workflow")
    open_names(page, vue)
    page.screenshot(path=tmp_path / "names.png")
    choose(page, two_runs[1])
    run_name_is(page, two_runs[1])
    open_names(page, vue)
    choose(page, "New name …")
    page.get_by_role("dialog").get_by_role("textbox").fill("quite new")
    page.keyboard.press("Enter")
    run_name_is(page, "quite new")
    page.screenshot(path=tmp_path / "new.png")
    sent = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    assert [node["inputs"]["run_name"] for node in sent.values()] == ["quite new"]
    open_names(page, vue)
    choose(page, "New name …")
    page.get_by_role("dialog").get_by_role("textbox").wait_for()
    page.keyboard.press("Escape")
    run_name_is(page, "quite new")


@BOTH
def test_a_later_run_does_not_hide_the_one_that_is_resumed(page: "Page", two_runs: tuple[str, str], vue: bool) -> None:
    add_trainer(page, two_runs[0], gan_studio_run=two_runs[1])
    title = page.locator(".gan-panel .gan-title")
    title.get_by_text(two_runs[1], exact=True).wait_for()  # it has trained that one last
    page.evaluate(
        """() => {
            const widget = window.app.graph.nodes[0].widgets.find(({name}) => name === "resume")
            widget.value = true
            widget.callback(true)
        }"""
    )
    title.get_by_text(two_runs[0], exact=True).wait_for()
    page.evaluate("() => window.app.loadGraphData(window.app.graph.serialize())")
    title.get_by_text(two_runs[0], exact=True).wait_for()
