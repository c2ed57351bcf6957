"""StyleGAN2 as it is trained: its discriminator, and what the generator draws of its own."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from stylegan2_networks import SMALL, generator_of
from training_runs import finish, steps_of

import gan_core
from gan_core import ImageDataset, TrainConfig
from gan_core.architectures.architecture import size_of
from gan_core.architectures.layers.resampling import blurred
from gan_core.architectures.layers.style import W_AVG_HALF_LIFE, Linear, Mapping
from gan_core.architectures.stylegan2 import ARCHITECTURE, StyleGAN2Config, StyleGAN2Generator
from gan_core.architectures.stylegan2.discriminator import (
    EqualisedConv,
    HalveSide,
    StyleGAN2Discriminator,
    minibatch_deviation,
)
from gan_core.training import presets as recipes

WIDE = StyleGAN2Config(32, 3, (64, 64, 32, 16), latent_size=64, w_dim=64)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(config: StyleGAN2Config, count: int) -> torch.Tensor:
    return torch.randn(count, config.channels, *size_of(config))


# The discriminator.


@pytest.mark.parametrize("start", [(4, 4), (4, 6), (7, 5)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("classes", [0, 3])
def test_any_images_have_a_logit_each(start: tuple[int, int], channels: int, classes: int) -> None:
    config = replace(SMALL, side=4 * start[0], start=start, channels=channels, classes=classes)
    discriminator = StyleGAN2Discriminator(config)
    for count in range(1, 7):
        labels = torch.arange(count) % 3 if classes else None
        logits = discriminator(images_of(config, count), labels)
        assert logits.shape == (count,) and logits.dtype == torch.float32 and logits.isfinite().all()


def test_in_half_precision_it_says_nearly_the_same() -> None:
    discriminator, images = StyleGAN2Discriminator(WIDE), images_of(WIDE, 16)
    logits = discriminator(images)
    with torch.autocast("cpu", torch.bfloat16):
        near = discriminator(images)
    assert near.dtype == torch.float32
    assert (near - logits).abs().max() < 0.03 * logits.abs().mean()


def test_fresh_weights_keep_features_at_unit_scale() -> None:
    """A leaky ReLU's gain of sqrt 2 is for one without a leak: with 0.2 of it, squares become 1.04 times as large."""

    def square(x: torch.Tensor) -> float:
        return x.square().mean().item()

    features = torch.randn(32, 256, 1, 1)
    even = features.expand(-1, -1, 12, 12)  # which no filter changes
    assert square(Linear(256, 256)(features.flatten(1))) == pytest.approx(1, rel=0.05)
    assert square(Linear(256, 256, rate=0.01)(features.flatten(1))) == pytest.approx(1, rel=0.05)
    assert square(EqualisedConv(256, 256, 1, gain=2.0)(features)) == pytest.approx(4, rel=0.05)
    # Half of it from the branch with two leaky ReLUs, and half from the other.
    block = HalveSide(256, 256, gain=1.0)
    assert square(block(even)[:, :, 2:-2, 2:-2]) == pytest.approx(0.52 * 1.04 + 0.5, rel=0.05)
    assert square(block.skip(even)) == pytest.approx(0.5, rel=0.05)
    discriminator = StyleGAN2Discriminator(StyleGAN2Config(16, 4, (256, 256, 512), latent_size=4, w_dim=4))
    assert square(discriminator.from_image(torch.randn(256, 4, 1, 1))) == pytest.approx(1, rel=0.15)
    assert square(discriminator.conv(torch.randn(8, 257, 8, 8))[..., 1:-1, 1:-1]) == pytest.approx(2, rel=0.05)
    assert square(discriminator.dense(torch.randn(64, 256 * 16))) == pytest.approx(2, rel=0.05)


