"""How labels enter networks: a network with labels begins as large as one without, in every family that is trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gan_core import architectures
from gan_core.architectures import Architecture
from gan_core.training.design import build
from gan_core.training.monitor import diagnostics
from gan_core.training.presets import GAN_PRESETS
from gan_core.training.settings import AdversarialRecipe

SMALL = ("digits", "dcgan_small", "few", "r3gan_small", "stylegan2_small", "fastgan_small")
"""A preset of each family whose networks are built in a moment; the large ones share their code."""

CASES = [
    (preset, normalisation)
    for preset in SMALL
    for normalisation in architectures.by_name(str(GAN_PRESETS[preset].architecture)).normalisations
]

BATCH = 32


def networks(preset: str, normalisation: str, classes: int, seed: int = 0) -> tuple[nn.Module, nn.Module, Architecture]:
    recipe: AdversarialRecipe = GAN_PRESETS[preset]
    architecture = architectures.by_name(str(recipe.architecture))
    assert architecture.design
    config = architecture.design(side=64, start=(4, 4), channels=3, classes=classes, **recipe.network)
    return *build(architecture, config, normalisation, seed), architecture


def pictures() -> Tensor:
    """Smooth images [BATCH, 3, 64, 64] that differ from one another, as photographs do."""
    noise = torch.randn(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(noise, size=64, mode="bilinear").clamp(-1, 1)


def labels_of(classes: int) -> Tensor | None:
    return torch.arange(BATCH) % classes if classes else None


def logits(preset: str, normalisation: str, classes: int) -> Tensor:
    """Of discriminators that have learned nothing: [seeds, labels, images], with the label varied for each image."""
    found = []
    for seed in range(2):
        _, discriminator, _ = networks(preset, normalisation, classes, seed)
        with diagnostics.unmoved(discriminator):
            of_labels = [None] if not classes else [torch.full((BATCH,), label) for label in range(min(classes, 8))]
            found.append(torch.stack([discriminator(pictures(), labels) for labels in of_labels]))
    return torch.stack(found)


@pytest.mark.parametrize("classes", [2, 10, 300])
@pytest.mark.parametrize(("preset", "normalisation"), CASES)
def test_a_label_begins_by_weighing_no_more_than_what_an_image_shows(preset, normalisation, classes):
    plain, labelled = logits(preset, normalisation, 0), logits(preset, normalisation, classes)
    by_image = plain.std(dim=2).square().mean().sqrt()
    assert labelled.std(dim=1).square().mean().sqrt() < 4 * by_image
    assert labelled.std(dim=2).square().mean().sqrt() < 2 * by_image


@pytest.mark.parametrize(("preset", "normalisation"), CASES)
def test_another_label_is_another_logit(preset, normalisation):
    _, discriminator, _ = networks(preset, normalisation, 10)
    discriminator.eval()
    image = pictures()[:1].expand(2, -1, -1, -1)
    with torch.no_grad():
        first, second = discriminator(image, torch.tensor([3, 4]))
    assert first != second


@pytest.mark.parametrize("classes", [2, 10, 300])
@pytest.mark.parametrize("preset", SMALL)
def test_a_generator_begins_by_listening_to_the_noise_and_to_the_label(preset, classes):
    generator, _, architecture = networks(preset, "none", classes)
    plain, _, _ = networks(preset, "none", 0)

    def made(module: nn.Module, z: Tensor, labels: Tensor | None) -> Tensor:
        random = (torch.Generator().manual_seed(0),) if architecture.draws else ()
        with torch.no_grad():
            return module(z, labels, *random)

    size = GAN_PRESETS[preset].network.get("latent_size", 64)
    one, other = torch.randn(2, BATCH, size, generator=torch.Generator().manual_seed(2))
    labels = labels_of(classes)
    assert labels is not None
    images = made(generator, one, labels)
    by_label = (made(generator, one, (labels + 1) % classes) - images).square().mean().sqrt()
    by_noise = (made(generator, other, labels) - images).square().mean().sqrt()
    assert 0.05 < by_label / by_noise < 1.3
    assert 1 / 2 < images.std() / made(plain, one, None).std() < 2


@pytest.mark.parametrize("preset", ["few", "digits"])
def test_spectral_normalisation_holds_the_weights_of_labels_as_it_holds_all_others(preset):
    _, discriminator, _ = networks(preset, "spectral", 10)
    for _ in range(30):  # of the power iteration
        discriminator(pictures(), labels_of(10))
    layers = {name: module for name, module in discriminator.named_modules() if hasattr(module, "parametrizations")}
    assert {"embed", "head", "from_image"} < layers.keys()
    for layer in layers.values():
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
