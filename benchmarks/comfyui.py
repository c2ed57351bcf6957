"""Where ComfyUI is, for the benchmarks that run in it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""This checkout, which is the pack."""


@dataclass(frozen=True)
class ComfyUI:
    folder: Path
    python: str
    """The Python that runs it."""


def find() -> ComfyUI | None:
    """ComfyUI at COMFYUI_DIR, around this checkout or in ~/comfy/ComfyUI; None where it is in none of these."""
    told = os.environ.get("COMFYUI_DIR")
    around = [ROOT.parent.parent] if ROOT.parent.name == "custom_nodes" else []
    places = [Path(told)] if told else [*around, Path.home() / "comfy" / "ComfyUI"]
    folder = next((place.absolute() for place in places if (place / "main.py").is_file()), None)
    return ComfyUI(folder, _python(folder)) if folder else None


def _python(folder: Path) -> str:
    inside = ("bin/python", "Scripts/python.exe")
    pythons = [
        near / name / python for near in (folder, folder.parent) for name in (".venv", "venv") for python in inside
    ]
    found = next((str(python) for python in pythons if python.is_file()), sys.executable)
    return os.environ.get("COMFYUI_PYTHON") or found


ABSENT = "Set COMFYUI_DIR to ComfyUI's folder, and COMFYUI_PYTHON to its Python."
