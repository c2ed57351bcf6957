"""What holds on a CUDA device, where there is one: CONTRIBUTING.md says how to run these.

In bfloat16, which `auto` chooses there, a training is a function of its seed to the bit, captured or not, stopped or
not. In float32 cuDNN sums some gradients in an order of its own, and it is not.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_core import ImageDataset, TrainConfig
from gan_core.training.loop import Session
from gan_core.training.run import Run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

CUDA = torch.device("cuda")
STEPS = 70
"""Steps with R1 come every 16, and the fourth of a kind is captured."""


@pytest.fixture(scope="module")
def images() -> ImageDataset:
    side = np.linspace(0, 6, 64)
    waves = [
        [np.sin(a * side[:, None] + b * side + c) for a, b, c in np.random.default_rng(i).random((3, 3))]
        for i in range(300)
    ]
    pixels = np.moveaxis(127.5 * (np.array(waves) + 1), 1, 3).astype(np.uint8)
    return ImageDataset.from_images(pixels, mirror=True)


def run_of(images: ImageDataset, folder: Path, preset: str, eager: bool = False, resume: bool = False) -> Run:
    config = TrainConfig(folder, preset, kimg=1e6, seed=1, resume=resume, eager=eager, settings={"precision": "auto"})
    return Run(images, config, CUDA)


def weights_after(run: Run, steps: int) -> list[Tensor]:
    for _ in range(steps):
        run.step()
    return [tensor.clone() for group in run.written() for tensor in group]


@pytest.mark.parametrize(
    "preset", ["dcgan_small", "digits", "few", "r3gan_small", "stylegan2_small", "fastgan_small", "conv_vae"]
)
def test_captured_steps_are_eager_ones_to_the_bit(preset, images, tmp_path, caplog):
    eager = weights_after(run_of(images, tmp_path / "eager", preset, eager=True), STEPS)
    with caplog.at_level(logging.INFO):
        run = run_of(images, tmp_path / "captured", preset)
        captured = weights_after(run, STEPS)
    assert run.stepper.recorder is not None and run.stepper._captured, caplog.messages
    assert all(torch.equal(one, other) for one, other in zip(eager, captured, strict=True))


@pytest.mark.parametrize("preset", ["dcgan_small", "stylegan2_small"])
def test_a_resumed_run_goes_on_to_the_bit(preset, images, tmp_path):
    whole = weights_after(run_of(images, tmp_path / "whole", preset), 40)
    first = Session(run_of(images, tmp_path / "stopped", preset))
    weights_after(first.run, 20)
    first.files.checkpoint()
    resumed = weights_after(run_of(images, tmp_path / "stopped", preset, resume=True), 20)
    assert all(torch.equal(one, other) for one, other in zip(whole, resumed, strict=True))


def test_a_whole_run_measures_keeps_and_ends(images, tmp_path):
    session = Session(run_of(images, tmp_path / "run", "dcgan_small"))
    for _ in range(150):  # 9,600 images: two diagnoses
        session.advance()
    session.files.close()
    assert session.run.stepper.recorder is not None
    assert {"diversity", "generator_gradient"} <= session.run.history[-1].values.keys() | {
        name for record in session.run.history for name in record.values
    }
    assert (tmp_path / "run" / "generator.safetensors").is_file()
