"""Image gradients shared by penalty and loss: equal to what torch computes for either, for less work."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from gan_core import TrainConfig, train
from gan_core.architectures import r3gan, size_of
from gan_core.architectures.dcgan import ARCHITECTURE as DCGAN
from gan_core.architectures.dcgan import DCGANConfig
from gan_core.architectures.layers.piecewise_linear import leaky_relu_, logits_and_gradients
from gan_core.architectures.r3gan import ARCHITECTURE as R3GAN
from gan_core.architectures.r3gan import R3GANConfig
from gan_core.losses.adversarial import log_loss
from gan_core.losses.gradient_penalties import gradient_penalty, image_gradients
from gan_core.training.presets import GAN_PRESETS, PRESETS

CONFIGS = [
    R3GANConfig(16, 3, (4, 6, 8), (2, 3, 1), (1, 2, 1), classes=3, latent_size=5, embedding=2),
    R3GANConfig(8, 1, (2, 4), (2, 1), (1, 1), latent_size=2, start=(4, 2)),
    DCGANConfig(side=16, channels=3, classes=3, latent_size=2, width=4),
    DCGANConfig(side=28, channels=1, latent_size=2, width=3),
]
EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS, ids=["r3gan, classes", "r3gan", "dcgan, classes", "dcgan"])


def discriminator(config: Any, dtype: torch.dtype = torch.float64) -> nn.Module:
    """One whose every weight and bias matters."""
    architecture = DCGAN if isinstance(config, DCGANConfig) else R3GAN
    network = architecture.discriminator(config, "none").to(dtype)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return network


def batch(config: Any) -> tuple[Tensor, Tensor]:
    return torch.randn(3, config.channels, *size_of(config), dtype=torch.float64), torch.arange(3)


def by_torch(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    images = images.detach().requires_grad_()
    logits = network(images, labels)
    return logits, image_gradients(logits, images)


def cost(logits: Tensor, gradients: Tensor) -> Tensor:
    """The first image is real; of the others R2 only."""
    return log_loss(logits[:1], logits[1:]).discriminator + 0.7 * gradient_penalty(gradients)


def weight_gradients(network: nn.Module, value: Tensor) -> list[Tensor]:
    return [*torch.autograd.grad(value, [*network.parameters()])]


@EVERY_CONFIG
def test_logits_and_gradients_equal_those_of_torch(config):
    network, (images, labels) = discriminator(config), batch(config)
    logits, gradients = logits_and_gradients(network, images, labels)
    expected_logits, expected_gradients = by_torch(network, images, labels)
    assert torch.equal(logits, expected_logits)
    torch.testing.assert_close(gradients, expected_gradients)
    ours = weight_gradients(network, cost(logits, gradients))
    theirs = weight_gradients(network, cost(expected_logits, expected_gradients))
    close = 1e-11 if expected_logits.dtype == torch.float64 else 1e-6  # dcgan's logits are in float32
    for (name, _), one, other in zip(network.named_parameters(), ours, theirs, strict=True):
        assert other.any(), name
        assert (one - other).norm() <= close * other.norm(), name


@pytest.mark.parametrize("part", ["loss", "penalty"])
def test_loss_and_penalty_alone_have_the_gradients_of_torch(part):
    network, (images, labels) = discriminator(CONFIGS[0]), batch(CONFIGS[0])
    pairs = logits_and_gradients(network, images, labels), by_torch(network, images, labels)
    of = {"loss": lambda logits, _: logits.square().sum(), "penalty": lambda _, gradients: gradient_penalty(gradients)}[
        part
    ]
    found = [torch.autograd.grad(of(*pair), [*network.parameters()], materialize_grads=True) for pair in pairs]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


class Counted(TorchDispatchMode):
    """Counts products with convolutions' weights, forward and back."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function.overloadpacket)
        if name == "aten.convolution":
            self.products += 1
        if name == "aten.convolution_backward":
            self.products += sum(args[-1][:2])  # at the input, at the weight
        return function(*args, **(kwargs or {}))