def test_the_same_image_is_judged_by_its_label() -> None:
    config = replace(SMALL, classes=3)
    discriminator, image = StyleGAN2Discriminator(config), images_of(config, 1)
    alone = [discriminator(image, torch.tensor([label])) for label in range(3)]
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(alone))
    mixed = discriminator(image, torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(mixed, (alone[0] + alone[1]) / 2)


def test_deviation_within_a_group_is_that_of_its_values() -> None:
    x = torch.tensor([0.0, 2.0, 4.0, 6.0])[:, None, None, None].expand(4, 3, 2, 2)
    torch.testing.assert_close(minibatch_deviation(x), torch.full([4], 5.0).sqrt())
    assert (minibatch_deviation(torch.randn(1, 3, 2, 2).expand(8, 3, 2, 2)) < 1e-3).all()


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (2, [2]), (3, [3]), (5, [3, 2]), (6, [3, 3]), (7, [4, 3]), (8, [4, 4]), (9, [3] * 3)]
)
def test_groups_are_neighbours_however_many_images_there_are(count: int, sizes: list[int]) -> None:
    x = torch.randn(count, 5, 2, 2)
    expected = [group.var(dim=0, unbiased=False).add(1e-8).sqrt().mean().expand(len(group)) for group in x.split(sizes)]
    torch.testing.assert_close(minibatch_deviation(x), torch.cat(expected))


def test_a_logit_depends_on_its_group_and_on_no_other() -> None:
    discriminator, images = StyleGAN2Discriminator(SMALL), images_of(SMALL, 8)
    before = discriminator(images)
    images[1] *= 3
    changed = (discriminator(images) - before).abs() > 1e-6
    assert changed.tolist() == [True] * 4 + [False] * 4


def test_gradients_of_a_gradient_are_those_of_the_function() -> None:
    config = StyleGAN2Config(8, 1, (3, 2), classes=2)
    discriminator = StyleGAN2Discriminator(config).double()
    images = torch.randn(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1])
    assert torch.autograd.gradgradcheck(lambda images: discriminator(images, labels), (images,))


def test_a_penalty_in_half_precision_reaches_every_weight() -> None:
    config = replace(WIDE, classes=2)
    discriminator, images = StyleGAN2Discriminator(config), images_of(config, 4).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logits = discriminator(images, torch.tensor([0, 1, 0, 1]))
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    (slope.square().sum() + logits.sum()).backward()
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_the_filter_before_a_stride_leaves_means_as_they_are() -> None:
    x = torch.full((1, 2, 8, 8), 3.0)
    half, same = blurred(x, padding=1, stride=2), blurred(x, padding=2)
    assert half.shape == (1, 2, 4, 4) and same.shape == (1, 2, 9, 9)
    torch.testing.assert_close(half[..., 1:-1, 1:-1], torch.full((1, 2, 2, 2), 3.0))
    torch.testing.assert_close(half, blurred(x, padding=1)[..., ::2, ::2])
    checkerboard = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    assert blurred(checkerboard[None, None], padding=2)[..., 3:-3, 3:-3].abs().max() < 1e-6


# What the generator draws while it trains.


def lively() -> StyleGAN2Generator:
    module = generator_of(SMALL).module
    for name, parameter in module.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.5)
    return module


def test_what_is_drawn_depends_on_the_stream_alone() -> None:
    module, z = lively(), torch.randn(4, 5)
    assert ARCHITECTURE.draws
    images = module(z, None, stream(1))
    assert torch.equal(images, module(z, None, stream(1)))
    assert not torch.equal(images, module(z, None, stream(2)))


def test_without_a_stream_nothing_is_drawn_and_nothing_moves() -> None:
    module, z = lively(), torch.randn(4, 5)
    before, state = module.mapping.w_avg.clone(), torch.get_rng_state()
    assert torch.equal(module(z), module(z))
    assert torch.equal(module.mapping.w_avg, before) and torch.equal(torch.get_rng_state(), state)


