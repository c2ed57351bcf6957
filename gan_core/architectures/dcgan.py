"""DCGAN: a generator and a discriminator with plain convolutions (Radford, Metz & Chintala 2016).

The generator projects a noise vector to a small block of features, 4x4 in the paper, and doubles its height and width
with transposed convolutions up to the image. The discriminator mirrors it. Other first blocks give other image sizes:
6x6 for a side of 48, 4x6 for a height of 64 and a width of 96. The side of MNIST's digits, 28, is not a power of two:
it has features of 4, 7 and 14.

With classes, the generator concatenates noise and label embedding (Mirza & Osindero 2014), and the discriminator is a
projection discriminator (Miyato & Koyama 2018), whose embedding has a weight for each feature at each position.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..errors import InputError
from .architecture import Architecture, Shapes, check_channels, check_start, has_tensors, label_embedding, label_weights
from .layers.convolution import Conv2d
from .layers.piecewise_linear import leaky_relu_

SIDES = (16, 28, 32, 64, 128)
"""Sides of images from a first block of 4x4."""

MIN_DOUBLINGS, MAX_DOUBLINGS = 2, 5
"""Range of the number of doublings from the first block to the image."""

SQUARE = (4, 4)
"""First block of the paper."""

MAX_NUMBER = 2**16
"""Maximum of every other number in a config, which limits configs from files."""

MAX_CONVOLUTIONS = 32
"""Maximum convolutions in a file of a generator; the largest generator has 20."""


@dataclass(frozen=True)
class DCGANConfig:
    side: int
    """Height of the images: 16, 28, 32, 64 or 128 for a first block of 4x4; for others the height of the block, doubled
    two to five times. The first block has the aspect ratio of the images."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    classes: int = 0
    """Number of class labels; 0 for an unconditional generator."""
    latent_size: int = 100
    """Length of z."""
    width: int = 64
    """Features at half the image's side; they double with every halving, up to 8 times this."""
    refine: int = 0
    """Additional convolutions in the generator at half the image's side; the paper has none."""
    start: tuple[int, int] = SQUARE
    """Height and width of the first block of features."""

    def __post_init__(self) -> None:
        if self.start == SQUARE and self.side not in SIDES:
            sides = ", ".join(map(str, SIDES[:-1]))
            raise InputError(f"side of dcgan must be {sides} or {SIDES[-1]} pixels (got {self.side}).")
        if not self.by_seven:
            check_start("dcgan", self.side, self.start)
            low, high = (self.start[0] * 2**doublings for doublings in (MIN_DOUBLINGS, MAX_DOUBLINGS))
            if not low <= self.side <= high:
                raise InputError(
                    f"dcgan doubles a first block {MIN_DOUBLINGS} to {MAX_DOUBLINGS} times: with one of "
                    f"{self.start[1]}x{self.start[0]} images must be {low} to {high} pixels high (got {self.side})."
                )
        check_channels("dcgan", self.channels)
        ranges = {
            "latent_size": (1, MAX_NUMBER),
            "width": (1, MAX_NUMBER),
            "classes": (0, MAX_NUMBER),
            "refine": (0, 16),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} of dcgan must be {low} to {high} (got {getattr(self, name)}).")

    @property
    def by_seven(self) -> bool:
        """Whether the second block is 7x7 instead of 8x8, as for MNIST's digits."""
        return (self.side, self.start) == (28, SQUARE)

    @property
    def sides(self) -> list[int]:
        """Heights of the features, from that of the first block to half the image's."""
        sides = [self.side // 2]
        while sides[0] > self.start[0]:
            sides.insert(0, (sides[0] + 1) // 2)
        return sides

    @property
    def widths(self) -> list[int]:
        """Number of features at each of these heights."""
        return [self.width * min(8, 2**halvings) for halvings in reversed(range(len(self.sides)))]


class DCGANGenerator(nn.Module):
    def __init__(self, config: DCGANConfig):
        super().__init__()
        widths = config.widths
        self.first_block = (widths[0], *config.start)
        self.embed = label_embedding(config.classes, config.latent_size) if config.classes else None
        inputs = config.latent_size * (2 if config.classes else 1)
        # The first transposed convolution of the paper has a 1x1 input, for which it is a matrix product.
        self.project = nn.Linear(inputs, math.prod(self.first_block), bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.stages = nn.ModuleList(
            DoubleSide(wide, narrow, kernel_size(side))
            for (wide, narrow), side in zip(pairwise(widths), config.sides[1:], strict=True)
        )
        self.refine = nn.ModuleList(Refine(widths[-1]) for _ in range(config.refine))
        self.to_image = nn.ConvTranspose2d(widths[-1], config.channels, kernel_size=4, stride=2, padding=1)
        self.apply(initialise)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generates images [N, C, H, W] in [-1, 1].

        z: [N, latent_size]. labels: class numbers [N] or class weights [N, classes].
        """
        if self.embed is not None:
            assert labels is not None
            mixed = labels.is_floating_point()
            z = torch.cat([z, labels @ self.embed.weight if mixed else self.embed(labels)], dim=1)
        x = self.project(z).unflatten(1, self.first_block)  # [N, widths[0], *start]
        x = self.norm(x).relu_()
        for stage in self.stages:
            x = stage(x)  # half the features, twice the side
        for refine in self.refine:
            x = refine(x)
        return self.to_image(x).tanh()


class DoubleSide(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel_size: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, kernel_size, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu_()


class Refine(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.conv = nn.Conv2d(features, features, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu_()


class DCGANDiscriminator(nn.Module):
    def __init__(self, config: DCGANConfig, normalisation: str = "batch"):
        """normalisation: "batch" as in the paper, "spectral" (Miyato et al. 2018) or "none"."""
        super().__init__()
        widths = config.widths[::-1]
        wrap = spectral_norm if normalisation == "spectral" else _as_it_is
        # No batch norm on the image itself, which causes samples to oscillate in the paper.
        convolution, self.activate = _layers(normalisation)
        self.from_image = wrap(convolution(config.channels, widths[0], kernel_size=4, stride=2, padding=1))
        self.stages = nn.ModuleList(
            HalveSide(narrow, wide, kernel_size(side), normalisation)
            for (narrow, wide), side in zip(pairwise(widths), config.sides[:0:-1], strict=True)
        )
        features = widths[-1] * math.prod(config.start)
        self.head = wrap(nn.Linear(features, 1))
        self.embed = wrap(label_weights(config.classes, features)) if config.classes else None
        self.apply(initialise)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] in float32 of images [N, C, H, W] in [-1, 1]. labels: class numbers [N]."""
        x = self.activate(self.from_image(images), 0.2)
        for stage in self.stages:
            x = stage(x)  # twice the features, half the side
        x = x.flatten(1)
        logits = self.head(x).squeeze(1)
        if self.embed is not None:
            logits = logits + (self.embed(labels) * x).sum(dim=1)
        return logits.float()


class HalveSide(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel_size: int, normalisation: str):
        super().__init__()
        convolution, self.activate = _layers(normalisation)
        conv = convolution(inputs, outputs, kernel_size, stride=2, padding=1, bias=normalisation != "batch")
        self.conv = spectral_norm(conv) if normalisation == "spectral" else conv
        self.norm = nn.BatchNorm2d(outputs) if normalisation == "batch" else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return self.activate(x, 0.2)


def kernel_size(side: int) -> int:
    """Kernel size between features of this side and of half the side.

    4 at stride 2 covers all pixels equally often, which avoids checkerboard artifacts; only between 7 and 4, which does
    not divide evenly, it is 3.
    """
    return 3 if side % 2 else 4


def initialise(module: nn.Module) -> None:
    """Sets the initial weights of a layer as in the paper: N(0, 0.02), for batch norm N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def _layers(normalisation: str) -> tuple[type[nn.Conv2d], Callable[[Tensor, float], Tensor]]:
    """Classes of convolution and leaky ReLU. Without normalisation a gradient penalty needs second derivatives, for
    which ours are faster; otherwise torch's own are."""
    return (Conv2d, leaky_relu_) if normalisation == "none" else (nn.Conv2d, nn.functional.leaky_relu)


def _as_it_is(module: nn.Module) -> nn.Module:
    return module


def _detect(shapes: Shapes) -> bool:
    required = {"project.weight": 2, "norm.running_mean": 1, "stages.0.conv.weight": 4, "to_image.weight": 4}
    convolutions = [shape for name, shape in shapes.items() if name.endswith(".conv.weight")]
    return (
        has_tensors(shapes, required, optional={"embed.weight": 2})
        and all(len(shape) == 4 for shape in convolutions)
        and len(convolutions) <= MAX_CONVOLUTIONS
    )


def _config_from(shapes: Shapes) -> DCGANConfig:
    """Config from shapes. Raises InputError for a non-square first block, whose shapes do not show its height."""
    outputs, inputs = shapes["project.weight"]
    classes, embedding = shapes.get("embed.weight", (0, 0))
    convolutions = [name for name in shapes if name.startswith("stages.") and name.endswith(".conv.weight")]
    kernels = [shapes[name][-1] for name in convolutions]
    width, channels = shapes["to_image.weight"][:2]
    places = outputs // max(1, shapes["norm.running_mean"][0])
    start = math.isqrt(places)
    if start**2 != places:
        raise InputError(
            f"its first block has {places} positions and is not square, and only our own header stores its height: "
            "save it with Save Generator."
        )
    return DCGANConfig(
        side=28 if 3 in kernels else start * 2 ** (len(kernels) + 1),
        channels=channels,
        classes=classes,
        latent_size=inputs - embedding,
        width=width,
        refine=sum(name.startswith("refine.") and name.endswith(".conv.weight") for name in shapes),
        start=(start, start),
    )


def _design(side: int, start: tuple[int, int], **settings: Any) -> DCGANConfig:
    """Config for an image height. Images of 28x28 start from 4x4 for compatibility, with one doubling more than from
    7x7."""
    return DCGANConfig(side, start=SQUARE if (side, start) == (28, (7, 7)) else start, **settings)


ARCHITECTURE = Architecture(
    name="dcgan",
    config=DCGANConfig,
    generator=DCGANGenerator,
    discriminator=DCGANDiscriminator,
    piecewise_linear=True,
    normalisations=("batch", "spectral", "none"),
    detect=_detect,
    config_from=_config_from,
    design=_design,
)