@EVERY_CONFIG
def test_four_passes_are_needed_where_torch_needs_six(config):
    network, (images, labels) = discriminator(config), batch(config)

    def products(judged: Any) -> int:
        with Counted() as counted:
            weight_gradients(network, cost(*judged(network, images, labels)))
        return counted.products

    with Counted() as counted, torch.no_grad():
        network(images, labels)
    once = counted.products
    # Halving has no weight to learn, so that its passes are fewer; and an image learns nothing.
    assert products(logits_and_gradients) <= 4 * once
    assert products(by_torch) > 5 * once


def test_logits_and_gradients_under_autocast_are_as_precise_as_by_torch():
    network, (images, labels) = discriminator(CONFIGS[0], torch.float32), batch(CONFIGS[0])
    images = images.float()
    exact = torch.cat(
        [gradient.flatten() for gradient in weight_gradients(network, cost(*by_torch(network, images, labels)))]
    )
    errors = []
    for judged in (by_torch, logits_and_gradients):
        with torch.autocast("cpu", torch.bfloat16):
            logits, gradients = judged(network, images, labels)
        assert logits.dtype == gradients.dtype == torch.float32
        found = torch.cat([gradient.flatten() for gradient in weight_gradients(network, cost(logits, gradients))])
        errors.append(float((found - exact).norm() / exact.norm()))
    assert errors[1] < 1.5 * errors[0] < 0.3


def test_no_hook_is_left_on_the_discriminator_even_if_it_fails():
    network, (images, labels) = discriminator(CONFIGS[0]), batch(CONFIGS[0])
    logits_and_gradients(network, images, labels)
    with pytest.raises(RuntimeError):
        logits_and_gradients(network, images[:, :1], labels)
    assert not any(module._forward_hooks for module in network.modules())


def test_the_leaky_relu_is_torchs_in_place():
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    copied = x.clone()
    activated = leaky_relu_(copied, 0.2)
    assert activated.data_ptr() == copied.data_ptr()
    assert torch.equal(activated, functional.leaky_relu(x, 0.2))
    assert torch.autograd.gradcheck(lambda x: leaky_relu_(x.clone(), 0.2), (x,))


def test_the_leaky_relus_derivative_does_not_depend_on_its_input_but_does_on_what_comes_back():
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    back = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    activated = leaky_relu_(x.clone(), 0.2)
    (gradient,) = torch.autograd.grad(activated, x, back, create_graph=True)
    at_x, at_back = torch.autograd.grad(gradient.sum(), (x, back), allow_unused=True)
    assert at_x is None
    assert torch.equal(at_back, torch.where(x > 0, torch.ones_like(x), 0.2))


def test_compiled_a_network_learns_the_same():
    block = r3gan.Block(4, 8, 2, 1.0)
    nn.init.normal_(block.contract.weight)
    x, learned = torch.randn(2, 4, 5, 5), []
    for called in (block, torch.compile(block, backend="aot_eager")):
        learned.append(torch.autograd.grad(called(x).square().sum(), [*block.parameters()]))
    for one, other in zip(*learned, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("augment", ["none", "diffaugment", "ada"])
@pytest.mark.parametrize("penalty", ["r1", "r1_r2", "wgan_gp"])
@pytest.mark.parametrize(("preset", "network"), [("r3gan_small", {"base": 64, "most": 16}), ("few", {"width": 4})])
def test_a_run_learns_what_it_would_the_long_way(
    preset, network, penalty, augment, labelled_images, tmp_path, monkeypatch
):
    recipe = replace(
        GAN_PRESETS[preset],
        network=network,
        penalty=penalty,
        augment=augment,
        augment_p=0.5,
        batch_size=8,
    )
    monkeypatch.setitem(PRESETS, "trial", recipe)

    def learned(piecewise_linear: bool) -> Tensor:
        # Adam makes a whole step of a gradient that rounding makes from 0: with this seed there is none.
        folder = tmp_path / str(piecewise_linear)
        config = TrainConfig.of(folder, preset="trial", kimg=0.1, precision="fp32", seed=1)
        with train(labelled_images, config, "cpu") as training:
            next(training)
            method = training.run.method
            method.architecture = replace(method.architecture, piecewise_linear=piecewise_linear)
            for _ in range(3):
                next(training)
            return torch.cat([weight.detach().flatten() for weight in method.discriminator.parameters()])

    torch.testing.assert_close(learned(True), learned(False), rtol=1e-4, atol=1e-5)