def test_noise_is_fresh_and_of_every_layers_size() -> None:
    module = StyleGAN2Generator(replace(SMALL, side=16, start=(4, 6)))
    maps = module.fresh_noise(3, stream())
    assert [tuple(noise.shape) for noise in maps] == [
        (3, 1, 4, 6), (3, 1, 8, 12), (3, 1, 8, 12), (3, 1, 16, 24), (3, 1, 16, 24)
    ]  # fmt: skip
    assert not torch.equal(maps[1], maps[2])
    module = lively()
    z = torch.randn(1, 5).expand(2, 5)
    module.mixing = 0.0
    images = module(z, None, stream())
    assert not torch.equal(images[0], images[1])


@settings(max_examples=10, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**32))
def test_that_share_of_the_images_has_two_styles(share: float, seed: int) -> None:
    module = StyleGAN2Generator(replace(SMALL, mapping_layers=1))
    module.mixing = share
    z = torch.randn(400, 5)
    styles = module.mixed_styles(z, None, stream(seed))
    first = module.mapping(z)
    own = (styles == first[:, None]).all(dim=2)  # [N, num_ws]
    two = ~own.all(dim=1)
    assert abs(two.float().mean().item() - share) < 5 * 0.5 / 20
    assert own[:, 0].all(), "the coarsest style is always the image's own"
    assert (own[:, 1:] <= own[:, :-1]).all(), "from some layer on all are the other's"
    if share > 0.5:
        assert set(own[two].sum(dim=1).tolist()) == set(range(1, module.num_ws)), "any layer can be the first"


def test_a_mixed_style_is_that_of_the_images_label() -> None:
    config = replace(SMALL, classes=3)
    module = StyleGAN2Generator(config)
    labels = torch.tensor([2] * 50)
    styles = module.mixed_styles(torch.randn(50, 5), labels, stream(4))
    other = module.mapping(torch.randn(50, 5, generator=stream(4)), labels)
    last = styles[:, -1]
    assert torch.isclose(last, other, atol=1e-5).all(dim=1).sum() > 30


