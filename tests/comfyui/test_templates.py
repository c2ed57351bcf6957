"""The workflows that ComfyUI offers: whole, the same in both formats, and all of them run."""

import json
import re
import urllib.parse
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

DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
"""A choice that brings widgets of its own, whose names begin with its name and a dot."""

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC}
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
    definitions = _in_order(info["input"])
    while definitions:
        name, (type_, options) = definitions.pop(0)
        if isinstance(type_, list) or WIDGETS.issuperset(type_.split(",")):
            inputs[name] = values.pop(0)  # an input that is linked instead keeps its widget's slot
            if options.get("control_after_generate"):
                assert values.pop(0) in ("fixed", "increment", "decrement", "randomize")
        if type_ == DYNAMIC:
            chosen = next(option for option in options["options"] if option["key"] == inputs[name])
            definitions = [*_in_order(chosen["inputs"], f"{name}."), *definitions]
        if name in links:
            inputs[name] = sources[links[name]]
    assert not values, f"{node['type']} has more widget values than widgets: {values}"
    return inputs


def _in_order(inputs: dict[str, Any], prefix: str = "") -> list[tuple[str, list[Any]]]:
    """Inputs of a schema by name, in the order of their widgets."""
    return [
        (prefix + name, [*definition, {}][:2])
        for kind in ("required", "optional")
        for name, definition in inputs.get(kind, {}).items()
    ]


NEED_A_MODEL = {"gan_sketch_to_diffusion"}
"""Templates for a diffusion model, which does not come with the pack."""


@pytest.mark.parametrize("name", sorted(NEED_A_MODEL))
def test_a_template_for_a_model_lacks_nothing_but_the_model(comfy: Comfy, name: str) -> None:
    reasons = comfy.refusal_of(Graph(twin(name))).splitlines()
    assert [reason for reason in reasons if "ckpt_name" not in reason and "outputs failed" not in reason] == []


@pytest.mark.parametrize("name", sorted(NEED_A_MODEL))
def test_a_template_says_where_the_model_is(comfy: Comfy, name: str) -> None:
    """So that the page offers to download it."""
    named = [(node, model) for node in template(name)["nodes"] for model in node["properties"].get("models", [])]
    assert named
    for node, model in named:
        assert model["name"] in node["widgets_values"]
        assert model["directory"] in comfy.get("/models")
        address = urllib.parse.urlsplit(model["url"])
        assert (address.scheme, address.netloc) == ("https", "huggingface.co")
        assert address.path.endswith(f"/resolve/main/{model['name']}")
        assert model["hash_type"] == "SHA256" and re.fullmatch("[0-9a-f]{64}", model["hash"])


@pytest.mark.parametrize("name", sorted(NEED_A_MODEL))
def test_what_comes_before_the_model_runs(comfy: Comfy, name: str) -> None:
    prompt = twin(name)
    away = {node for node, value in prompt.items() if value["class_type"] == "CheckpointLoaderSimple"}
    while after := {node for node in prompt if _sources(prompt[node]) & away} - away:
        away |= after
    run = comfy.run(Graph({node: value for node, value in prompt.items() if node not in away}))
    assert any(shown["images"] for shown in run.outputs.values())


def _sources(node: dict[str, Any]) -> set[str]:
    return {value[0] for value in node["inputs"].values() if isinstance(value, list)}


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name not in NEED_A_MODEL])
def test_a_template_runs(comfy: Comfy, name: str, request: pytest.FixtureRequest) -> None:
    prompt = twin(name)
    measuring = ("MeasureGenerator", "CompareGenerators")
    if any(node["class_type"] in measuring for node in prompt.values()):
        request.getfixturevalue("network")
    for node in prompt.values():
        if "kimg" in node["inputs"]:
            node["inputs"] |= {"kimg": 2.0, "minutes": 5.0}
        if node["class_type"] in measuring:
            node["inputs"]["count"] = 50
    run = comfy.run(Graph(prompt))
    pictures = 0
    for node, shown in run.outputs.items():
        if prompt[node]["class_type"] in ("SaveImage", "SaveVideo"):
            for where in shown["images"]:
                assert (comfy.output / where["subfolder"] / where["filename"]).is_file()
                pictures += 1
        if prompt[node]["class_type"] == "SaveGenerator":
            generator = gan_core.load(comfy.output / Path(shown["text"][0]).relative_to("output"))
            assert generator.decode(gan_core.sample_noise(generator, [0])).isfinite().all()
    assert pictures
