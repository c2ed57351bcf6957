"""FastGAN as it is trained: its discriminator, what that draws from what it sees, and whole runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from training_runs import finish, steps_of

import gan_core
from gan_core import ImageDataset, InputError, TrainConfig
from gan_core.architectures import fastgan, size_of
from gan_core.architectures.fastgan import ARCHITECTURE, FastGANConfig, FastGANGenerator
from gan_core.architectures.fastgan.discriminator import FastGANDiscriminator, distance, quarter
from gan_core.training import devices
from gan_core.training import presets as recipes

SMALL = FastGANConfig(64, 3, (4, 4, 3, 3, 2), (2, 1, 2, 1), classes=3, latent_size=5)


def with_noise(generator: FastGANGenerator) -> FastGANGenerator:
    for name, parameter in generator.named_parameters():
        if name.endswith("noise.strength"):
            parameter.data.fill_(1.0)
    return generator


def test_training_draws_noise_from_the_generator_it_is_handed_and_from_no_other():
    generator = with_noise(FastGANGenerator(SMALL)).train()
    z, labels = torch.ones(3, 5), torch.arange(3)
    state = torch.random.get_rng_state()
    first, again, other = (generator(z, labels, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_training_without_a_generator_of_random_numbers_draws_nothing():
    generator = with_noise(FastGANGenerator(SMALL)).train()
    z, labels = torch.ones(3, 5), torch.arange(3)
    state = torch.random.get_rng_state()
    assert torch.equal(generator(z, labels), generator(z, labels))
    assert torch.equal(torch.random.get_rng_state(), state)


NORMALISATIONS = ARCHITECTURE.normalisations
EVERY_NORMALISATION = pytest.mark.parametrize("normalisation", NORMALISATIONS)
SHAPES = [
    fastgan.design(64, (4, 4), 1, 0, base=1),
    fastgan.design(64, (4, 6), 4, 3, base=1),
    fastgan.design(192, (6, 4), 3, 2, base=1),
    fastgan.design(80, (5, 5), 3, 0, base=1),
    fastgan.design(512, (4, 4), 3, 0, base=8),
]
JUDGES = [fastgan.design(side, (4, 4), 3, 3, base=4, latent_size=5) for side in (64, 128, 256)]


def drawn_images(config, count=4):
    height, width = size_of(config)
    return torch.rand(count, config.channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@EVERY_NORMALISATION
@pytest.mark.parametrize("config", SHAPES, ids=lambda config: "x".join(map(str, size_of(config))))
def test_a_discriminator_gives_one_logit_for_each_image(config, normalisation):
    labels = torch.arange(2) % config.classes if config.classes else None
    discriminator, images = FastGANDiscriminator(config, normalisation), drawn_images(config, 2)
    logits = discriminator(images, labels)
    assert logits.shape == (2,)
    assert logits.dtype == torch.float32
    assert discriminator.self_supervision(images, torch.Generator().manual_seed(0)).shape == ()


def test_where_gradients_are_penalised_a_logit_depends_on_its_own_image_alone():
    images = drawn_images(JUDGES[1]).requires_grad_()
    labels = torch.arange(4) % 3
    discriminator = FastGANDiscriminator(JUDGES[1], "none").train()
    (gradient,) = torch.autograd.grad(discriminator(images, labels)[1], images)
    assert gradient[1].any()
    assert not gradient[[0, 2, 3]].any()


@EVERY_NORMALISATION
@pytest.mark.parametrize("config", JUDGES, ids=lambda config: str(config.side))
def test_every_weight_of_a_discriminator_learns_from_logits_and_drawings(config, normalisation):
    with devices.seeded(0):
        discriminator = FastGANDiscriminator(config, normalisation).train()
    images = drawn_images(config, 6)
    logits = discriminator(images, torch.arange(6) % 3)
    loss = (logits * torch.linspace(-1, 2, 6)).sum()
    loss = loss + discriminator.self_supervision(images, torch.Generator().manual_seed(0))
    loss.backward()
    learning = discriminator.named_parameters()
    assert [name for name, parameter in learning if parameter.grad is None or not parameter.grad.any()] == []


@EVERY_NORMALISATION
def test_first_logits_tell_images_apart_however_large_they_are_so_that_the_game_can_begin(normalisation):
    config = fastgan.design(256, (4, 4), 3, 0, base=4)
    with devices.seeded(0):
        discriminator = FastGANDiscriminator(config, normalisation).train()
    noisy = drawn_images(config)
    smooth = nn.functional.interpolate(noisy[..., ::64, ::64], scale_factor=64, mode="bilinear")
    logits = discriminator(torch.cat([noisy, smooth]))
    assert (logits[:4].mean() - logits[4:].mean()).abs() > 1e-2


@pytest.mark.parametrize(
    ("objective", "penalty", "normalisation", "gradient_penalty"),
    [("hinge", None, "batch", "none"), ("relativistic", None, "none", "r1_r2"), ("hinge", "r1", "none", "r1")],
)
def test_batch_norm_gives_way_where_a_recipe_penalises_gradients(objective, penalty, normalisation, gradient_penalty):
    recipe = replace(recipes.PRESETS["fastgan"], objective=objective, penalty=penalty)
    assert recipe.normalisation == normalisation
    assert recipe.gradient_penalty == gradient_penalty


def test_the_label_changes_a_logit_but_does_not_rule_the_first_ones():
    discriminator = FastGANDiscriminator(fastgan.design(64, (4, 4), 3, 2), "none")
    first, second = discriminator(drawn_images(JUDGES[0], 1).expand(2, 3, 64, 64), torch.arange(2))
    assert 0 < abs(first - second) < 2


def test_drawings_improve_with_training_on_the_same_images():
    with devices.seeded(0):
        discriminator = FastGANDiscriminator(fastgan.design(64, (4, 4), 1, 0, base=2)).train()
    images = torch.cat([drawn_images(fastgan.design(64, (4, 4), 1, 0), 2)[..., ::16, ::16]] * 4)
    images = nn.functional.interpolate(images, scale_factor=16, mode="bilinear")
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    losses = []
    for step in range(30):
        loss = discriminator.self_supervision(images, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_self_supervision_depends_on_the_generator_it_is_handed_and_on_no_other():
    discriminator = FastGANDiscriminator(JUDGES[0], "none")
    images = drawn_images(JUDGES[0])
    state = torch.random.get_rng_state()
    losses = [discriminator.self_supervision(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.random.get_rng_state(), state)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_quarter_is_the_same_place_of_features_and_images(data):
    height, width, scale, count = (data.draw(st.integers(1, 4)) for _ in range(4))
    which = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    features = torch.arange(count * 4 * height * width).float().reshape(count, 1, 2 * height, 2 * width)
    images = features.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    expected = quarter(features, which).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    assert torch.equal(quarter(images, which), expected)


def test_the_four_quarters_are_the_image():
    image = torch.arange(24.0).reshape(1, 1, 4, 6)
    upper_left, upper_right, lower_left, lower_right = quarter(image.expand(4, 1, 4, 6), torch.arange(4))
    rows = [torch.cat([upper_left, upper_right], dim=2), torch.cat([lower_left, lower_right], dim=2)]
    assert torch.equal(torch.cat(rows, dim=1), image[0])


def test_a_distance_is_the_mean_error_at_three_scales_by_hand():
    checkers = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None]
    assert distance(torch.zeros(1, 1, 8, 8), checkers).item() == pytest.approx(1 / 3), "they vanish at half the side"
    assert distance(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)).item() == pytest.approx(1)


def test_a_small_drawing_is_compared_with_the_average_of_the_pixels_it_stands_for():
    images = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    assert distance(nn.functional.avg_pool2d(images, 2), images).item() == pytest.approx(0, abs=1e-6)


def test_gradients_of_the_self_supervision_agree_with_finite_differences():
    with devices.seeded(0):
        discriminator = FastGANDiscriminator(fastgan.design(64, (4, 4), 1, 0, base=2), "none").double()
    images = drawn_images(fastgan.design(64, (4, 4), 1, 0, base=2), 2).double().requires_grad_()

    def loss(of):
        return discriminator.self_supervision(of, torch.Generator().manual_seed(0))

    (gradient,) = torch.autograd.grad(loss(images), images)
    way = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        difference = (loss(images + step * way) - loss(images - step * way)) / (2 * step)
    assert difference.item() == pytest.approx((gradient * way).sum().item(), rel=1e-4)


# Whole runs.


@pytest.fixture(params=["fastgan_small", "fastgan"])
def preset(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset with tiny networks."""
    recipe = recipes.PRESETS[request.param]
    monkeypatch.setitem(recipes.PRESETS, request.param, replace(recipe, network={"base": 2, "latent_size": 5}))
    return request.param


