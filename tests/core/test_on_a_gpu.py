"""What is promised on a GPU. Nothing of this runs where there is none."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_core import Generator, ImageDataset, TrainConfig, load, sample_noise, train
from gan_core.errors import OutOfMemory
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.training.memory import forecast
from gan_core.training.run import Run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

GPU = torch.device("cuda", 0)

EXAMPLE_NAMES = ["digits", "stylegan2-digits", "stylegan3-digits", "vae-digits"]

ROUNDING = 2e-5
"""How far a value of [-1, 1] may be rounded otherwise."""


def pair(name: str) -> tuple[Generator, Generator]:
    """An example on the CPU and on the GPU."""
    generator = load(EXAMPLES / f"{name}.safetensors")
    return generator, replace(generator, module=copy.deepcopy(generator.module).to(GPU))


def noise(side: int, count: int = 128) -> ImageDataset:
    pixels = np.random.RandomState(0).randint(0, 256, (count, side, side, 3), np.uint8)
    return ImageDataset.from_images(pixels, name="noise")


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_a_seed_is_the_image_that_it_is_on_the_cpu(name: str) -> None:
    cpu, gpu = pair(name)
    made = gpu.decode(sample_noise(gpu, range(8)))
    assert made.device == GPU
    torch.testing.assert_close(made.cpu(), cpu.decode(sample_noise(cpu, range(8))), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_a_seed_is_one_image_in_a_batch_of_any_size(name: str) -> None:
    _, gpu = pair(name)
    together = gpu.decode(sample_noise(gpu, range(8)))
    alone = torch.cat([gpu.decode(sample_noise(gpu, [seed])) for seed in range(8)])
    torch.testing.assert_close(alone, together, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_trainings_of_one_seed_are_alike(precision: str, tmp_path: Path) -> None:
    """They need not be equal to the bit: a GPU may add numbers in another order each time."""

    def weights(name: str) -> torch.Tensor:
        config = TrainConfig.of(tmp_path / name, preset="dcgan_small", batch_size=8, kimg=0.08, precision=precision)
        *_, _ = train(noise(16), config, GPU)
        module = load(tmp_path / name / "generator.safetensors").module
        return torch.cat([weight.detach().flatten().double() for weight in module.parameters()])

    one, other = weights("one"), weights("other")
    assert (one - other).norm() < 0.01 * one.norm()


@pytest.mark.parametrize(
    ("preset", "batch_size"), [("dcgan_classic", 64), ("r3gan_small", 64), ("stylegan2_small", 16)]
)
def test_a_forecast_is_near_what_steps_take(preset: str, batch_size: int, tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    data = noise(64)
    config = TrainConfig.of(tmp_path / "run", preset=preset, batch_size=batch_size, kimg=1, eager=True)
    run = Run(data, config, GPU)
    expected = forecast(run.method, data, GPU)
    for _ in range(9):
        run.step()
    assert expected.total == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.3)


# Too little memory.


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Leaves torch 1.5 GB."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.5e9 / torch.cuda.mem_get_info()[1])
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_a_training_that_does_not_fit_names_a_batch_that_does(tmp_path: Path) -> None:
    data = noise(64, 1024)
    config = TrainConfig.of(tmp_path / "run", preset="r3gan_small", batch_size=1024, kimg=1)
    with pytest.raises(OutOfMemory) as failed:
        list(train(data, config, GPU))
    batch = int(str(failed.value).rpartition("set batch_size to ")[2].rstrip("."))
    config = TrainConfig.of(tmp_path / "smaller", preset="r3gan_small", batch_size=batch, kimg=0.001)
    *_, last = train(data, config, GPU)
    assert last.images == batch


@pytest.mark.usefixtures("little_memory")
def test_a_batch_that_does_not_fit_is_decoded_in_parts() -> None:
    cpu, gpu = pair("stylegan2-digits")
    filled = torch.empty(int(1.3e9), dtype=torch.uint8, device=GPU)
    made = gpu.decode(sample_noise(gpu, range(64)))
    del filled
    torch.testing.assert_close(made.cpu(), cpu.decode(sample_noise(cpu, range(64))), rtol=0, atol=ROUNDING)
