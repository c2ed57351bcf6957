"""The network family: every shape it promises, and how it is recognised."""

import dataclasses
import json
import math

import golden
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional

from gan_core import Generator, InputError, Latent, load
from gan_core.architectures import by_name, detect, size_of, start_for
from gan_core.architectures.dcgan import SIDES, DCGANConfig, DCGANDiscriminator, DCGANGenerator
from gan_core.training.design import build

SQUARES = [
    DCGANConfig(side, channels, classes, latent_size=5, width=2)
    for side in (16, 28, 32, 64, 128)
    for channels in (1, 3, 4)
    for classes in (0, 3)
]
OTHER_SQUARES = [
    DCGANConfig(side, 3, latent_size=5, width=2, start=start)
    for side, start in {20: (5, 5), 48: (6, 6), 96: (6, 6), 112: (7, 7)}.items()
]
OBLONGS = [
    DCGANConfig(side, channels, classes, latent_size=5, width=2, start=start)
    for side, start in {24: (6, 4), 32: (4, 7), 64: (4, 6), 160: (5, 4)}.items()
    for channels, classes in ((1, 0), (4, 3))
]
CONFIGS = [*SQUARES, *OTHER_SQUARES, *OBLONGS]


def named(config: DCGANConfig) -> str:
    height, width = size_of(config)
    return f"{width}x{height}x{config.channels}-{config.classes}"


EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS, ids=named)
NORMALISATIONS = ("batch", "spectral", "none")


def inputs(config: DCGANConfig, count: int = 3) -> tuple[torch.Tensor, torch.Tensor | None]:
    z = torch.randn(count, config.latent_size, generator=torch.Generator().manual_seed(0))
    return z, torch.arange(count) % config.classes if config.classes else None


