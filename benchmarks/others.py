"""Recipes that people train small GANs with, written plainly: what they do in a step, in the words of this project.

All compute in float32 and draw their samples from the last weights, as they do where they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader, TensorDataset

LATENT, WIDTH, BATCH = 100, 32, 64
"""Half the example's width, for all of them: in so short a time it makes better images than the whole."""


@dataclass(frozen=True)
class Recipe:
    """How one of them learns."""

    title: str
    loss_of_discriminator: Callable[[Tensor, Tensor], Tensor]
    """Of the logits of real and generated images, [N] each."""
    loss_of_generator: Callable[[Tensor], Tensor]
    norm: str
    """Of the discriminator: "batch", "spectral" or "none"."""
    learning_rate: float
    betas: tuple[float, float]
    critic_steps: int = 1
    """Steps of the discriminator for one of the generator."""
    penalty: float = 0.0
    """Weight of WGAN-GP's."""
    shallow: bool = False
    """Whether the networks are a tutorial's: a dense layer and two transposed convolutions, and two back."""


RECIPES = {
    "example": Recipe(
        "PyTorch's example DCGAN",
        lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        lambda fake: softplus(-fake).mean(),
        norm="batch",
        learning_rate=2e-4,
        betas=(0.5, 0.999),
    ),
    "tutorial": Recipe(
        "tutorials' DCGAN",
        lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        lambda fake: softplus(-fake).mean(),
        norm="none",
        learning_rate=2e-4,
        betas=(0.5, 0.999),
        shallow=True,
    ),
    "hinge": Recipe(
        "hinge with spectral norm",
        lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(),
        lambda fake: -fake.mean(),
        norm="spectral",
        learning_rate=2e-4,
        betas=(0.0, 0.9),
    ),
    "wgan-gp": Recipe(
        "WGAN-GP",
        lambda real, fake: fake.mean() - real.mean(),
        lambda fake: -fake.mean(),
        norm="none",
        learning_rate=1e-4,
        betas=(0.0, 0.9),
        critic_steps=5,
        penalty=10.0,
    ),
}


class Plain:
    """A GAN and the loop that trains it."""

    def __init__(self, recipe: Recipe, images: Tensor, seed: int):
        """images: float32 [N, C, side, side] in [-1, 1]; the side is 28, or a power of two from 16 on."""
        torch.manual_seed(seed)
        self.recipe = recipe
        # A side of 28 is made 32 by a black edge, which samples lose again; the tutorial's networks were made for 28.
        self.edge = 2 if images.shape[2] == 28 and not recipe.shallow else 0
        images = nn.functional.pad(images, (self.edge,) * 4, value=-1.0)
        channels, side = images.shape[1:3]
        build = (_shallow_generator, _shallow_discriminator) if recipe.shallow else (_generator, _discriminator)
        self.generator, self.discriminator = build[0](side, channels), build[1](side, channels, recipe.norm)
        for network in (self.generator, self.discriminator):
            network.apply(_initialise)
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, betas=recipe.betas)
            for network in (self.generator, self.discriminator)
        )
        self.loader = DataLoader(TensorDataset(images), BATCH, shuffle=True, drop_last=True)
        self.batches: Iterator[list[Tensor]] = iter(())
        self.images = 0
        """Real images shown so far."""

    @property
    def parameters(self) -> int:
        networks = (self.generator, self.discriminator)
        return sum(parameter.numel() for network in networks for parameter in network.parameters())

    def step(self) -> None:
        for _ in range(self.recipe.critic_steps):
            real = self._next_batch()
            fake = self.generator(torch.randn(len(real), LATENT, 1, 1))
            self._learn_to_judge(real, fake.detach())
        self.generator.zero_grad()
        self.recipe.loss_of_generator(self._judge(fake)).backward()
        self.generator_optimizer.step()

    @torch.no_grad()
    def samples(self, count: int) -> Tensor:
        """Images [count, C, side, side] in [-1, 1], as the network makes them when it is used."""
        self.generator.eval()
        random = torch.Generator().manual_seed(0)
        z = torch.randn(count, LATENT, 1, 1, generator=random)
        images = torch.cat([self.generator(part) for part in z.split(BATCH)])
        self.generator.train()
        side = images.shape[2]
        return images[..., self.edge : side - self.edge, self.edge : side - self.edge]

    def _learn_to_judge(self, real: Tensor, fake: Tensor) -> None:
        self.discriminator.zero_grad()
        loss = self.recipe.loss_of_discriminator(self._judge(real), self._judge(fake))
        if self.recipe.penalty:
            loss = loss + self.recipe.penalty * self._gradient_penalty(real, fake)
        loss.backward()
        self.discriminator_optimizer.step()

    def _gradient_penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        """WGAN-GP penalty: squared distance of the gradient norm from 1 between images (Gulrajani et al. 2017)."""
        between = real.lerp(fake, torch.rand(len(real), 1, 1, 1)).requires_grad_()
        (gradient,) = torch.autograd.grad(self._judge(between).sum(), between, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

    def _judge(self, images: Tensor) -> Tensor:
        return self.discriminator(images).flatten()

    def _next_batch(self) -> Tensor:
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        self.images += BATCH
        return batch[0]


def _generator(side: int, channels: int) -> nn.Module:
    widths = [WIDTH * 2**power for power in reversed(range(side.bit_length() - 3))]  # at 4x4, 8x8, ..., side / 2
    layers: list[nn.Module] = [nn.ConvTranspose2d(LATENT, widths[0], 4, bias=False)]
    for wide, narrow in zip(widths, [*widths[1:], channels], strict=True):
        layers += [nn.BatchNorm2d(wide), nn.ReLU(inplace=True), nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
    return nn.Sequential(*layers, nn.Tanh())


def _discriminator(side: int, channels: int, norm: str) -> nn.Module:
    widths = [WIDTH * 2**power for power in range(side.bit_length() - 3)]
    wrap = spectral_norm if norm == "spectral" else _as_it_is
    layers: list[nn.Module] = []
    for i, (narrow, wide) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
        layers.append(wrap(nn.Conv2d(narrow, wide, 4, 2, 1, bias=norm != "batch")))
        layers += [nn.BatchNorm2d(wide)] if norm == "batch" and i else []
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers, wrap(nn.Conv2d(widths[-1], 1, 4, bias=norm != "batch")))


def _shallow_generator(side: int, channels: int) -> nn.Module:
    first = side // 4
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(LATENT, 128 * first**2),
        nn.Unflatten(1, (128, first, first)),
        nn.BatchNorm2d(128),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(128, 64, 4, 2, 1),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(64, channels, 4, 2, 1),
        nn.Tanh(),
    )


def _shallow_discriminator(side: int, channels: int, _norm: str) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 64, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(64, 128, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Linear(128 * (side // 4) ** 2, 1),
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        weight = module.parametrizations.weight.original if hasattr(module, "parametrizations") else module.weight
        nn.init.normal_(weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def _as_it_is(module: nn.Module) -> nn.Module:
    return module
