"""Operators that a step calls: a GPU waits for the launch of each, and on a CPU each has its price."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode
from training_runs import begun

from gan_core import ImageDataset, TrainConfig
from gan_core.training import devices
from gan_core.training import presets as recipes

SLACK = 1.05
"""Other versions of torch call some more."""


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), options: Any = None) -> Any:
        self.calls[operator.overloadpacket.__name__] += 1
        return operator(*args, **(options or {}))


def calls_of_steps(preset: str, folder: Path, steps: int) -> list[Counter[str]]:
    """What each step calls, at 64x64 in bfloat16."""
    pixels = np.random.RandomState(0).randint(0, 256, (8, 64, 64, 3), np.uint8)
    config = TrainConfig.of(folder, preset=preset, kimg=1e6, batch_size=4, precision="auto")
    run, found = begun(ImageDataset.from_images(pixels), config).run, []
    for _ in range(steps):
        with Counting() as counting:
            run.step()
        found.append(counting.calls)
    return found


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "bf16_is_faster", lambda device: True)


@pytest.mark.parametrize(("preset", "most"), [("r3gan_small", 1350), ("stylegan2_small", 2115)])
def test_a_step_calls_no_more_operators_than_it_did(preset: str, most: int, tmp_path: Path) -> None:
    _, calls = calls_of_steps(preset, tmp_path, 2)  # the second, as the first makes constants
    assert calls.total() <= SLACK * most


def test_regularisers_cost_some_more_convolutions_and_not_one_for_each_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"base": 1024, "largest": 64, "mapping_layers": 2}
    monkeypatch.setitem(recipes.PRESETS, "stylegan2", replace(recipes.PRESETS["stylegan2"], network=network))
    steps = calls_of_steps("stylegan2", tmp_path, 5)
    both, plain, paths = (steps[step] for step in (0, 1, 4))
    assert plain["convolution"] <= 83 * SLACK
    assert paths["convolution"] <= (83 + 30) * SLACK
    assert both["convolution"] <= (83 + 30 + 44) * SLACK
    assert both["slice"] <= 20
