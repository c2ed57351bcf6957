"""Weights and noise that are the same numbers everywhere, and what a reference implementation made of them.

The files in tests/golden hold a config, seeds, and a few statistics and pixels of the reference's images in float32 on
the CPU. Neither its code nor its files are needed to compare with them.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1].joinpath("golden")
TOLERANCE = 1e-4
"""Of a pixel in [-1, 1]: what a golden image may differ by."""


def weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Normal numbers for every name, by numpy's frozen stream; which ones depends on seed and name alone.

    Biases are small, as they are in trained networks, and an average magnitude is positive.
    """
    drawn = {}
    for name, shape in shapes.items():
        values = np.random.RandomState(zlib.crc32(f"{seed} {name}".encode())).randn(*shape)
        if name.endswith(("bias", "noise_strength", "w_avg")):
            values = 0.1 * values
        if name.endswith(("magnitude_ema", "running_var")):
            values = 0.5 + np.abs(values)
        drawn[name] = torch.from_numpy(np.asarray(values, np.float32))
    return drawn


def noise(seeds: list[int], size: int) -> Tensor:
    """z as NVIDIA's tools draw it for each seed, [N, size]."""
    return torch.from_numpy(np.stack([np.random.RandomState(seed).randn(size) for seed in seeds])).float()


def summary(images: Tensor) -> dict[str, Any]:
    """What is kept of images [N, C, H, W]: statistics of each image, and 24 pixels of each."""
    flat = images.double().flatten(1)
    places = np.random.RandomState(0).randint(flat.shape[1], size=24)
    return {
        "shape": list(images.shape),
        "mean": [round(value, 6) for value in flat.mean(1).tolist()],
        "std": [round(value, 6) for value in flat.std(1).tolist()],
        "pixels": [[round(value, 6) for value in row] for row in flat[:, places].tolist()],
    }


def largest_difference(images: Tensor, expected: dict[str, Any]) -> float:
    """Between images and what is kept of the reference's."""
    found = summary(images)
    assert found["shape"] == expected["shape"]
    return max(
        float(np.abs(np.asarray(found[part]) - np.asarray(expected[part])).max()) for part in ("mean", "std", "pixels")
    )


def cases(name: str) -> list[dict[str, Any]]:
    """The cases in tests/golden/<name>.json."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
