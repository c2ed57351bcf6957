"""The panel of the nodes that train, in a real Chromium: in canvas and Vue nodes, and whatever becomes of the page."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from comfyui_graphs import EXAMPLE_FOLDER
from comfyui_server import PACK, ROOT, Comfy
from PIL import Image

import gan_core
from gan_core.training.film import Film
from gan_core.training.methods import METHODS
from gan_core.training.snapshot import FILE, HISTORY, described

if TYPE_CHECKING:
    from playwright.sync_api import Page

BOTH = pytest.mark.parametrize("vue", [False, True], ids=["canvas", "Nodes 2.0"])

PANEL = ".gan-panel"


def graph_of(run_name: str, kimg: str = "no limit", kind: str = "GAN") -> dict[str, Any]:
    """A workflow with a data set and a node that trains; `no limit` is a training that ends when it is asked to."""
    return {
        "1": {
            "class_type": "LoadGANImageFolder",
            "inputs": {
                "folder": EXAMPLE_FOLDER, "size": 16, "channels": "auto", "fit": "crop", "mirror": False,
                "labels": False,
            },
        },
        "2": {
            "class_type": f"Train{kind}",
            "inputs": {
                "dataset": ["1", 0], "preset": "digits" if kind == "GAN" else "conv_vae", "minutes": "60",
                "kimg": kimg, "run_name": run_name, "resume": False, "seed": 0,
            },
        },
        "3": {"class_type": "SaveGenerator", "inputs": {"generator": ["2", 0], "filename_prefix": run_name}},
    }  # fmt: skip


def load(page: "Page", run_name: str, **changes: str) -> None:
    page.evaluate("graph => window.app.loadApiJson(graph, 'panel')", graph_of(run_name, **changes))
    page.wait_for_function("window.app.graph.nodes.length === 3")
    page.locator(PANEL).wait_for(state="attached")
    # All of the panel in view, whatever else there is.
    page.evaluate(
        """() => {
            const {canvas, graph} = window.app
            const node = graph.nodes.find(({type}) => type.startsWith("Train"))
            canvas.ds.scale = 0.8
            canvas.ds.offset = [300 - node.pos[0], 100 - node.pos[1]]
            canvas.setDirty(true, true)
        }"""
    )


def run(page: "Page") -> None:
    page.evaluate("() => window.app.queuePrompt(0, 1)")


def panel_is(page: "Page", state: str) -> None:
    page.locator(f"{PANEL}[data-state='{state}']").wait_for()


def press(page: "Page", name: str) -> None:
    page.locator(PANEL).get_by_role("button", name=name, exact=True).click()


def shows_a_sheet(page: "Page") -> None:
    page.wait_for_function(
        "() => { const image = document.querySelector('.gan-sheet'); return image?.complete && image.naturalWidth > 0 }"
    )


def is_drawn(page: "Page", colours: int = 8) -> None:
    """Waits until the chart has something on it."""
    page.wait_for_function(
        """wanted => {
            const canvas = document.querySelector(".gan-chart")
            if (!canvas?.width || !canvas.isConnected) return false
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
            return new Set(new Uint32Array(data.buffer)).size >= wanted
        }""",
        arg=colours,
    )


def told(comfy: Comfy, name: str) -> dict[str, Any]:
    return comfy.get(f"/gan_studio/runs/{name}")


def last_status(comfy: Comfy) -> str:
    return list(comfy.get("/history?max_items=1").values())[-1]["status"]["status_str"]


@pytest.fixture(autouse=True)
def quiet(comfy: Comfy) -> Iterator[None]:
    """Ends what a test has left at work."""
    yield
    comfy.post("/queue", {"clear": True})
    comfy.interrupt()


# While it trains.


@BOTH
def test_a_fresh_node_says_what_will_happen_and_has_room_for_it(page: "Page", vue: bool) -> None:
    load(page, "fresh")
    page.get_by_text("Press Run: samples, curves and buttons appear here").wait_for()
    assert page.locator(PANEL).evaluate("element => element.offsetHeight") >= 600
    assert page.evaluate("() => window.app.graph.nodes.every(node => node.widgets?.every(w => w.serialize !== true))")


@BOTH
def test_the_panel_draws_and_finish_now_lets_the_graph_go_on(
    page: "Page", comfy: Comfy, vue: bool, tmp_path: Path
) -> None:
    name = f"drawn{int(vue)}"
    load(page, name)
    run(page)
    panel_is(page, "running")
    shows_a_sheet(page)
    is_drawn(page)
    for text in ("Images shown", "Images/s", "Memory", f"Kept in output/gan/runs/{name}"):
        page.locator(PANEL).get_by_text(text).wait_for()
    page.locator(".gan-left").get_by_text("left").wait_for()
    height = """() => window.app.graph.nodes.find(({type}) => type === "TrainGAN").widgets.at(-1).options
        .getMinHeight()"""
    assert page.evaluate(height) >= 600, "a text on the node has taken the panel's room"
    page.screenshot(path=tmp_path / "learning.png")
    press(page, "Finish now")
    panel_is(page, "finished early")
    page.get_by_text(f"saved as output/gan/{name}").first.wait_for()
    page.wait_for_function("async () => !(await (await fetch('/queue')).json()).queue_running.length")
    assert last_status(comfy) == "success"
    assert told(comfy, name)["state"] == "finished early"
    pictured = "() => window.app.graph.nodes.filter(node => node.imgs?.length).map(node => node.type)"
    assert "TrainGAN" not in page.evaluate(pictured), "a second picture beside that of the panel"


@BOTH
def test_the_slider_goes_to_an_earlier_sheet_and_plays_to_the_latest(page: "Page", comfy: Comfy, vue: bool) -> None:
    name = f"slid{int(vue)}"
    load(page, name)
    run(page)
    page.wait_for_function("() => Number(document.querySelector('.gan-slider')?.max) >= 2")
    latest = page.locator(".gan-sheet").get_attribute("src")
    slider = page.get_by_role("slider", name="Samples at an earlier moment")
    slider.focus()
    slider.press("Home")
    page.wait_for_function("latest => document.querySelector('.gan-sheet').src !== latest", arg=latest)
    first = told(comfy, name)["sheets"][0]
    assert slider.get_attribute("aria-valuetext") == f"{first / 1000:.2f} kimg"
    # It stays there while new sheets come.
    count = slider.get_attribute("max")
    page.wait_for_function("count => document.querySelector('.gan-slider').max !== count", arg=count)
    assert slider.input_value() == "0"
    press(page, "Play")
    page.wait_for_function("() => { const s = document.querySelector('.gan-slider'); return s.value === s.max }")


@BOTH
def test_pause_holds_it_and_go_on_goes_on(page: "Page", comfy: Comfy, vue: bool) -> None:
    name = f"held{int(vue)}"
    load(page, name)
    run(page)
    panel_is(page, "running")
    page.locator(PANEL).get_by_text("Images/s").wait_for()
    press(page, "Pause")
    panel_is(page, "paused")
    page.locator(".gan-actions").get_by_text("Go on").wait_for()
    before = told(comfy, name)["images"]
    press(page, "Save now")
    page.locator(".gan-note").get_by_text("checkpoint").wait_for()
    press(page, "Go on")
    panel_is(page, "running")
    page.wait_for_function(
        "async ([name, before]) => (await (await fetch(`/gan_studio/runs/${name}`)).json()).images > before",
        arg=[name, before],
    )


def test_a_stop_says_what_is_kept_and_how_to_go_on(page: "Page", comfy: Comfy) -> None:
    load(page, "halted")
    run(page)
    panel_is(page, "running")
    shows_a_sheet(page)
    comfy.interrupt()
    panel_is(page, "stopped")
    page.locator(PANEL).get_by_text("Stopped. To go on, set run_name to halted, turn on resume").wait_for()


def test_a_vae_has_the_same_panel(page: "Page") -> None:
    load(page, "vae panel", kind="VAE")
    run(page)
    shows_a_sheet(page)
    is_drawn(page)
    page.locator(".gan-entry").get_by_text("reconstruction").wait_for()
    assert not page.locator(".gan-health").is_visible()


# Whatever becomes of the page.


@BOTH
def test_the_panel_is_back_after_a_reload_in_the_middle(page: "Page", comfy: Comfy, vue: bool) -> None:
    name = f"reloaded{int(vue)}"
    load(page, name)
    run(page)
    panel_is(page, "running")
    shows_a_sheet(page)
    records = told(comfy, name)["records"]
    saved = page.evaluate("() => window.app.graph.serialize()")
    page.reload()
    page.wait_for_function("window.app?.extensionManager?.workflow?.activeWorkflow")
    page.evaluate("graph => window.app.loadGraphData(graph)", saved)
    panel_is(page, "running")
    shows_a_sheet(page)
    is_drawn(page)
    assert told(comfy, name)["records"] >= records > 0
    press(page, "Finish now")
    panel_is(page, "finished early")


def test_a_second_browser_finds_the_run_of_a_workflow_that_never_saw_it(
    page: "Page", browser: Any, comfy: Comfy
) -> None:
    load(page, "second")
    fresh = page.evaluate("() => window.app.graph.serialize()")
    run(page)
    panel_is(page, "running")
    other = browser.new_context().new_page()
    other.goto(comfy.url)
    other.wait_for_function("window.app?.extensionManager?.workflow?.activeWorkflow")
    other.evaluate("graph => window.app.loadGraphData(graph)", fresh)
    panel_is(other, "running")
    shows_a_sheet(other)
    other.locator(".gan-first").dispatch_event("click")
    panel_is(other, "finished early")
    panel_is(page, "finished early")
    other.context.close()


def test_the_panel_survives_a_switch_between_canvas_and_vue_nodes(page: "Page") -> None:
    load(page, "switched")
    run(page)
    panel_is(page, "running")
    shows_a_sheet(page)
    for vue in (True, False):
        page.evaluate("vue => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)", vue)
        if vue:
            page.locator(f"[data-node-id] {PANEL}").wait_for()
        page.locator(f"{PANEL}[data-state='running']").wait_for()
        shows_a_sheet(page)
        is_drawn(page)


@BOTH
def test_a_node_in_a_subgraph_shows_its_run(page: "Page", vue: bool) -> None:
    load(page, f"inside{int(vue)}")
    page.evaluate(
        """() => {
            const {graph, canvas} = window.app
            const trainer = graph.nodes.find(({type}) => type === "TrainGAN")
            const {subgraph} = graph.convertToSubgraph(new Set([trainer]))
            canvas.setGraph(subgraph)
            canvas.ds.offset = [300 - subgraph.nodes[0].pos[0], 100 - subgraph.nodes[0].pos[1]]
        }"""
    )
    run(page)
    panel_is(page, "running")
    shows_a_sheet(page)
    press(page, "Finish now")
    panel_is(page, "finished early")


def test_save_film_adds_nodes_that_make_an_animation(page: "Page", comfy: Comfy) -> None:
    load(page, "filmed panel", kimg="3")
    run(page)
    panel_is(page, "finished")
    page.wait_for_function("() => Number(document.querySelector('.gan-slider')?.max) >= 1")
    press(page, "Save film")
    page.wait_for_function("() => window.app.graph.nodes.some(({type}) => type === 'SaveAnimatedWEBP')")
    run(page)
    page.wait_for_function(
        """() => window.app.graph.nodes.find(({type}) => type === "SaveAnimatedWEBP").images?.length"""
    )
    (saved,) = comfy.output.glob("ComfyUI_*.webp")
    with Image.open(saved) as animation:
        assert animation.n_frames == len(told(comfy, "filmed%20panel")["sheets"])
    boxes = page.evaluate("() => window.app.graph.nodes.map(({type, pos, size}) => [type, ...pos, ...size])")
    below = min(y for kind, _, y, *_ in boxes if kind in ("LoadGANRunSheets", "SaveAnimatedWEBP"))
    assert below > max(y + height for kind, _, y, _, height in boxes if kind == "TrainGAN")


def test_two_runs_in_the_queue_are_shown_each_on_its_node(page: "Page", comfy: Comfy) -> None:
    graph = graph_of("first", "1")
    second = graph_of("other", "1")
    graph["4"] = second["2"]
    page.evaluate("graph => window.app.loadApiJson(graph, 'panel')", graph)
    page.wait_for_function("() => document.querySelectorAll('.gan-panel').length === 2")
    run(page)
    page.wait_for_function("() => document.querySelectorAll(\".gan-panel[data-state='finished']\").length === 2")
    shown = page.evaluate(
        """() => window.app.graph.nodes.filter(node => node.type === "TrainGAN").map(node => [
            node.widgets.find(({name}) => name === "run_name").value, node.properties.gan_studio_run,
        ])"""
    )
    assert sorted(shown) == [["first", "first"], ["other", "other"]]
    assert sorted(page.locator(".gan-title").all_inner_texts()) == ["first", "other"]


def test_a_result_from_the_cache_shows_its_run(page: "Page") -> None:
    load(page, "cached panel", kimg="1")
    fresh = page.evaluate("() => window.app.graph.serialize()")
    run(page)
    panel_is(page, "finished")
    page.evaluate("graph => window.app.loadGraphData(graph)", fresh)
    panel_is(page, "idle")
    run(page)
    panel_is(page, "finished")


def test_an_error_before_the_first_step_stands_on_the_node(page: "Page", comfy: Comfy) -> None:
    load(page, "wrong", kimg="no limit")
    page.evaluate(
        """() => window.app.graph.nodes.find(({type}) => type === "TrainGAN").widgets
            .find(({name}) => name === "minutes").value = "no limit" """
    )
    run(page)
    panel_is(page, "error")
    page.locator(".gan-trouble").get_by_text("Set a budget").wait_for()
    page.reload()  # the page itself shows the error too, and would go on doing so
    page.wait_for_function("window.app?.extensionManager?.workflow?.activeWorkflow")
    load(page, "right")


# How much it does.


def write_run(comfy: Comfy, name: str, records: int, sheets: int) -> None:
    """A long run that has ended, without training it."""
    folder = comfy.clear(comfy.output / "gan" / "runs" / name)
    method: Any = next(iter(METHODS.values()))
    names = [value for labels in method.charts.values() for value in labels]
    with (folder / HISTORY).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["images", *names])
        rows.writerows([64 * (i + 1), *(((i * 37) % 100) / 50 for _ in names)] for i in range(records))
    film = Film(folder)
    film.folder.mkdir()
    for i in range(sheets):
        Image.new("RGB", (64, 64), (i % 256, 0, 0)).save(film.path(1000 * (i + 1)), format="JPEG")
    snapshot = {
        "run": name, "title": name, "preset": "digits", "state": "finished", "images": 64 * records, "fraction": 1,
        "images_per_second": 900, "seconds_left": None, "trouble": "", "remarks": ["It was written by a test."],
        "health": {"word": "healthy", "sentence": "All is well."},
        "charts": described(method.charts, method.meanings), "records": records, "rollbacks": 0, "record": None,
        "sheets": [],
    }  # fmt: skip
    (folder / FILE).write_text(json.dumps(snapshot), encoding="utf-8")


def test_ten_thousand_records_and_five_hundred_sheets_stay_smooth(page: "Page", comfy: Comfy) -> None:
    write_run(comfy, "long", 10_000, 500)
    with urlopen(f"{comfy.url}/gan_studio/runs/long/records") as answer:
        assert len(answer.read()) < 600_000
    load(page, "long")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        """async () => {
            const node = window.app.graph.nodes.find(({type}) => type === "TrainGAN")
            node.properties.gan_studio_run = "long"
            await window.app.loadGraphData(window.app.graph.serialize())
        }"""
    )
    panel_is(page, "finished")
    is_drawn(page)
    page.wait_for_function("() => document.querySelector('.gan-slider').max === '499'")
    page.wait_for_timeout(500)
    assert sum("/sheets/" in url for url in asked) == 1, "only the sheet that is seen is fetched"
    assert sum("/records" in url for url in asked) <= 2

    # A quick move over the whole slider fetches no more sheets than there are frames, and draws no curve again.
    page.evaluate(
        """() => {
            const context = CanvasRenderingContext2D.prototype
            window.drawn = 0
            const clear = context.clearRect
            context.clearRect = function (...rest) {
                window.drawn += this.canvas.classList.contains("gan-chart")
                return clear.apply(this, rest)
            }
            const slider = document.querySelector(".gan-slider")
            for (let place = 0; place < 500; place++) {
                slider.value = place
                slider.dispatchEvent(new Event("input"))
            }
        }"""
    )
    shows_a_sheet(page)
    assert page.evaluate("() => window.drawn") == 0

    # Moving over the chart draws it once a frame at most, and a panel out of sight is not drawn at all.
    page.evaluate(
        """() => {
            const chart = document.querySelector(".gan-chart")
            const {left, top, width} = chart.getBoundingClientRect()
            for (let x = 0; x < width; x++)
                chart.dispatchEvent(new PointerEvent("pointermove", {clientX: left + x, clientY: top + 5}))
        }"""
    )
    page.wait_for_timeout(200)
    assert page.evaluate("() => window.drawn") <= 2


# Words and files.


def test_the_modules_ask_for_those_of_this_version() -> None:
    modules = sorted((ROOT / "web" / "js").glob("*.js"))
    assert len(modules) > 5
    for path in modules:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "./" in line and ("import " in line or "new URL(" in line) and "../scripts" not in line:
                assert f"?v={gan_core.__version__}" in line or "import.meta.url).pathname" in line, (
                    f"{path.name}: {line}"
                )


def test_all_words_of_the_panel_are_there_in_both_languages(page: "Page") -> None:
    load(page, "words")
    words: Callable[[str], dict[str, Any]] = lambda language: page.evaluate(  # noqa: E731
        "async ([pack, language]) => (await import(`/extensions/${pack}/js/texts.js`)).wordsOf(language)",
        [PACK, language],
    )
    english, chinese = words("en"), words("zh-TW")
    assert english.keys() == chinese.keys()
    for name, texts in english.items():
        if isinstance(texts, dict) and name in ("states", "health"):
            assert texts.keys() == chinese[name].keys()
    for method in METHODS.values():
        known: Any = method
        assert known.meanings.keys() <= chinese["meanings"].keys() & chinese["labels"].keys()
        assert known.charts.keys() <= chinese["axes"].keys()


@pytest.mark.parametrize("language", ["zh"])
def test_the_panel_speaks_the_persons_language(page: "Page", language: str) -> None:
    load(page, "chinese")
    page.get_by_text("点击运行").wait_for()
