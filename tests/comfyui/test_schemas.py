"""The nodes as ComfyUI offers them. Their schemas are public: shared workflows hold node ids, input names and order.

schemas.json is what they were. After adding a node, an input, an output or an option, write it anew with

    UPDATE_SCHEMAS=1 python -m pytest tests/comfyui/test_schemas.py

and commit it. What breaks a shared workflow is never written: for that, delete the file first, and think twice.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Comfy

GOLDEN = Path(__file__).with_name("schemas.json")

FROM_DISK = {
    ("LoadGANImageFolder", "folder"), ("LoadGenerator", "name"), ("ImportGenerator", "name"),
    ("LoadLatentDirections", "name"), ("VAEToGenerator", "name"), ("LoadGANRunSheets", "run"),
}  # fmt: skip
"""Inputs whose options are what lies in a folder."""

NODES = [
    "LoadGANImageFolder", "ImagesToGANDataset", "TrainGAN", "SaveGenerator", "LoadGenerator", "SampleNoise", "Decode",
    "ImportGenerator", "MapLatent", "TransformStyleGAN3",
    "GANLatentWalk", "MixGANStyles", "TruncateLatent", "GANSeedGrid",
    "FindLatentDirections", "ApplyLatentDirection", "LatentDirectionGrid", "SaveLatentDirections",
    "LoadLatentDirections", "ProjectImageToLatent", "VAEToGenerator", "GeneratorToVAE",
    "TrainVAE", "EncodeWithGenerator", "LoadGeneratorFromHub", "PublishGenerator",
    "MeasureGenerator", "MeasureVAELikelihood", "CompareGenerators", "GANSettings", "VAESettings",
    "LoadGANRunSheets",
]  # fmt: skip


@pytest.fixture(scope="module")
def info(comfy: Comfy) -> dict[str, Any]:
    return comfy.node_info()


# What a person reads.


def test_every_node_is_there(info: dict[str, Any]) -> None:
    assert set(NODES) <= info.keys()


def test_every_node_introduces_itself(info: dict[str, Any]) -> None:
    for name, node in info.items():
        assert "".join(filter(str.isalnum, node["display_name"])).lower() == name.lower()
        assert node["description"].endswith("."), name
        assert node["category"].split("/")[0] == "GAN", name
        assert len(node["search_aliases"]) >= 3, name


def test_every_input_and_output_has_a_tooltip(info: dict[str, Any]) -> None:
    for name, node in info.items():
        for input_name, (_, options) in inputs_of(node).items():
            assert len(options.get("tooltip", "")) > 10, f"{name}.{input_name}"
        assert len(node["output_tooltips"] or []) == len(node["output"]), name
        assert all(len(tooltip or "") > 10 for tooltip in node["output_tooltips"] or []), name


def inputs_of(node: dict[str, Any]) -> dict[str, Any]:
    """Inputs by name, in the order of the widgets."""
    return {
        name: definition if len(definition) > 1 else [*definition, {}]
        for kind in ("required", "optional")
        for name, definition in node["input"].get(kind, {}).items()
    }


# What shared workflows rely on.


def schemas(info: dict[str, Any]) -> dict[str, Any]:
    """What of the server's answer a workflow holds on to."""
    return {
        name: {
            "inputs": [
                {"name": key, "type": kind, "required": key in node["input"].get("required", {})}
                | ({"options": options["options"]} if "options" in options and (name, key) not in FROM_DISK else {})
                | ({"control_after_generate": True} if options.get("control_after_generate") else {})
                for key, (kind, options) in inputs_of(node).items()
            ],
            "outputs": [
                {"name": key, "type": kind} for key, kind in zip(node["output_name"], node["output"], strict=True)
            ],
        }
        for name, node in sorted(info.items())
    }


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What of the old schemas no longer holds, a line for each. Empty where the new have only grown."""
    found = [f"{name}: the node is gone" for name in old.keys() - new.keys()]
    for name in old.keys() & new.keys():
        for part in ("inputs", "outputs"):
            had, has = old[name][part], new[name][part]
            places = [one["name"] for one in has]
            for place, one in enumerate(had):
                where = f"{name}, {part} {place + 1}, {one['name']}"
                if one["name"] not in places:
                    found.append(f"{where}: it is gone or renamed")
                elif places[place] != one["name"]:
                    found.append(f"{where}: it has moved to place {places.index(one['name']) + 1}")
                else:
                    found += [f"{where}: {problem}" for problem in _changes(one, has[place])]
            for one in has[len(had) :]:
                if one.get("required"):
                    found.append(f"{name}, {part}, {one['name']}: a new input is required, and old workflows lack it")
    return sorted(found)


def _changes(had: dict[str, Any], has: dict[str, Any]) -> list[str]:
    found = []
    if not set(had["type"].split(",")) <= set(has["type"].split(",")):
        found.append(f"it was of type {had['type']} and is of type {has['type']}")
    if has.get("required") and not had["required"]:
        found.append("it was optional and is required")
    if had.get("control_after_generate") != has.get("control_after_generate"):
        found.append("its control_after_generate has come or gone, which moves the values of all widgets after it")
    found += [f"the option {option} is gone" for option in had.get("options", []) if option not in has["options"]]
    return found


def test_schemas_only_grow(info: dict[str, Any]) -> None:
    """Node ids, input names and their order are public: they are in people's workflows and in the images they share.

    A node, a last and optional input, a last output or an option may be added; nothing may go, be renamed, change its
    place or become required.
    """
    now = schemas(info)
    old = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    broken = breaks(old, now)
    assert not broken, "Schemas only grow, and these changes break the workflows that people have:\n" + "\n".join(
        broken
    )
    if os.environ.get("UPDATE_SCHEMAS"):
        GOLDEN.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
        return
    assert old == now, (
        "Schemas have grown, which is fine. Keep the new state, so that it does not shrink again:\n"
        "    UPDATE_SCHEMAS=1 python -m pytest tests/comfyui/test_schemas.py"
    )


BEFORE = {
    "A": {
        "inputs": [
            {"name": "x", "type": "INT", "required": True, "control_after_generate": True},
            {"name": "y", "type": "COMBO", "required": True, "options": ["p", "q"]},
            {"name": "z", "type": "MODEL", "required": False},
        ],
        "outputs": [{"name": "o", "type": "IMAGE"}],
    }
}


def changed(change: str) -> dict[str, Any]:
    new = json.loads(json.dumps(BEFORE))
    inputs, outputs = new["A"]["inputs"], new["A"]["outputs"]
    changes = {
        "an input is removed": inputs.pop,
        "an input is renamed": lambda: inputs[0].update(name="w"),
        "inputs change places": lambda: inputs.insert(0, inputs.pop(1)),
        "an input is inserted": lambda: inputs.insert(1, {"name": "n", "type": "INT", "required": False}),
        "a type changes": lambda: inputs[0].update(type="FLOAT"),
        "a seed loses its control": lambda: inputs[0].pop("control_after_generate"),
        "an input becomes required": lambda: inputs[2].update(required=True),
        "an option is removed": inputs[1]["options"].pop,
        "a required input is added": lambda: inputs.append({"name": "n", "type": "INT", "required": True}),
        "an output is renamed": lambda: outputs[0].update(name="n"),
        "the node is removed": lambda: new.pop("A"),
        "an input is added": lambda: inputs.append({"name": "n", "type": "INT", "required": False}),
        "an option is added": lambda: inputs[1]["options"].insert(0, "n"),
        "a type is widened": lambda: inputs[2].update(type="MODEL,VAE"),
        "an output is added": lambda: outputs.append({"name": "n", "type": "MASK"}),
        "a node is added": lambda: new.update(B={"inputs": [], "outputs": []}),
    }
    changes[change]()
    return new


@pytest.mark.parametrize(
    "change",
    [
        "an input is removed",
        "an input is renamed",
        "inputs change places",
        "an input is inserted",
        "a type changes",
        "a seed loses its control",
        "an input becomes required",
        "an option is removed",
        "a required input is added",
        "an output is renamed",
        "the node is removed",
    ],
)
def test_what_breaks_workflows_is_found(change: str) -> None:
    assert breaks(BEFORE, changed(change))


@pytest.mark.parametrize(
    "change",
    ["an input is added", "an option is added", "a type is widened", "an output is added", "a node is added"],
)
def test_growth_is_allowed(change: str) -> None:
    assert not breaks(BEFORE, changed(change))