def images_for(config: DCGANConfig, count: int = 3) -> torch.Tensor:
    return torch.rand(count, config.channels, *size_of(config)) * 2 - 1


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@EVERY_CONFIG
def test_a_generator_makes_images_of_the_promised_shape(config):
    images = DCGANGenerator(config).eval()(*inputs(config, 2))
    assert images.shape == (2, config.channels, *size_of(config))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        DCGANConfig(16, 3, latent_size=5, width=4),
        DCGANConfig(28, 1, latent_size=5, width=2, refine=2),
        DCGANConfig(32, 4, classes=3, latent_size=5, width=4, refine=1, start=(4, 6)),
    ],
    ids=named,
)
@torch.no_grad()
def test_an_image_is_what_the_layers_make_one_after_the_other(config, training):
    generator = DCGANGenerator(config).train(training)
    shapes = {name: tuple(value.shape) for name, value in generator.state_dict().items() if value.is_floating_point()}
    tensors = golden.weights(shapes, seed=1)
    for name, value in tensors.items():
        if value.ndim > 1 and "embed" not in name:
            tensors[name] = value / math.sqrt(value.numel() / value.shape[1] if value.ndim == 4 else value.shape[1])
    generator.load_state_dict({**generator.state_dict(), **tensors})
    z, labels = inputs(config, 4)

    def normalised(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        if training:
            mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
        x = (x - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None]
        return x * tensors[f"{name}.weight"][:, None, None] + tensors[f"{name}.bias"][:, None, None]

    told = z if labels is None else torch.cat([z, tensors["embed.weight"][labels]], dim=1)
    x = (told @ tensors["project.weight"].T).view(4, -1, *config.start)
    x = normalised(x, "norm").clamp(min=0)
    for stage in range(len(config.sides) - 1):
        x = functional.conv_transpose2d(x, tensors[f"stages.{stage}.conv.weight"], stride=2, padding=1)
        x = normalised(x, f"stages.{stage}.norm").clamp(min=0)
    for layer in range(config.refine):
        x = functional.conv2d(x, tensors[f"refine.{layer}.conv.weight"], padding=1)
        x = normalised(x, f"refine.{layer}.norm").clamp(min=0)
    x = functional.conv_transpose2d(x, tensors["to_image.weight"], tensors["to_image.bias"], stride=2, padding=1)
    images = generator(z, labels)
    assert images.std() > 0.05
    torch.testing.assert_close(images, x.tanh(), rtol=1e-3, atol=1e-4)


@EVERY_CONFIG
def test_images_stay_between_minus_one_and_one(config):
    generator = DCGANGenerator(config).eval()
    generator.to_image.weight.data.mul_(1e12)
    images = generator(*inputs(config))
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.abs().max() > 0.99, "the weights were meant to drive it to its limits"


@EVERY_CONFIG
def test_a_discriminator_gives_one_logit_for_each_image(config):
    _, labels = inputs(config)
    logits = DCGANDiscriminator(config)(images_for(config), labels)
    assert logits.shape == (3,)


@pytest.mark.parametrize("config", [*SQUARES, *OTHER_SQUARES], ids=named)
@pytest.mark.parametrize("refine", [0, 2])
def test_a_bare_state_dict_says_its_family_and_config(config, refine):
    config = dataclasses.replace(config, refine=refine)
    shapes = shapes_of(DCGANGenerator(config))
    found = detect(shapes)
    assert found is by_name("dcgan")
    assert found.config_from(shapes) == config


@pytest.mark.parametrize("config", OBLONGS, ids=named)
def test_a_bare_state_dict_of_images_that_are_no_squares_is_refused_as_nothing_says_which_side_is_longer(config):
    shapes = shapes_of(DCGANGenerator(config))
    assert detect(shapes) is by_name("dcgan")
    with pytest.raises(InputError, match=f"its first block has {math.prod(config.start)} positions and is not square"):
        by_name("dcgan").config_from(shapes)


@pytest.mark.parametrize("config", [*OTHER_SQUARES, *OBLONGS], ids=named)
def test_a_file_says_how_high_and_wide_its_images_are(tmp_path, config):
    generator = Generator(by_name("dcgan"), config, DCGANGenerator(config).eval())
    opened = load(generator.save(tmp_path / "a.safetensors"))
    assert opened.config == config
    z, labels = inputs(config)
    latent = Latent(z[:, :, None, None], labels=labels)
    assert torch.equal(opened.decode(latent), generator.decode(latent))
    height, width = size_of(config)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata()["modelspec.resolution"] == f"{width}x{height}"


def test_a_file_from_before_there_was_a_start_opens_as_it_did(tmp_path):
    config = SQUARES[0]
    generator = Generator(by_name("dcgan"), config, DCGANGenerator(config).eval())
    path = generator.save(tmp_path / "a.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    described = json.loads(metadata["gan_core.config"])
    assert described.pop("start") == [4, 4]
    save_file(generator.module.state_dict(), path, {**metadata, "gan_core.config": json.dumps(described)})
    assert load(path).config == config


@pytest.mark.parametrize(
    ("size", "side", "start"),
    [
        ((28, 28), 28, (4, 4)),
        ((32, 32), 32, (4, 4)),
        ((48, 48), 48, (6, 6)),
        ((64, 96), 64, (4, 6)),
        ((96, 64), 96, (6, 4)),
        ((28, 56), 28, (7, 14)),
        ((128, 128), 128, (4, 4)),
    ],
    ids=str,
)
def test_images_of_a_size_have_the_network_for_it(size, side, start):
    config = by_name("dcgan").design(side=size[0], start=start_for(*size), channels=3, classes=0, width=2)
    assert config == DCGANConfig(side, 3, width=2, start=start)
    assert size_of(config) == size


def test_the_state_dict_of_another_network_is_not_taken_for_a_dcgan():
    assert detect(shapes_of(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)))) is None


def test_the_discriminator_is_not_taken_for_a_generator():
    assert detect(shapes_of(DCGANDiscriminator(CONFIGS[0]))) is None


