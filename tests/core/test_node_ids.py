"""Node ids are in people's workflows for ever, and ComfyUI has one list of ids for all packs.

comfyui_node_ids.txt holds those of ComfyUI itself (August 2026). Where a ComfyUI is found, its sources are read too.
"""

import ast
import re
from pathlib import Path

import pytest
from comfyui_server import find_comfyui

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "nodes").glob("**/*.py"))

OF_THE_MISSION = {"LoadGenerator", "SampleNoise", "TrainGAN", "Decode"}
"""Ids that were given, whatever others take."""

IDS = OF_THE_MISSION | {
    "LoadGANImageFolder", "ImagesToGANDataset", "TrainVAE",
    "SaveGenerator", "ImportGenerator", "VAEToGenerator", "GeneratorToVAE", "EncodeWithGenerator",
    "MapLatent", "TruncateLatent", "MixGANStyles", "GANLatentWalk", "GANSeedGrid", "TransformStyleGAN3",
    "FindLatentDirections", "ApplyLatentDirection", "LatentDirectionGrid", "SaveLatentDirections",
    "LoadLatentDirections", "ProjectImageToLatent",
    "MeasureGenerator", "MeasureVAELikelihood", "CompareGenerators", "LoadGeneratorFromHub", "PublishGenerator",
    "GANSettings", "VAESettings", "LoadGANRunSheets",
}  # fmt: skip
"""Every id of this pack. A new one is looked up in the node map of ComfyUI-Manager and in a code search first."""

OF_OTHER_PACKS = {
    "GANImg2Img", "LoadFastGAN", "LoadVQGAN",
    "LoadStyleGAN", "StyleGANSampler", "StyleGANInversion", "GenerateStyleGANLatent", "BlendStyleGANLatents",
    "BatchAverageStyleGANLatents", "StyleGANLatentFromBatch", "LoadStyleGANLatentImg", "SaveStyleGANLatentImg",
    "StyleGAN2ModelLoader", "StyleGAN2Sampler", "StyleGAN2LatentWalk", "StyleGAN2Interpolate",
    "LatentWalk", "LatentWalkVae", "LatentWalkNoise", "LatentWalkConditional", "LatentWalkConditionalRandom",
    "LoadImageFolder", "Load Image Folder", "Load_Image_Folder",
}  # fmt: skip
"""What packs with GANs, walks and folders of images are called by (ComfyUI-Manager's node map, August 2026)."""

SOCKETS_OF_OTHERS = {"TRANSFORM", "OFFSET", "LORA_MODEL", "NOISE", "MODEL", "LATENT", "IMAGE", "DIRECTIONS"}
"""Types that ComfyUI or other packs use for something else."""


def test_the_pack_has_these_nodes() -> None:
    assert set(_declared(SOURCES)) == IDS


def test_a_class_is_called_as_its_node_is() -> None:
    for path in SOURCES:
        for item in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(item, ast.ClassDef) and (ids := _ids(item)):
                assert ids == {item.name}


@pytest.mark.parametrize("node_id", sorted(IDS - OF_THE_MISSION))
def test_an_id_says_what_it_is_about(node_id: str) -> None:
    assert re.search(r"GAN|VAE|Generator|Latent", node_id), f"{node_id} is a bare word that others may take"


def test_no_node_of_comfyui_has_such_an_id() -> None:
    known = (Path(__file__).with_name("comfyui_node_ids.txt")).read_text(encoding="utf-8").splitlines()
    assert "KSampler" in known and len(known) > 500
    assert _alike(IDS, {*known, *OF_OTHER_PACKS}) == set()


def test_the_comfyui_that_is_here_has_no_such_id() -> None:
    root = find_comfyui()
    if root is None:
        pytest.skip("ComfyUI is not found; set COMFYUI_DIR to its folder")
    sources = [root / "nodes.py", *(root / "comfy_extras").glob("*.py"), *(root / "comfy_api_nodes").glob("*.py")]
    theirs = set(_declared(sources))
    assert "KSampler" in theirs
    assert _alike(IDS, theirs) == set()


def test_sockets_are_not_those_of_others() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    sockets = set(re.findall(r'io\.Custom\("(\w+)"\)', text))
    assert sockets == {"GENERATOR", "IMAGE_DATASET", "STYLEGAN3_TRANSFORM", "LATENT_DIRECTIONS", "LOSS_MAP"} | {
        "GAN_SETTINGS",
        "VAE_SETTINGS",
    }
    assert sockets & SOCKETS_OF_OTHERS == set()


def _alike(ours: set[str], theirs: set[str]) -> set[str]:
    """Ids of ours that are others', but for spaces, underscores and capitals."""
    plain = {re.sub(r"[\s_]", "", each).lower() for each in theirs}
    return {each for each in ours if each.lower() in plain}


def _declared(sources: list[Path]) -> list[str]:
    """Every id that these files declare, in a schema or in a NODE_CLASS_MAPPINGS."""
    return [each for path in sources for each in _ids(ast.parse(path.read_text(encoding="utf-8")))]


def _ids(tree: ast.AST) -> set[str]:
    found = {node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "node_id"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and "NODE_CLASS_MAPPINGS" in map(ast.unparse, node.targets):
            found |= set(node.value.keys) if isinstance(node.value, ast.Dict) else set()
    return {each.value for each in found if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def test_only_the_host_imports_comfyuis_own_modules() -> None:
    own = re.compile(
        r"^(?:from|import) (?:comfy|comfy_execution|comfyui_version|folder_paths|server|execution)\b", re.M
    )
    found = {path.relative_to(ROOT / "nodes") for path in SOURCES if own.search(path.read_text(encoding="utf-8"))}
    assert found and {path.parts[0] for path in found} == {"host"}
