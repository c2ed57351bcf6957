"""How much memory a training will take is counted before, and one that does not fit ends in a sentence with the batch
that does. The memory of a GPU is played by a discriminator that fails above a number of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_runs import CPU, finish

from gan_core import ImageDataset, TrainConfig, load, train
from gan_core.architectures import dcgan
from gan_core.errors import InputError, OutOfMemory
from gan_core.memory import Room
from gan_core.training import augmentation, memory
from gan_core.training.context import FromHost
from gan_core.training.distributed import World
from gan_core.training.memory import Forecast, LiveBytes, forecast, in_a_sentence
from gan_core.training.methods import method_for
from gan_core.training.presets import PRESETS
from gan_core.training.run import Run

GPU = torch.device("cuda", 0)


def pictures(side: int, channels: int = 3) -> ImageDataset:
    return ImageDataset(np.zeros((64, side, side, channels), np.uint8), "grey", "0" * 64)


# The forecast.


class Counted(TorchDispatchMode):
    """Counts real tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.live = LiveBytes()

    def __torch_dispatch__(self, operator: Any, types: Any, inputs: Any = (), options: Any = None) -> Any:
        made = operator(*inputs, **(options or {}))
        self.live.see(made)
        return made


SMALL = {
    "dcgan": {"width": 8, "latent_size": 8, "refine": 1},
    "r3gan": {"base": 128, "most": 32, "blocks": 1},
    "stylegan2": {"base": 128, "largest": 16, "latent_size": 8, "w_dim": 8, "mapping_layers": 2},
    "fastgan": {"base": 2, "latent_size": 8},
    "conv_vae": {"width": 8},
    "taesd_vae": {},
}


@pytest.mark.parametrize(
    ("preset", "side", "changes"),
    [
        ("dcgan_small", 32, {}),
        ("dcgan_small", 32, {"augment": "ada"}),
        ("few", 32, {}),
        ("dcgan_classic", 32, {"objective": "wgan"}),
        ("r3gan_small", 32, {}),
        ("stylegan2_small", 32, {}),
        ("fastgan_small", 64, {}),
        ("conv_vae", 28, {}),
        ("conv_vae", 32, {"adversarial_kimg": 1.0}),
        ("taesd_vae", 32, {}),
    ],
    ids=str,
)
def test_a_step_of_fake_tensors_takes_what_a_real_one_takes(
    preset: str, side: int, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "READ_FREELY", ())  # as on a GPU: all images are changed
    recipe = PRESETS[preset]
    recipe = replace(recipe, network=SMALL[recipe.architecture], batch_size=8, **changes)
    data = pictures(side)
    expected = forecast(method_for(recipe, data, preset, None, CPU, 0), data, CPU)

    method = method_for(recipe, data, preset, None, CPU, 0)
    stand_in = memory._stand_in(method, {})  # without Adam's moments, which are counted apart
    with Counted() as counted:
        before = counted.live.now
        memory._take_step(stand_in, data, CPU, FromHost(CPU))
    assert expected.step == pytest.approx(counted.live.peak - before, rel=0.1)


def test_weights_their_ema_and_moments_are_those_of_the_run(noise_images: ImageDataset, tmp_path: Path) -> None:
    config = TrainConfig.of(tmp_path / "run", preset="dcgan_small", batch_size=4, kimg=0.008)
    run = Run(noise_images, config, CPU)
    expected = forecast(run.method, noise_images, CPU)
    for _ in range(2):
        run.step()

    def size(tensors: Any) -> int:
        return sum(tensor.nbytes for tensor in tensors)

    modules = [network.module for network in run.method.networks.values()] + list(run.ema.values())
    states = [state for network in run.method.networks.values() for state in network.optimizer.state.values()]
    assert expected.weights == sum(size(module.state_dict().values()) for module in modules)
    assert expected.optimizer == size(state[name] for state in states for name in ("exp_avg", "exp_avg_sq"))


def test_a_forecast_leaves_a_run_as_it_is(noise_images: ImageDataset, tmp_path: Path) -> None:
    def weights(look: bool) -> torch.Tensor:
        run = Run(noise_images, TrainConfig.of(tmp_path / "run", preset="few", batch_size=4, kimg=1), CPU)
        with mock.patch.object(augmentation, "READ_FREELY", ()):
            if look:
                forecast(run.method, noise_images, CPU)
        run.step()
        return torch.cat([weight.flatten() for weight in run.method.networks["generator"].module.parameters()])

    assert torch.equal(weights(False), weights(True))


@pytest.mark.parametrize("preset", ["stylegan2_small", "fastgan_small", "r3gan_small"])
def test_nothing_fake_is_left_behind(preset: str) -> None:
    """Such as filters, which are computed once."""
    recipe = PRESETS[preset]
    network = {**SMALL[recipe.architecture], "latent_size": 12}  # as no other test
    if recipe.architecture == "stylegan2":
        network["largest"] = 24
    recipe, data = replace(recipe, network=network, batch_size=4, augment="none"), pictures(64)
    method = method_for(recipe, data, preset, None, CPU, 0)
    forecast(method, data, CPU)
    memory._take_step(method, data, CPU, FromHost(CPU))
    assert all(type(tensor) in (torch.Tensor, torch.nn.Parameter) for tensor in method.generator.state_dict().values())
    assert method.generator(torch.zeros(2, 12)).isfinite().all()


