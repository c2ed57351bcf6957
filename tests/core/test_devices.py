"""The generator decides where things are: whatever it is given is moved to the device of its weights, and what is made
of it lies there. A device that refuses tensors of another one stands for a GPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pretended_gpu import GPU, complete
from torch import Tensor

from gan_core import Generator, ImageDataset, Latent, load, sample_noise
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.metrics import measuring
from gan_core.metrics.coverage import density_and_coverage, precision_and_recall
from gan_core.metrics.features import Extractor
from gan_core.metrics.frechet import frechet
from gan_core.metrics.kid import kid
from gan_core.metrics.likelihood import elbo, importance_weighted
from gan_core.metrics.neighbours import nearest
from gan_core.sampling import directions as steering
from gan_core.sampling.encoding import images_for
from gan_core.sampling.labels import labels_for
from gan_core.sampling.mixing import mix_grid, mix_styles, truncate
from gan_core.sampling.projection import ProjectionConfig, projecting, psnr
from gan_core.sampling.spaces import to_space, to_styles
from gan_core.sampling.transform import Transform
from gan_core.sampling.walks import INTERPOLATIONS, walk

CPU = torch.device("cpu")


@pytest.fixture
def gpu():
    with complete() as device:
        yield device


def on(device: torch.device, value: Any) -> Any:
    """A copy of a generator, a latent, directions or a tensor, on a device."""
    if isinstance(value, Generator):
        return replace(value, module=copy.deepcopy(value.module).to(device))
    if isinstance(value, Latent):
        return Latent(value.samples.to(device), value.space, None if value.labels is None else value.labels.to(device))
    if isinstance(value, steering.Directions):
        return replace(value, **{name: getattr(value, name).to(device) for name in ("vectors", "deviations")})
    return value.to(device) if isinstance(value, Tensor) else value


def tensors_of(value: Any) -> list[Tensor]:
    if isinstance(value, Latent):
        return [value.samples, *([] if value.labels is None else [value.labels])]
    return [value]


STYLED, STYLEGAN3, PLAIN, VAE = "stylegan2-digits", "stylegan3-digits", "digits", "vae-digits"


def _moved(generator: Generator, latent: Latent) -> Latent:
    return steering.move(generator, latent, on(latent.samples.device, steering.sefa(generator, 2)), "2", [0.5, 1, 2])


def _pictures(generator: Generator, latent: Latent) -> Tensor:
    """Images in [-1, 1], where the latent is."""
    pixels = np.random.RandomState(0).rand(3, generator.config.channels, *generator.size)
    return torch.from_numpy(pixels.astype(np.float32) * 2 - 1).to(latent.samples.device)


MADE: dict[str, tuple[str, Callable[[Generator, Latent], Latent | Tensor]]] = {
    "decode": (STYLED, lambda generator, latent: generator.decode(latent)),
    "decode with noise": (STYLED, lambda generator, latent: generator.decode(latent, "random", 3)),
    "decode a mixture of classes": (
        STYLED,
        lambda generator, latent: generator.decode(replace(latent, labels=torch.full((3, 10), 0.1))),
    ),
    "decode w": (STYLED, lambda generator, latent: generator.decode(to_styles(generator, latent))),
    "decode transformed": (
        STYLEGAN3,
        lambda generator, latent: generator.decode(
            latent, transform=Transform(rotation=30).matrices(3).to(latent.samples.device)
        ),
    ),
    "decode of a plain generator": (PLAIN, lambda generator, latent: generator.decode(latent)),
    "decode of a tensor": (PLAIN, lambda generator, latent: generator.decode(latent.samples)),
    "encode": (VAE, lambda generator, latent: generator.encode(_pictures(generator, latent))),
    "map": (STYLED, lambda generator, latent: generator.mapped(latent)),
    "to the space z": (STYLED, lambda generator, latent: to_space(generator, latent, "z")),
    "to the space w": (STYLED, to_space),
    "truncated styles": (STYLED, lambda generator, latent: to_styles(generator, latent, 0.5, 2)),
    **{
        f"{way} walk in {space}": (
            STYLED,
            lambda generator, latent, way=way, space=space: walk(generator, latent, 3, way, space=space),
        )
        for way in INTERPOLATIONS
        for space in ("z", "w")
    },
    "open walk": (PLAIN, lambda generator, latent: walk(generator, latent, 3, closed=False)),
    "walk through w+": (
        STYLED,
        lambda generator, latent: walk(generator, mix_styles(generator, latent, latent, 2), 2),
    ),
    "mixed styles": (STYLED, lambda generator, latent: mix_styles(generator, latent, latent[:1], 2)),
    "mixed with styles elsewhere": (
        STYLED,
        lambda generator, latent: mix_styles(generator, latent, on(CPU, latent)[:1], 2),
    ),
    "grid of styles": (
        STYLED,
        lambda generator, latent: mix_grid(generator, latent, on(CPU, latent), 2, sources=True),
    ),
    "truncate": (STYLED, lambda generator, latent: truncate(generator, latent, 0.5)),
    "truncate towards a target elsewhere": (
        STYLED,
        lambda generator, latent: truncate(generator, latent, 0.5, 2, on(CPU, latent)[:1]),
    ),
    "truncate z": (PLAIN, lambda generator, latent: truncate(generator, latent, 0.5, target=on(CPU, latent)[:1])),
    "moved": (STYLED, _moved),
    "moved in z": (PLAIN, _moved),
    "sampled": (STYLED, lambda generator, latent: sample_noise(generator, [3, 4])),
    "sampled with labels": (STYLED, lambda generator, latent: sample_noise(generator, [3, 4, 5], labels=latent.labels)),
    "sampled with weights": (
        STYLED,
        lambda generator, latent: sample_noise(
            generator, [3, 4], labels=torch.full((10,), 0.1).to(latent.samples.device)
        ),
    ),
    "sampled from a mixture": (VAE, lambda generator, latent: sample_noise(generator, [3, 4], 0.7)),
    "sampled in w": (STYLED, lambda generator, latent: sample_noise(generator, [3, 4], 0.7)),
    "labels": (STYLED, lambda generator, latent: labels_for(generator, 3, latent.labels)),
    "noise's mean style": (STYLED, lambda generator, latent: generator.average_style),
}


@pytest.mark.parametrize("latent_on", [CPU, GPU], ids=["latents on the CPU", "latents on the GPU"])
@pytest.mark.parametrize("generator_on", [CPU, GPU], ids=["generator on the CPU", "generator on the GPU"])
@pytest.mark.parametrize("name", MADE)
def test_what_is_made_lies_where_the_generator_is_wherever_the_latents_are(name, generator_on, latent_on):
    example, make = MADE[name]
    generator = load(EXAMPLES / f"{example}.safetensors")
    latent = sample_noise(generator, [7, 8, 9])
    expected = tensors_of(make(generator, latent))
    with complete():
        made = tensors_of(make(on(generator_on, generator), on(latent_on, latent)))
        assert all(tensor.device == generator_on for tensor in made)
        for found, wanted in zip(made, expected, strict=True):
            assert found.dtype == wanted.dtype
            assert torch.allclose(found.cpu(), wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "name", ["decode", "to the space z", "to the space w", "spherical walk in z", "truncate z", "moved"]
)
def test_latents_of_any_precision_become_float32(name, dtype):
    example, make = MADE[name]
    generator = load(EXAMPLES / f"{example}.safetensors")
    latent = sample_noise(generator, [7, 8, 9])
    made = make(generator, replace(latent, samples=latent.samples.to(dtype)))
    assert tensors_of(made)[0].dtype == torch.float32


# What is kept lies on the CPU.


@pytest.mark.parametrize("generator_on", [CPU, GPU], ids=["generator on the CPU", "generator on the GPU"])
@pytest.mark.parametrize(
    "find",
    [
        steering.sefa,
        lambda generator, latent: steering.pca(generator, 2, 16),
        lambda generator, latent: steering.boundary(generator, latent[:2], on(CPU, latent)[2:]),
        steering.class_boundaries,
    ],
    ids=["sefa", "pca", "boundary", "classes"],
)
def test_directions_are_found_and_saved_wherever_the_latents_are(find, generator_on, gpu, tmp_path):
    generator = on(generator_on, load(EXAMPLES / f"{STYLED}.safetensors"))
    latent = on(gpu, sample_noise(generator, range(6), labels=[0, 1, 2, 0, 1, 2]))
    found = find(generator) if find is steering.sefa else find(generator, latent)
    assert {tensor.device for tensor in (found.vectors, found.deviations, found.strengths)} == {CPU}
    again = steering.load(steering.save(on(gpu, found), tmp_path / "directions.safetensors"))
    assert torch.equal(again.vectors, found.vectors)
    assert found.belong_to(generator)


@pytest.mark.parametrize("example", [STYLED, PLAIN])
@pytest.mark.parametrize("where", [CPU, GPU], ids=["on the CPU", "on the GPU"])
def test_images_anywhere_are_projected(example, where, gpu):
    generator = load(EXAMPLES / f"{example}.safetensors")
    target = generator.decode(sample_noise(generator, [1])).clamp(-1, 1).to(gpu)
    *_, last = projecting(generator, target, ProjectionConfig(steps=2, candidates=4, tuning_steps=1), where)
    assert last.latent.samples.device == last.targets.device == last.images.device == CPU
    assert last.generator.device == CPU  # where the given one is
    assert last.psnr > 0


def test_figures_are_the_same_wherever_the_features_are(gpu):
    real, fake = (torch.from_numpy(np.random.RandomState(seed).randn(12, 5)).float() for seed in (0, 1))
    for figure in (kid, frechet, precision_and_recall, density_and_coverage):
        expected = figure(real, fake)
        assert (
            figure(real.to(gpu), fake) == figure(real, fake.to(gpu)) == figure(real.to(gpu), fake.to(gpu)) == expected
        )
    assert torch.equal(nearest(real.to(gpu), fake)[0], nearest(real, fake)[0])


@pytest.mark.parametrize("extractor_on", [CPU, GPU], ids=["extractor on the CPU", "extractor on the GPU"])
@pytest.mark.parametrize("generator_on", [CPU, GPU], ids=["generator on the CPU", "generator on the GPU"])
def test_a_generator_is_measured_wherever_it_is(generator_on, extractor_on, gpu):
    generator = on(generator_on, load(EXAMPLES / f"{STYLED}.safetensors"))
    pixels = np.random.RandomState(0).randint(0, 256, (12, *generator.size, 1), np.uint8)
    data = ImageDataset(pixels, "noise", "0" * 64)
    colours = Extractor("colours", (8, 8), lambda images: images.to(extractor_on).flatten(1))
    *_, last = measuring(generator, data, 12, extractor=colours)
    assert last.report.kid > 0
    assert last.nearest[0].device == last.nearest[1].device == CPU


@pytest.mark.parametrize("generator_on", [CPU, GPU], ids=["VAE on the CPU", "VAE on the GPU"])
def test_likelihoods_of_images_anywhere(generator_on, gpu):
    given = load(EXAMPLES / f"{VAE}.safetensors")
    images = torch.from_numpy(np.random.RandomState(1).randint(0, 256, (3, 1, *given.size), np.uint8))
    expected = elbo(given, images).nats, importance_weighted(given, images, 2)
    generator = on(generator_on, given)
    assert elbo(generator, images.to(gpu)).nats == pytest.approx(expected[0])
    assert torch.allclose(importance_weighted(generator, images.to(gpu), 2), expected[1])


def test_images_anywhere_are_fitted_to_a_generator(gpu):
    generator = load(EXAMPLES / f"{VAE}.safetensors")
    images = torch.rand(2, 40, 30, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images_for(generator, images.to(gpu)), images_for(generator, images))


def test_psnr_of_images_on_a_gpu(gpu):
    images = torch.zeros(1, 3, 4, 4)
    assert psnr(images.to(gpu), images.to(gpu)) == psnr(images, images)
