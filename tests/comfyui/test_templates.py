"""The workflows that ComfyUI offers: whole, the same in both formats, and all of them run."""

import json
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import PACK, ROOT, Comfy, Graph
from PIL import Image

import gan_core

WORKFLOWS = ROOT / "workflows"
TEMPLATES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))

NOTES = {"MarkdownNote", "Note"}
"""Nodes of the page alone."""

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
"""Types that a person sets on the node itself."""


def template(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def twin(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


def test_comfyui_offers_all_templates(comfy: Comfy) -> None:
    assert sorted(comfy.get("/workflow_templates")[PACK]) == TEMPLATES
    assert len(TEMPLATES) >= 2


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_a_thumbnail(name: str) -> None:
    path = WORKFLOWS / f"{name}.jpg"
    assert path.is_file(), f"{path.relative_to(ROOT)} is missing: make it from a real run"
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "JPEG" and min(picture.size) >= 256
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_says_what_its_nodes_are(comfy: Comfy, name: str) -> None:
    known = comfy.get("/object_info")
    for node in template(name)["nodes"]:
        if node["type"] not in NOTES:
            assert node["type"] in known
            assert node["properties"]["Node name for S&R"] == node["type"]
            ours = known[node["type"]]["python_module"].endswith(PACK)
            assert node["properties"]["cnr_id"] == ("gan-studio" if ours else "comfy-core")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_and_its_api_twin_agree(comfy: Comfy, name: str) -> None:
    assert as_prompt(template(name), comfy.get("/object_info")) == twin(name)


def as_prompt(workflow: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """A workflow of the page's format 0.4 as the prompt that the page would send."""
    sources = {link: [str(node), slot] for link, node, slot, *_ in workflow["links"]}
    nodes = [node for node in workflow["nodes"] if node["type"] not in NOTES]
    return {
        str(node["id"]): {"class_type": node["type"], "inputs": _inputs(node, info[node["type"]], sources)}
        for node in nodes
    }


def _inputs(node: dict[str, Any], info: dict[str, Any], sources: dict[int, list[Any]]) -> dict[str, Any]:
    links = {one["name"]: one["link"] for one in node["inputs"] if one["link"] is not None}
    values = list(node["widgets_values"])
    inputs: dict[str, Any] = {}
    for kind in ("required", "optional"):
        for name in info["input_order"].get(kind, []):
            type_, options = (*info["input"][kind][name], {})[:2]
            if isinstance(type_, list) or type_ in WIDGETS:
                inputs[name] = values.pop(0)  # an input that is linked instead keeps its widget's slot
                if options.get("control_after_generate"):
                    assert values.pop(0) in ("fixed", "increment", "decrement", "randomize")
            if name in links:
                inputs[name] = sources[links[name]]
    assert not values, f"{node['type']} has more widget values than widgets: {values}"
    return inputs


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_runs(comfy: Comfy, name: str) -> None:
    prompt = twin(name)
    for node in prompt.values():
        if "kimg" in node["inputs"]:
            node["inputs"] |= {"kimg": 2.0, "minutes": 5.0}
    run = comfy.run(Graph(prompt))
    pictures = 0
    for node, shown in run.outputs.items():
        if prompt[node]["class_type"] == "SaveImage":
            for where in shown["images"]:
                assert (comfy.output / where["subfolder"] / where["filename"]).is_file()
                pictures += 1
        if prompt[node]["class_type"] == "SaveGenerator":
            generator = gan_core.load(comfy.output / Path(shown["text"][0]).relative_to("output"))
            assert generator.decode(gan_core.sample_noise(generator, [0])).isfinite().all()
    assert pictures
