"""Devices that lack what the CPU and CUDA have, Apple's GPUs above all, simulated: nobody here has one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from augmented import ada, diffaugment
from pretended_gpu import GPU, OnGPU, Refused, plugged_in
from torch import nn
from torch.nn import functional

from gan_core import ImageDataset, TrainConfig, load, sample_noise, train
from gan_core.architectures.layers.convolution import Conv2d
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.losses.gradient_penalties import gradient_penalty, image_gradients
from gan_core.metrics.features import Extractor
from gan_core.metrics.likelihood import elbo, importance_weighted
from gan_core.platforms import average_pooled, constant, full_precision, in_order, memory_format
from gan_core.sampling.projection import ProjectionConfig, projecting
from gan_core.sampling.walks import INTERPOLATIONS, walk
from gan_core.training import presets
from gan_core.training.monitor import diagnostics

SMALL = {
    "dcgan": {"width": 4, "latent_size": 4, "refine": 1},
    "r3gan": {"base": 64, "most": 16, "blocks": 1},
    "stylegan2": {"base": 64, "largest": 8, "latent_size": 4, "w_dim": 4, "mapping_layers": 2},
    "fastgan": {"base": 1, "latent_size": 4},
    "conv_vae": {"width": 4},
    "taesd_vae": {},
}


def pictures(height: int, width: int) -> ImageDataset:
    pixels = np.random.RandomState(0).randint(0, 256, (24, height, width, 3), np.uint8)
    return ImageDataset(pixels, "noise", "0" * 64, np.arange(24, dtype=np.int64) % 3, ("a", "b", "c"), mirror=True)


@pytest.fixture
def gpu():
    with plugged_in() as device:
        yield device


# The simulation itself.


def test_the_simulated_device_learns_what_the_cpu_learns():
    def trained(device: torch.device) -> torch.Tensor:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))
        network, images = network.to(device), torch.randn(4, 3, 8, 8).to(device)
        optimiser = torch.optim.Adam(network.parameters(), fused=False)
        for _ in range(3):
            optimiser.zero_grad()
            network(images).square().mean().backward()
            optimiser.step()
        return network[0].weight.detach().cpu()

    with plugged_in() as device:
        there = trained(device)
    assert type(there) is torch.Tensor
    assert torch.equal(there, trained(torch.device("cpu")))


def test_the_simulated_device_refuses_what_such_devices_do(gpu):
    images = torch.rand(2, 3, 28, 28).to(gpu)
    assert type(images) is OnGPU and images.device == GPU
    with pytest.raises(Refused, match="adaptive_avg_pool2d"):
        functional.adaptive_avg_pool2d(images, 16)
    with pytest.raises(Refused, match="lie together"):
        functional.batch_norm(images.contiguous(memory_format=torch.channels_last), None, None, training=True)
    with pytest.raises(Refused, match="float64"):
        images.double()
    with pytest.raises(Refused, match="another on cpu"):
        images + torch.rand(2, 3, 28, 28)
    with pytest.raises(Refused, match="_upsample_bilinear2d_aa is missing"):
        functional.interpolate(images, size=16, mode="bilinear", antialias=True)
    with pytest.raises(Refused, match="grid_sampler_2d is missing"):
        functional.grid_sample(images, torch.zeros(2, 4, 4, 2).to(gpu), padding_mode="reflection", align_corners=False)
    with pytest.raises(RuntimeError), torch.autocast(gpu.type, enabled=False):
        pass


# Training.


@pytest.mark.parametrize(
    ("preset", "size", "changes"),
    [
        ("dcgan_small", (28, 28), {"augment": "ada"}),
        ("digits", (28, 28), {"augment": "diffaugment"}),
        ("dcgan_classic", (16, 16), {"objective": "wgan"}),
        ("r3gan_small", (16, 16), {}),
        ("stylegan2_small", (16, 16), {"augment": "ada"}),
        ("fastgan_small", (80, 64), {}),
        ("conv_vae", (28, 28), {}),
        ("conv_vae", (16, 16), {"adversarial_kimg": 0.0}),
        ("taesd_vae", (16, 16), {}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value),
)
def test_every_family_is_trained_and_kept(monkeypatch, tmp_path, preset, size, changes, gpu):
    recipe = presets.PRESETS[preset]
    small = replace(recipe, network=SMALL[recipe.architecture])
    for known in (presets.PRESETS, presets.GAN_PRESETS):
        if preset in known:
            monkeypatch.setitem(known, preset, small)
    data = pictures(*size)
    config = TrainConfig.of(tmp_path / "run", preset=preset, batch_size=2, kimg=0.002, **changes)
    *_, last = train(data, config, device=gpu)
    if preset == "dcgan_small":
        *_, last = train(data, replace(config, kimg=0.004, resume=True), device=gpu)
        assert last.images == 4
    assert load(tmp_path / "run" / "generator.safetensors").module is not None


# What is done of a generator.


@pytest.mark.parametrize("name", ["digits", "stylegan2-digits", "stylegan3-digits", "vae-digits"])
def test_every_kind_of_generator_makes_there_what_it_makes_on_the_cpu(name):
    generator = load(EXAMPLES / f"{name}.safetensors")
    latent = sample_noise(generator, [3, 4])
    expected = generator.decode(latent)
    with plugged_in() as device:
        there = replace(generator, module=generator.module.to(device))
        assert torch.allclose(there.decode(sample_noise(there, [3, 4])).cpu(), expected, atol=1e-4)
        for way in INTERPOLATIONS:
            frames = walk(there, sample_noise(there, [3, 4, 5]), 3, way)
            assert frames.samples.isfinite().all().item()


def test_pictures_are_encoded_and_judged_there(gpu):
    generator = load(EXAMPLES / "vae-digits.safetensors")
    generator.module.to(gpu)
    images = torch.from_numpy(np.random.RandomState(1).randint(0, 256, (3, *generator.size, 1), np.uint8))
    images = images.permute(0, 3, 1, 2)
    assert len(generator.encode(images.float() / 127.5 - 1)) == 3
    assert math.isfinite(elbo(generator, images).nats)
    assert importance_weighted(generator, images, 2).isfinite().all()


def test_a_picture_is_projected_there(gpu):
    generator = load(EXAMPLES / "stylegan2-digits.safetensors")
    target = generator.decode(sample_noise(generator, [1])).cpu().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    *_, last = projecting(generator, target, ProjectionConfig(steps=2, candidates=4, tuning_steps=1), gpu)
    assert last.images.isfinite().all()


def test_pictures_are_compared_there(gpu):
    made, real = (torch.rand(6, 4, 28, 28).to(gpu) for _ in range(2))
    assert diagnostics.likeness(diagnostics.features(made), diagnostics.features(real)) is not None
    extractor = Extractor("colours", (8, 16), lambda pictures: pictures.mean(dim=(2, 3)))
    assert extractor.features((made * 255).byte()).shape == (6, 3)


# The rules one by one.


@pytest.mark.parametrize("side", [16, 14, 7, 5])
def test_parts_of_any_size_are_averaged_with_their_gradient(side):
    images = torch.rand(2, 3, 28, 21)
    expected = functional.adaptive_avg_pool2d(images.requires_grad_(), side)
    (slope,) = torch.autograd.grad(expected.square().sum(), images)
    with plugged_in() as device:
        there = images.detach().to(device).requires_grad_()
        pooled = average_pooled(there, side)
        assert pooled.device == GPU
        (found,) = torch.autograd.grad(pooled.square().sum(), there)
        assert torch.allclose(pooled.cpu(), expected) and torch.allclose(found.cpu(), slope)


@pytest.mark.parametrize("change", ["ada", "diffaugment"])
def test_pictures_are_changed_there_as_on_the_cpu_with_a_gradient_of_the_gradient(change):
    def changed(images: torch.Tensor) -> torch.Tensor:
        random = np.random.default_rng(0)
        return diffaugment(images, random) if change == "diffaugment" else ada(images, 0.5, random)

    def slopes(images: torch.Tensor) -> torch.Tensor:
        (slope,) = torch.autograd.grad(changed(images).pow(3).sum(), images, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), images)[0]

    images = torch.rand(4, 3, 12, 16)
    expected, expected_slopes = changed(images), slopes(images.clone().requires_grad_())
    with plugged_in() as device:
        there = images.to(device).requires_grad_()
        assert torch.allclose(changed(there).detach().cpu(), expected, atol=1e-5)
        assert torch.allclose(slopes(there).cpu(), expected_slopes, rtol=1e-3, atol=1e-3)


def test_pictures_that_ada_draws_nothing_for_stay_as_they_are_there():
    images = torch.rand(100, 3, 8, 8)
    expected = ada(images, 0.05, np.random.default_rng(0))
    with plugged_in() as device:
        found = ada(images.to(device), torch.tensor(0.05).to(device), np.random.default_rng(0)).cpu()
    same = [torch.equal(*both) for both in zip(expected, images, strict=True)]
    assert [torch.equal(*both) for both in zip(found, images, strict=True)] == same
    assert 0 < sum(same) < 100


def test_images_lie_in_one_order_there_and_as_they_did_on_the_cpu():
    images = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert in_order(images) is images
    assert memory_format(torch.device("cpu")) == memory_format(torch.device("cuda:1")) == torch.channels_last
    for name in ("mps", "xpu", "privateuseone"):
        assert memory_format(torch.device(name)) == torch.contiguous_format
    with plugged_in() as device:
        there = images.to(device).requires_grad_()
        made = in_order(there)
        assert made.is_contiguous()
        (slope,) = torch.autograd.grad((made * torch.rand(2, 4, 4, 3).to(device).permute(0, 3, 1, 2)).sum(), there)
        assert slope.is_contiguous()


@pytest.mark.parametrize("name", ["mps", "xpu", "privateuseone", "meta", "cpu"])
def test_precision_is_full_on_devices_that_autocast_does_not_know(monkeypatch, name):
    real = torch.autocast

    def strict(device_type: str, *arguments, **options):
        if device_type != "cpu":  # as torch 2.4 does of mps, whatever is asked
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        return real(device_type, *arguments, **options)

    monkeypatch.setattr(torch, "autocast", strict)
    with full_precision(torch.device(name)):
        pass


def test_precision_is_full_where_autocast_was_on():
    x, weight = torch.rand(2, 3), torch.rand(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ weight).dtype == torch.bfloat16
        with full_precision(x.device):
            assert (x @ weight).dtype == torch.float32


def test_convolutions_and_penalties_need_no_autocast_there(gpu):
    network = nn.Sequential(Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 1)).to(gpu)
    images = torch.rand(2, 3, 8, 8).to(gpu).requires_grad_()
    gradient_penalty(image_gradients(network(images).squeeze(1), images)).mean().backward()
    assert network[0].weight.grad.isfinite().all().item()


# Constants.


def test_a_constant_is_made_once_for_the_same_values() -> None:
    made = constant(lambda device, *values: torch.full(values, 2.0, device=device))
    cpu = torch.device("cpu")
    with torch.inference_mode():
        first = made(cpu, 2, 3)
    assert made(cpu, 2, 3) is first and made(cpu, 3, 2).shape == (3, 2)
    (first * torch.ones(2, 3, requires_grad=True)).sum().backward()  # although it was made in inference mode


def test_what_is_made_while_a_graph_is_captured_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = constant(lambda device, *values: torch.full(values, 2.0))
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    captured = made(gpu, 2)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    kept = made(gpu, 2)
    assert kept is not captured and made(gpu, 2) is kept