def test_more_images_take_more_memory() -> None:
    def step(batch_size: int) -> int:
        recipe = replace(PRESETS["dcgan_classic"], network=SMALL["dcgan"], batch_size=batch_size)
        return forecast(method_for(recipe, pictures(32), "dcgan_classic", None, CPU, 0), pictures(32), CPU).step

    assert step(64) > 3 * step(16)


GIGA = 1_000_000_000


@pytest.mark.parametrize(
    ("free", "end"),
    [
        (20, "20.0 of 24.0 GB are free."),
        (2, "2.0 of 24.0 GB are free, which is too little. A batch of 16 would fit."),
        (
            0.1,
            "0.1 of 24.0 GB are free, which is too little for a batch of 2 too. Choose smaller images, or a "
            "smaller preset.",
        ),
    ],
)
def test_a_forecast_is_a_sentence_with_the_batch_that_would_fit(free: float, end: str) -> None:
    expected = Forecast(weights=200_000_000, optimizer=360_000_000, step=5 * GIGA, batch_size=64)
    text = in_a_sentence(expected, GPU, Room(int(free * GIGA), 24 * GIGA))
    assert text == (
        "On cuda:0 this run takes about 5.7 GB (weights 200 MB, optimizer 360 MB, activations 5.0 GB); " + end
    )


def test_a_forecast_stands_among_the_remarks_of_a_run_on_a_gpu(
    noise_images: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig.of(tmp_path / "run", preset="dcgan_small", batch_size=4, kimg=0.004)
    assert not any("takes about" in remark for remark in finish(noise_images, config).training.remarks)
    monkeypatch.setattr(memory, "room", lambda device: Room(2 * GIGA, 24 * GIGA))
    run = Run(noise_images, replace(config, folder=tmp_path / "other"), CPU)
    run.device = GPU
    with mock.patch.object(memory, "forecast", return_value=Forecast(1, 1, 1, 4)):
        (text,) = memory.remarks_on(run)
    assert text.startswith("On cuda:0 this run takes about 90 MB")


def test_a_run_does_not_fail_for_want_of_a_forecast(
    noise_images: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Forecast:
        raise TypeError("another torch")

    run = Run(noise_images, TrainConfig.of(tmp_path / "run", preset="dcgan_small", batch_size=4, kimg=1), CPU)
    run.device = GPU
    monkeypatch.setattr(memory, "room", lambda device: Room(2 * GIGA, 24 * GIGA))
    monkeypatch.setattr(memory, "forecast", fails)
    assert memory.remarks_on(run) == []


# Out of memory.

Limit = Callable[[int], None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Sets how many images the discriminator can take."""
    forward = dcgan.DCGANDiscriminator.forward

    def set_to(most: int) -> None:
        def limited(self: Any, images: torch.Tensor, *more: Any) -> torch.Tensor:
            if len(images) > most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return forward(self, images, *more)

        monkeypatch.setattr(dcgan.DCGANDiscriminator, "forward", limited)

    return set_to


def config_of(folder: Path, **changes: Any) -> TrainConfig:
    return TrainConfig.of(folder, **{"preset": "dcgan_small", "batch_size": 16, "kimg": 0.064, **changes})


def test_a_training_that_does_not_fit_says_which_batch_does(
    noise_images: ImageDataset, tmp_path: Path, limit: Limit
) -> None:
    limit(5)
    with pytest.raises(OutOfMemory) as failed:
        finish(noise_images, config_of(tmp_path / "run"))
    assert isinstance(failed.value, InputError)
    assert str(failed.value).startswith(
        "Training dcgan_small on images of 16x16 in batches of 16 takes more memory than the CPU has"
    )
    assert str(failed.value).endswith(": a batch of 4 fits, so set batch_size to 4.")
    assert failed.value.__context__ is None  # nothing holds the memory of the step
    finish(noise_images, config_of(tmp_path / "smaller", batch_size=4))


def test_a_training_of_which_no_batch_fits_says_what_to_choose(
    noise_images: ImageDataset, tmp_path: Path, limit: Limit
) -> None:
    limit(1)
    with pytest.raises(OutOfMemory, match="lower batch_size, or choose smaller images or a smaller preset"):
        finish(noise_images, config_of(tmp_path / "run"))


def test_networks_that_do_not_fit_are_said_too(
    noise_images: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def placed(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("gan_core.training.methods.adversarial.placed_for_training", placed)
    with pytest.raises(OutOfMemory, match="Training dcgan_small on images of 16x16"):
        finish(noise_images, config_of(tmp_path / "run"))


def test_what_was_learned_before_memory_ran_out_is_kept(
    noise_images: ImageDataset, tmp_path: Path, limit: Limit
) -> None:
    training = train(noise_images, config_of(tmp_path / "run"), CPU)
    next(training)
    next(training)
    limit(5)
    with pytest.raises(OutOfMemory):
        next(training)
    assert load(tmp_path / "run" / "generator.safetensors").module is not None
    assert training.run.images == 16
    assert training.generator.device == CPU


def test_of_several_processes_none_tries_alone(noise_images: ImageDataset, tmp_path: Path) -> None:
    world = mock.Mock(spec=World, size=2)
    with mock.patch.object(memory, "_fits") as tried:
        error = memory.exhausted_by(config_of(tmp_path / "run"), noise_images, CPU, None, None, world)
    assert not tried.called
    assert "lower batch_size" in str(error)


def test_other_errors_of_a_step_stay_what_they_are(
    noise_images: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, images: torch.Tensor, *more: Any) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(dcgan.DCGANDiscriminator, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        finish(noise_images, config_of(tmp_path / "run"))
