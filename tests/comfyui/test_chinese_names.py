"""What our Chinese texts call ComfyUI's own nodes is what its Chinese interface calls them."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from comfyui_server import ROOT, find_comfyui, find_python

NAMES = json.loads((ROOT / "tests" / "core" / "core_names_zh.json").read_text(encoding="utf-8"))
"""Names of nodes, and the labels that they are said to have."""


@pytest.fixture(scope="module")
def interface() -> str:
    """The names of nodes in Chinese, as the installed frontend has them: one file of JavaScript."""
    comfyui = find_comfyui()
    if comfyui is None:
        pytest.skip("ComfyUI is not here: COMFYUI_DIR says where it is.")
    where = "import comfyui_frontend_package as package; print(package.__path__[0])"
    done = subprocess.run([find_python(comfyui), "-c", where], capture_output=True, text=True, check=True)
    files = sorted(Path(done.stdout.strip(), "static", "assets").glob("nodeDefs-*.js"))
    (found,) = (text for text in (path.read_text(encoding="utf-8") for path in files) if _is_simplified_chinese(text))
    return found


def _is_simplified_chinese(text: str) -> bool:
    return "display_name:`加载图像`" in text


@pytest.mark.parametrize("name", NAMES)
def test_comfyui_calls_its_nodes_so(interface: str, name: str) -> None:
    nodes = [part for part in interface.split("display_name:")[1:] if part.startswith(f"`{name}`")]
    assert nodes, f"no node is called {name}"
    said = {label for node in nodes for label in re.findall("name:`([^`]*)`", node)}
    assert set(NAMES[name]) <= said
