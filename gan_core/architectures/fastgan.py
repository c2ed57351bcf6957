"""FastGAN: a light generator for a few hundred images (Liu et al. 2021), and Projected GAN's (Sauer et al. 2021).

Noise becomes a 4x4 block of features, whose side every stage doubles by repeating pixels and convolving them. Gated
linear units are its nonlinearity: one half of the features says how much of the other half passes. From 64x64 to
512x512, channels are weighed by what the stage of a sixteenth of the side saw, which shortens the way of the gradient
(skip-layer excitation). Where a stage has two convolutions, some noise is added after each.

Projected GAN's generator is the same with z at unit length, two convolutions in every stage (its "lite" one: one) and
no tanh. With classes, the label's embedding sets the gain and bias of every batch norm in the stages.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .architecture import Architecture, Shapes, as_vectors, check_channels, check_start, has_tensors, label_embedding
from .fastgan_discriminator import FastGANDiscriminator
from .layers.fastgan import Excitation, Layer, Noise, gated, initialise

SIDES = (64, 128, 256, 512, 1024)
"""Of square images from a first block of 4x4, which is doubled four to eight times. With fewer doublings, no stage
would have another whose side is a sixteenth of its own."""

LARGEST = 2**16
"""Of every number of features, so that a config from a file cannot ask for a network beyond all bounds."""

EXCITED = range(3, 7)
"""The stages whose channels are weighed by the block of features that is doubled four times to theirs: in square
images, those with sides of 64 to 512."""


@dataclass(frozen=True)
class FastGANConfig:
    side: int
    """Height of the images: 64, 128, 256, 512 or 1024, and their width too, for a first block of 4x4."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features in the first block, in that of twice its side, and so on up to the image's side."""
    convolutions: tuple[int, ...]
    """1 or 2 for each of those sides but the first. A stage of 2 adds noise."""
    classes: int = 0
    """Number of class labels; 0 for a generator without."""
    latent_size: int = 256
    """Length of z."""
    projected: int = 0
    """1 for Projected GAN's generator: z is normalised, and the image has a bias but no tanh.

    FastGAN itself has a tanh after eight doublings only, at a side of 1024; at smaller ones, images are in [-1, 1] by
    training alone.
    """
    start: tuple[int, int] = (4, 4)
    """Height and width of the first block of features."""

    def __post_init__(self) -> None:
        if len(self.start) != 2:
            raise InputError(f"fastgan needs a height and a width of its first block, not {list(self.start)}.")
        heights = [side // SIDES[0] * 16 * self.start[0] for side in SIDES]
        if self.side not in heights:
            raise InputError(
                f"fastgan makes images with a height of {', '.join(map(str, heights[:-1]))} or {heights[-1]} pixels, "
                f"not {self.side}."
            )
        check_start("fastgan", self.side, self.start)
        check_channels("fastgan", self.channels)
        if len(self.widths) != len(self.sides) or not all(1 <= width <= LARGEST for width in self.widths):
            raise InputError(
                f"fastgan needs a width of 1 to {LARGEST} for each of the {len(self.sides)} sides from "
                f"{self.sides[0]} to {self.side}, not {list(self.widths)}."
            )
        if len(self.convolutions) != len(self.sides) - 1 or not all(number in (1, 2) for number in self.convolutions):
            raise InputError(
                f"fastgan needs 1 or 2 convolutions for each of the {len(self.sides) - 1} sides from {self.sides[1]} "
                f"to {self.side}, not {list(self.convolutions)}."
            )
        if not (1 <= self.latent_size <= LARGEST and 0 <= self.classes <= LARGEST):
            raise InputError(
                f"fastgan needs a latent size of 1 to {LARGEST} and at most {LARGEST} classes, not {self.latent_size} "
                f"and {self.classes}."
            )
        if self.projected not in (0, 1):
            raise InputError(f"fastgan is projected, 1, or not, 0; {self.projected} is neither.")

    @property
    def sides(self) -> list[int]:
        """Heights of the blocks of features, from the first one's to the image's."""
        return [self.start[0] * 2**doublings for doublings in range((self.side // self.start[0]).bit_length())]


def widths(side: int, base: int = 64) -> tuple[int, ...]:
    """Features for each side from 4 to that of a square image, as the paper counts them: base at 128x128. Projected GAN
    has a base of 128."""
    multiples = (16, 8, 4, 2, 2, 1, 1 / 2, 1 / 4, 1 / 8)
    return tuple(int(base * multiple) for multiple in multiples[: side.bit_length() - 2])


def convolutions(side: int) -> tuple[int, ...]:
    """Convolutions for each side from 8 on as the paper has them: two and one, by turns."""
    return tuple(2 - stage % 2 for stage in range(side.bit_length() - 3))


def design(
    side: int, start: tuple[int, int], channels: int, classes: int, base: int = 64, latent_size: int = 256
) -> FastGANConfig:
    """The paper's network for images of that height.

    base: features where the first block has been doubled five times, at 128x128.

    Raises InputError for images that it cannot make.
    """
    square = 4 * side // start[0]  # of a first block of 4x4 that is doubled as often
    return FastGANConfig(
        side=side,
        channels=channels,
        widths=widths(square, base),
        convolutions=convolutions(square),
        classes=classes,
        latent_size=latent_size,
        start=start,
    )


class FastGANGenerator(nn.Module):
    def __init__(self, config: FastGANConfig):
        super().__init__()
        self.classes = config.classes
        self.normalises = config.projected == 1
        self.bounded = config.projected == 0 and len(config.convolutions) == 8
        self.embed = label_embedding(config.classes, config.latent_size) if config.classes else None
        self.project = nn.ConvTranspose2d(config.latent_size, 2 * config.widths[0], config.start, bias=False)
        self.norm = nn.BatchNorm2d(2 * config.widths[0])
        self.stages = nn.ModuleList(Stage(index, config) for index in range(len(config.convolutions)))
        bias = config.projected == 1
        self.to_image = nn.Conv2d(config.widths[-1], config.channels, kernel_size=3, padding=1, bias=bias)
        self.apply(initialise)

    def forward(self, z: Tensor, labels: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
        """z: [N, latent_size], labels: [N] class numbers or [N, classes] weights. random: what noise is drawn with, on
        the device of z; the same noise always without. Returns images [N, C, H, W], nominally in [-1, 1]."""
        label = None
        if self.embed is not None:
            assert labels is not None
            label = as_vectors(labels, self.classes) @ self.embed.weight  # [N, latent_size]
        if self.normalises:
            z = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        x = gated(self.norm(self.project(z[:, :, None, None])))  # [N, widths[0], *start]
        small = [x]  # at sides of 4, 8, 16 and 32
        for stage in self.stages:
            x = stage(x, label, small, random)
            if len(small) < 4:
                small.append(x)
        image = self.to_image(x)
        return image.tanh() if self.bounded else image


class Stage(nn.Module):
    """Doubles the side: [N, I, H, W] -> [N, O, 2H, 2W]."""

    def __init__(self, index: int, config: FastGANConfig):
        super().__init__()
        self.index = index
        inputs, outputs = config.widths[index : index + 2]
        depth = config.convolutions[index]
        label_size = config.latent_size if config.classes else 0
        self.layers = nn.ModuleList(
            Layer(outputs if position else inputs, outputs, label_size, Noise(position) if depth == 2 else None)
            for position in range(depth)
        )
        self.excitation = Excitation(config.widths[index - 3], outputs) if index in EXCITED else None

    def forward(self, x: Tensor, label: Tensor | None, small: list[Tensor], random: torch.Generator | None) -> Tensor:
        """label: [N, latent_size]. small: what the first stages made, one of which weighs this one's channels."""
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        for layer in self.layers:
            x = layer(x, label, random)
        return x if self.excitation is None else x * self.excitation(small[self.index - 3])


def _detect(shapes: Shapes) -> bool:
    required = {
        "project.weight": 4,
        "norm.running_mean": 1,
        "stages.0.layers.0.conv.weight": 4,
        "stages.3.excitation.squeeze.weight": 4,
        "to_image.weight": 4,
    }
    return has_tensors(shapes, required, optional={"embed.weight": 2})


def _config_from(shapes: Shapes) -> FastGANConfig:
    convolutions = list(takewhile(len, (list(_convolutions(shapes, stage)) for stage in count())))
    latent_size, doubled, *start = shapes["project.weight"]
    return FastGANConfig(
        side=start[0] * 2 ** len(convolutions),
        channels=shapes["to_image.weight"][0],
        widths=(doubled // 2, *(stage[0][0] // 2 for stage in convolutions)),
        convolutions=tuple(len(stage) for stage in convolutions),
        classes=shapes.get("embed.weight", (0, 0))[0],
        latent_size=latent_size,
        projected=int("to_image.bias" in shapes),
        start=(start[0], start[1]),
    )


def _convolutions(shapes: Shapes, stage: int) -> Iterator[tuple[int, ...]]:
    """Shapes of a stage's weights."""
    for layer in count():
        shape = shapes.get(f"stages.{stage}.layers.{layer}.conv.weight", ())
        if len(shape) != 4:
            return
        yield shape


ARCHITECTURE = Architecture(
    name="fastgan",
    config=FastGANConfig,
    generator=FastGANGenerator,
    discriminator=FastGANDiscriminator,
    normalisations=FastGANDiscriminator.NORMALISATIONS,
    design=design,
    draws=True,
    self_supervised=True,
    detect=_detect,
    config_from=_config_from,
)
