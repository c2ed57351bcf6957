"""Networks compute on their device alone: nothing forward or backward waits for it, or comes from the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from pretended_gpu import OnGPU, plugged_in
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gan_core.architectures import Architecture
from gan_core.architectures.patch_discriminator import PatchDiscriminator
from gan_core.losses.gradient_penalties import gradient_penalty, image_gradients
from gan_core.losses.path_length import path_lengths, penalty
from gan_core.losses.reconstruction import LOSSES, free_bits, kl
from gan_core.training import presets
from gan_core.training.design import built, design
from gan_core.training.devices import placed_for_training
from gan_core.training.settings import Recipe

SMALL = {
    "dcgan": {"width": 4, "latent_size": 4, "refine": 1},
    "r3gan": {"base": 64, "most": 16, "blocks": 1},
    "stylegan2": {"base": 64, "largest": 8, "latent_size": 4, "w_dim": 4, "mapping_layers": 2},
    "fastgan": {"base": 1, "latent_size": 4},
    "conv_vae": {"width": 4},
    "taesd_vae": {},
}
CLASSES, COUNT = 3, 4


class Unaided(TorchDispatchMode):
    """Refuses what makes a GPU wait: numbers that are read from it, and tensors that come from the host."""

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), options: Any = None) -> Any:
        name = operator.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "lift_fresh", "nonzero", "equal"), f"{name} waits for the device"
        given = [each for each in args if isinstance(each, Tensor)]
        made = operator(*args, **(options or {}))
        if name in ("_to_copy", "copy_"):
            places = {isinstance(each, OnGPU) for each in (*given, made)}
            assert len(places) == 1, f"{name} between the host and the device"
        return made


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    with plugged_in() as device:
        yield device


def designed(preset: str) -> tuple[Recipe, Architecture, Any]:
    recipe = presets.PRESETS[preset]
    recipe = replace(recipe, network=SMALL[recipe.architecture])
    side = 64 if recipe.architecture == "fastgan" else 16
    return recipe, *design(recipe, side, side, 3, CLASSES)


@pytest.mark.parametrize("preset", ["dcgan", "r3gan_small", "stylegan2_small", "fastgan_small"])
def test_gans_and_their_gradients_need_nothing_of_the_host(preset: str, gpu: torch.device) -> None:
    recipe, architecture, config = designed(preset)
    made = built(architecture, config, recipe.normalisation)
    generator, discriminator = (placed_for_training(module, gpu) for module in made)
    random = torch.Generator(gpu).manual_seed(0)
    z = torch.randn(COUNT, config.latent_size).to(gpu)
    labels = (torch.arange(COUNT) % CLASSES).to(gpu)
    with Unaided():
        images = generator(z, labels, random) if architecture.draws else generator(z, labels)
        discriminator(images, labels).sum().backward()
        if preset == "fastgan_small":
            discriminator.self_supervision(images.detach(), random).backward()
        if preset in ("r3gan_small", "stylegan2_small"):
            images = images.detach().requires_grad_()
            gradient_penalty(image_gradients(discriminator(images, labels), images)).backward()
        if preset == "stylegan2_small":
            styles = generator.mixed_styles(z, labels, random)
            images = generator.synthesis(styles, generator.fresh_noise(COUNT, random))
            lengths = path_lengths(images, styles, random)
            penalty(lengths, lengths.detach().mean())[0].backward()


@pytest.mark.parametrize("reconstruction", LOSSES)
@pytest.mark.parametrize("preset", ["conv_vae", "taesd_vae"])
def test_vaes_and_their_losses_need_nothing_of_the_host(preset: str, reconstruction: str, gpu: torch.device) -> None:
    _, architecture, config = designed(preset)
    vae = placed_for_training(architecture.generator(config), gpu)
    judge = placed_for_training(PatchDiscriminator(3), gpu)
    images = torch.rand(COUNT, 3, 16, 16).to(gpu)
    with Unaided():
        mean, log_variance = vae.posterior(images)
        output = vae(mean + (log_variance / 2).exp())
        loss = LOSSES[reconstruction](output, images) + free_bits(kl(mean, log_variance), 0.1)
        (loss - judge(output).mean()).backward()


@pytest.mark.parametrize(
    ("aided", "why"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense waits"),
        (lambda x: x + torch.ones(2).to(x.device), "between the host and the device"),
        (lambda x: x.to("cpu"), "between the host and the device"),
        (lambda x: x.copy_(torch.ones(2)), "between the host and the device"),
    ],
)
def test_what_needs_the_host_is_refused(aided: Callable[[Tensor], Any], why: str, gpu: torch.device) -> None:
    x = torch.ones(2).to(gpu)
    with pytest.raises(AssertionError, match=why), Unaided():
        aided(x)