@pytest.mark.parametrize("batch_size", [1, 10, 250])
def test_the_mean_style_forgets_by_images_not_by_batches(batch_size: int) -> None:
    mapping = Mapping(4, 3, 0, 1)
    for _ in range(W_AVG_HALF_LIFE // batch_size):
        mapping.observe(torch.ones(batch_size, 3))
    torch.testing.assert_close(mapping.w_avg, torch.full([3], 0.5), rtol=0, atol=1e-3)


def test_what_is_mixed_and_forgotten_is_as_in_the_paper() -> None:
    assert StyleGAN2Generator(SMALL).mixing == 0.9
    mapping = Mapping(4, 3, 0, 1)
    mapping.observe(torch.ones(32, 3))
    assert mapping.w_avg.tolist() == pytest.approx([1 - 0.998] * 3, rel=0.01)  # the authors' beta, for batches of 32


def test_training_moves_the_mean_style() -> None:
    module = StyleGAN2Generator(SMALL)
    module(torch.randn(8, 5), None, stream())
    assert module.mapping.w_avg.abs().min() > 0 and not module.mapping.w_avg.requires_grad


def test_in_half_precision_images_are_nearly_the_same() -> None:
    module, z = StyleGAN2Generator(WIDE), torch.randn(8, 64)
    images = module(z)
    with torch.autocast("cpu", torch.bfloat16):
        near, w = module(z), module.mapping(z)
    assert near.dtype == torch.float32 and torch.equal(w, module.mapping(z))
    assert (near - images).abs().mean() < 0.02 * images.std()


@pytest.mark.parametrize("clamp", [0, 256])
def test_gradients_of_the_synthesis_can_be_differentiated_again(clamp: int) -> None:
    module = StyleGAN2Generator(replace(SMALL, side=8, widths=(3, 2), channels=1, clamp=clamp)).double()
    for count in (1, 2):
        styles = torch.randn(count, 4, 7, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(module.synthesis, (styles,), fast_mode=True)
        assert torch.autograd.gradgradcheck(module.synthesis, (styles,), fast_mode=True)


def test_a_step_of_training_reaches_every_weight_in_half_precision() -> None:
    config = replace(WIDE, classes=2)
    module = StyleGAN2Generator(config)
    labels = torch.tensor([0, 1, 0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        styles = module.mixed_styles(torch.randn(4, 64), labels, stream())
        images = module.synthesis(styles, module.fresh_noise(4, stream()))
    (slope,) = torch.autograd.grad((images * torch.randn_like(images)).sum(), styles, create_graph=True)
    (images.square().mean() + slope.square().mean()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


# A design for each size.


def test_a_design_counts_widths_from_the_first_block_on() -> None:
    assert ARCHITECTURE.design
    square = ARCHITECTURE.design(side=64, start=(4, 4), channels=3, classes=0, base=1024, largest=64)
    assert square.widths == (64, 64, 64, 32, 16) and square.start == (4, 4) and square.w_dim == 512
    long = ARCHITECTURE.design(side=80, start=(5, 7), channels=4, classes=2, base=1024, largest=64, w_dim=32)
    assert long.widths == square.widths and size_of(long) == (80, 112) and long.w_dim == 32 and long.classes == 2


def test_a_network_that_was_sampled_without_gradients_can_be_trained() -> None:
    module, discriminator = StyleGAN2Generator(SMALL).double(), StyleGAN2Discriminator(SMALL).double()
    z = torch.randn(2, 5, dtype=torch.float64)
    with torch.inference_mode():
        discriminator(module(z))
    discriminator(module(z)).sum().backward()
    assert module.synthesis.b4.const.grad.any()


# Whole runs.


@pytest.fixture(params=["stylegan2_small", "stylegan2"])
def preset(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset with tiny networks, whose penalties fall due within a few steps."""
    recipe = recipes.PRESETS[request.param]
    network = {"base": 64, "largest": 6, "latent_size": 5, "w_dim": 7, "mapping_layers": 2}
    tiny = replace(recipe, network=network, penalty_every=3)
    monkeypatch.setitem(recipes.PRESETS, request.param, tiny)
    return request.param


def config_for(folder: Path, preset: str, **changes: object) -> TrainConfig:
    return TrainConfig.of(folder, preset=preset, batch_size=6, kimg=8 * 6 / 1000, **changes)


def test_a_run_that_was_stopped_reaches_the_same_weights_as_one_that_was_not(
    labelled_images: ImageDataset, tmp_path: Path, preset: str
) -> None:
    finish(labelled_images, config_for(tmp_path / "straight", preset))
    steps_of(labelled_images, config_for(tmp_path / "stopped", preset), 3)
    finish(labelled_images, config_for(tmp_path / "stopped", preset, resume=True))
    straight, stopped = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("straight", "stopped"))
    different = [name for name in straight if not torch.equal(straight[name], stopped[name])]
    assert set(different) <= {"history"}  # whose means are over other steps


def test_what_it_trained_opens_and_has_a_mean_style(labelled_images: ImageDataset, tmp_path: Path, preset: str) -> None:
    training, _ = finish(labelled_images, config_for(tmp_path / "run", preset))
    opened = gan_core.load(tmp_path / "run" / "generator.safetensors")
    assert opened.architecture is ARCHITECTURE and opened.classes == 3
    assert opened.average_style.abs().min() > 0
    latent = gan_core.sample_noise(opened, range(3), truncation=0.7)
    assert torch.equal(opened.decode(latent), training.generator.decode(latent))


def test_images_of_28x28_are_grown_from_7x7(tmp_path: Path, preset: str) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (12, 28, 28, 1), np.uint8)
    training, _ = finish(ImageDataset.from_images(pixels), config_for(tmp_path / "run", preset))
    config = training.generator.config
    assert config.start == (7, 7) and config.widths == (6, 6, 4)
    assert gan_core.load(tmp_path / "run" / "generator.safetensors").config == config