@pytest.fixture
def pictures() -> ImageDataset:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 64, 96, 3), np.uint8)
    return ImageDataset(pixels, "landscapes", "0" * 64, np.arange(12) % 2, ("night", "day"), mirror=True)


def config_for(folder: Path, preset: str, resume: bool = False) -> TrainConfig:
    return TrainConfig.of(folder, preset=preset, batch_size=5, kimg=4 * 5 / 1000, resume=resume)


def test_a_run_that_was_stopped_reaches_the_same_weights_as_one_that_was_not(pictures, tmp_path, preset):
    finish(pictures, config_for(tmp_path / "straight", preset))
    steps_of(pictures, config_for(tmp_path / "stopped", preset), 2)
    torch.manual_seed(1)  # on which nothing depends
    finish(pictures, config_for(tmp_path / "stopped", preset, resume=True))
    straight, stopped = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("straight", "stopped"))
    different = [name for name in straight if not torch.equal(straight[name], stopped[name])]
    assert set(different) <= {"history"}  # whose means are over other steps


def test_what_it_trained_opens_as_it_was(pictures, tmp_path, preset):
    training, _ = finish(pictures, config_for(tmp_path / "run", preset))
    opened = gan_core.load(tmp_path / "run" / "generator.safetensors")
    assert opened.architecture is ARCHITECTURE
    assert size_of(opened.config) == (64, 96)
    assert opened.classes == 2
    latent = gan_core.sample_noise(opened, range(3), labels=[0, 1, 0])
    assert torch.equal(opened.decode(latent), training.generator.decode(latent))


def test_images_too_small_for_it_are_refused_before_anything_is_written(noise_images, tmp_path):
    with pytest.raises(InputError, match="64, 128, 256, 512 or 1024 pixels"):
        finish(noise_images, config_for(tmp_path / "run", "fastgan"))
    assert list(tmp_path.iterdir()) == []