@EVERY_CONFIG
def test_an_image_does_not_depend_on_the_others_in_its_batch(config):
    generator = DCGANGenerator(config).eval()
    z, labels = inputs(config)
    together = generator(z, labels)
    alone = torch.cat([generator(z[i : i + 1], None if labels is None else labels[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_logit_does_not_depend_on_the_other_images_in_evaluation(normalisation):
    discriminator = DCGANDiscriminator(CONFIGS[0], normalisation).eval()
    images = images_for(CONFIGS[0])
    alone = torch.cat([discriminator(image[None]) for image in images])
    torch.testing.assert_close(discriminator(images), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("normalisation", "independent"), [("none", True), ("batch", False)])
def test_only_without_batch_norm_is_a_logit_independent_while_training(normalisation, independent):
    discriminator = DCGANDiscriminator(CONFIGS[0], normalisation)
    images = images_for(CONFIGS[0], 2)
    others = torch.cat([images[:1], -images[1:]])
    assert torch.allclose(discriminator(images)[0], discriminator(others)[0], atol=1e-7) is independent


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_logits_are_in_full_precision_under_autocast(normalisation):
    with torch.autocast("cpu", torch.bfloat16):
        logits = DCGANDiscriminator(CONFIGS[0], normalisation)(images_for(CONFIGS[0]))
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize(
    ("side", "start"), [*((side, (4, 4)) for side in SIDES), (48, (6, 6)), (32, (4, 6)), (48, (6, 4))], ids=str
)
def test_every_weight_learns(side, start, normalisation):
    config = DCGANConfig(side, 3, classes=3, latent_size=5, width=8, refine=1, start=start)
    generator, discriminator = DCGANGenerator(config), DCGANDiscriminator(config, normalisation)
    z, labels = inputs(config, 8)
    discriminator(generator(z, labels), labels).square().sum().backward()
    parameters = [*generator.named_parameters(), *discriminator.named_parameters()]
    assert [name for name, parameter in parameters if parameter.grad is None or not parameter.grad.any()] == []


def test_another_label_makes_another_image():
    config = DCGANConfig(16, 1, classes=3, width=2)
    z, _ = inputs(config, 1)
    generator = DCGANGenerator(config).eval()
    assert not torch.equal(generator(z, torch.tensor([0])), generator(z, torch.tensor([1])))


def test_another_label_gives_another_logit():
    config = DCGANConfig(16, 1, classes=3, width=2)
    image, discriminator = images_for(config, 1), DCGANDiscriminator(config, "none")
    assert discriminator(image, torch.tensor([0])) != discriminator(image, torch.tensor([1]))


@pytest.mark.parametrize("side", [0, 8, 15, 17, 48, 256, -16])
def test_a_side_that_it_cannot_make_is_refused_with_those_it_can(side):
    with pytest.raises(InputError, match=rf"16, 28, 32, 64 or 128 pixels \(got {side}\)\."):
        DCGANConfig(side, 3)


@pytest.mark.parametrize(
    ("side", "start", "told"),
    [
        (36, (6, 6), "start 6x6 does not give a height of 36"),
        (12, (6, 6), r"24 to 192 pixels high \(got 12\)"),
        (384, (6, 6), r"24 to 192 pixels high \(got 384\)"),
        (64, (4, 17), "start 4x17 does not give"),
        (64, (0, 4), "start 0x4 does not give"),
        (64, (4,), "start 4 does not give"),
    ],
    ids=str,
)
def test_a_first_block_that_never_becomes_such_an_image_is_refused(side, start, told):
    with pytest.raises(InputError, match=told):
        DCGANConfig(side, 3, start=start)


@pytest.mark.parametrize("channels", [0, 2, 5])
def test_a_number_of_channels_that_it_cannot_make_is_refused(channels):
    with pytest.raises(InputError, match=rf"channels of dcgan must be 1, 3 or 4 \(got {channels}\)"):
        DCGANConfig(16, channels)


@pytest.mark.parametrize(
    "wrong", [{"latent_size": 0}, {"width": 0}, {"classes": -1}, {"refine": -1}, {"refine": 17}, {"width": 10**9}]
)
def test_a_network_of_impossible_size_is_refused(wrong):
    with pytest.raises(InputError, match=r"\w+ of dcgan must be \d+ to \d+ \(got -?\d+\)"):
        DCGANConfig(16, 1, **wrong)


def test_the_sides_that_are_tested_are_all_there_are():
    assert {config.side for config in SQUARES} == set(SIDES)


def test_an_unknown_architecture_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match='no architecture "pixelcnn", only dcgan'):
        by_name("pixelcnn")


def test_first_weights_depend_on_the_seed_alone():
    first, again, other = (build(by_name("dcgan"), CONFIGS[0], "batch", seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["to_image.weight"], other["to_image.weight"])


def test_first_weights_are_drawn_as_the_paper_says():
    generator, discriminator = build(by_name("dcgan"), DCGANConfig(64, 3), "batch", seed=0)
    for weight in (generator.project.weight, generator.stages[0].conv.weight, discriminator.stages[0].conv.weight):
        assert weight.mean().item() == pytest.approx(0, abs=1e-3)
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert generator.norm.weight.mean().item() == pytest.approx(1, abs=0.01)
