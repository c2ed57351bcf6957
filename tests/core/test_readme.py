"""The example of the README does what it says."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

README = Path(__file__).parents[2] / "README.md"
MARKER = "<!-- tested example -->"


def example() -> str:
    _, marker, after = README.read_text(encoding="utf-8").partition(MARKER)
    assert marker, f"README.md has no {MARKER}"
    block = re.search(r"```python\n(.*?)```", after, re.DOTALL)
    assert block, f"README.md has no Python after {MARKER}"
    return block[1]


def with_small_budget(program: str) -> str:
    program, changed = re.subn(r"\bkimg=[\d_.]+", "kimg=0.128", program)
    assert changed == 1, f"the example was to say kimg= once, but does {changed} times"
    return program


@pytest.fixture
def folder_with_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photos").mkdir()
    for i, pixels in enumerate(np.random.RandomState(0).randint(0, 256, (80, 40, 40, 3), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_trains_saves_loads_and_samples(folder_with_photos):
    program = folder_with_photos / "example.py"
    program.write_text(with_small_budget(example()), encoding="utf-8")
    names = runpy.run_path(str(program))
    assert names["progress"].images == 128
    assert names["images"].shape == (16, 3, 32, 32)
    assert (folder_with_photos / "photos.safetensors").exists()


def test_the_example_is_ten_lines():
    assert len([line for line in example().splitlines() if line.strip()]) <= 10
