"""R3GAN: networks of plain residual blocks, without normalisation, modulation or noise (Huang et al. 2024).

Noise scales the maps of a small learned basis, 4x4 for square images. The side doubles from stage to stage; in each
stage features pass through residual blocks: a 1x1 convolution to more features, a grouped 3x3 one, and a 1x1 one back
(ResNeXt with an inverted bottleneck). Training is stable because of the initial weights (Fix-up: Zhang, Dauphin & Ma
2019), with which every block starts as the identity. The image is not bounded by a tanh. The discriminator mirrors the
generator, with blocks of its own.

With classes, the generator concatenates noise and label embedding, and the discriminator is a projection discriminator
(Miyato & Koyama 2018).
"""

import math
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..platforms import full_precision, memory_format
from .architecture import (
    LABEL_DEVIATION,
    MAX_START,
    MIN_START,
    Architecture,
    Shapes,
    as_vectors,
    check_channels,
    has_tensors,
)
from .layers.convolution import Conv2d
from .layers.piecewise_linear import leaky_relu_
from .layers.resampling import doubled, halved

MAX_DOUBLINGS = 10
"""Maximum doublings of the first block: from 4x4 to images of 4096x4096."""

MAX_WIDTH = 2**16
"""Maximum number of features and classes, which limits configs from files."""

GROUPED = 16
"""Features in each group of the 3x3 convolutions of networks designed here, as in the published ones."""

MIN_WIDTH = 16
"""Minimum features at the resolution of large images: fewer are too few for colours and edges."""

MAX_BLOCKS = 16
"""Maximum residual blocks in a stage; the published networks have 2."""


@dataclass(frozen=True)
class R3GANConfig:
    side: int
    """Height of the images: that of the first block, doubled up to 10 times."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features in each stage, from the first block to the resolution of the image."""
    groups: tuple[int, ...]
    """Groups of the 3x3 convolutions in each stage, the cardinality of the paper."""
    blocks: tuple[int, ...]
    """Residual blocks in each stage."""
    classes: int = 0
    """Number of class labels; 0 for an unconditional generator."""
    latent_size: int = 64
    """Length of z."""
    embedding: int = 0
    """Length of the label embedding; 0 without classes."""
    expansion: int = 2
    """Factor by which a block expands its features."""
    start: tuple[int, int] = (4, 4)
    """Height and width of the first block of features."""

    def __post_init__(self) -> None:
        if len(self.start) != 2 or not all(MIN_START <= length <= MAX_START for length in self.start):
            raise InputError(
                f"start of r3gan must be a height and a width of {MIN_START} to {MAX_START} (got {list(self.start)})."
            )
        sides = [self.start[0] * 2**doublings for doublings in range(MAX_DOUBLINGS + 1)]
        if self.side not in sides:
            raise InputError(
                f"r3gan doubles a first block of {self.start[0]} pixels in height, up to {sides[-1]} pixels, which "
                f"does not give {self.side}."
            )
        check_channels("r3gan", self.channels)
        stages = sides.index(self.side) + 1
        if not len(self.widths) == len(self.groups) == len(self.blocks) == stages:
            raise InputError(
                f"r3gan needs widths, groups and blocks for each of the {stages} sides from {sides[0]} to {self.side} "
                f"(got {len(self.widths)}, {len(self.groups)} and {len(self.blocks)})."
            )
        if not (
            all(1 <= width <= MAX_WIDTH for width in self.widths)
            and all(1 <= blocks <= MAX_BLOCKS for blocks in self.blocks)
            and 1 <= self.expansion <= 16
        ):
            raise InputError(
                f"r3gan needs widths of 1 to {MAX_WIDTH}, 1 to {MAX_BLOCKS} blocks in each stage and an expansion of 1 "
                f"to 16 (got {list(self.widths)}, {list(self.blocks)} and {self.expansion})."
            )
        if not all(
            groups >= 1 and width * self.expansion % groups == 0
            for width, groups in zip(self.widths, self.groups, strict=True)
        ):
            raise InputError(
                f"groups of r3gan must divide the features evenly: {self.expansion} times {list(self.widths)} features "
                f"are not multiples of {list(self.groups)}."
            )
        if not (1 <= self.latent_size <= MAX_WIDTH and 0 <= self.classes <= MAX_WIDTH):
            raise InputError(
                f"r3gan needs a latent size of 1 to {MAX_WIDTH} and at most {MAX_WIDTH} classes (got "
                f"{self.latent_size} and {self.classes})."
            )
        if not (1 <= self.embedding <= MAX_WIDTH if self.classes else self.embedding == 0):
            raise InputError(
                f"r3gan needs an embedding of 1 to {MAX_WIDTH} with classes, and of 0 without (got {self.embedding} "
                f"with {self.classes} classes)."
            )


class R3GANGenerator(nn.Module):
    def __init__(self, config: R3GANConfig):
        super().__init__()
        self.classes = config.classes
        self.embed = nn.Linear(config.classes, config.embedding, bias=False) if config.classes else None
        if self.embed is not None:
            # One-hot labels: the embedding of a class has this deviation for any number of classes.
            nn.init.normal_(self.embed.weight, 0.0, LABEL_DEVIATION)
        self.basis = nn.Parameter(torch.randn(config.widths[0], *config.start))
        self.project = initialised(nn.Linear(config.latent_size + config.embedding, config.widths[0], bias=False))
        gain = initial_gain(sum(config.blocks))
        inputs = 0
        self.stages = nn.ModuleList()
        for width, groups, blocks in zip(config.widths, config.groups, config.blocks, strict=True):
            inside = [Block(width, config.expansion * width, groups, gain) for _ in range(blocks)]
            self.stages.append(Stage(inputs, width, inside))
            inputs = width
        self.to_image = initialised(Conv2d(config.widths[-1], config.channels, kernel_size=1, bias=False))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generates images [N, C, H, W], nominally in [-1, 1].

        z: [N, latent_size]. labels: class numbers [N] or class weights [N, classes].
        """
        if self.embed is not None:
            assert labels is not None
            z = torch.cat([z, self.embed(as_vectors(labels, self.classes))], dim=1)
        x = self.project(z)[:, :, None, None] * self.basis  # [N, widths[0], h, w]
        x = x.contiguous(memory_format=memory_format(x.device))
        for stage in self.stages:
            x = stage(x)
        return self.to_image(x)


class R3GANDiscriminator(nn.Module):
    def __init__(self, config: R3GANConfig, normalisation: str = "none"):
        """normalisation: only "none", because R1 and R2 regularise it."""
        super().__init__()
        assert normalisation == "none"
        self.from_image = initialised(Conv2d(config.channels, config.widths[-1], kernel_size=1, bias=False))
        gain = initial_gain(sum(config.blocks))
        outputs = [0, *config.widths[:-1]]
        plan = zip(outputs, config.widths, config.groups, config.blocks, strict=True)
        self.stages = nn.ModuleList(
            HalvingStage(width, narrow, [Block(width, config.expansion * width, groups, gain) for _ in range(blocks)])
            for narrow, width, groups, blocks in reversed([*plan])
        )
        width = config.widths[0]
        self.gather = initialised(Conv2d(width, width, kernel_size=config.start, groups=width, bias=False))
        self.head = initialised(nn.Linear(width, width if config.classes else 1, bias=False))
        self.embed = nn.Embedding(config.classes, width) if config.classes else None
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, 0.0, 1 / math.sqrt(width))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] in float32 of images [N, C, H, W] in [-1, 1], each of which depends on its own image alone.

        labels: class numbers [N].
        """
        x = self.from_image(images.contiguous(memory_format=memory_format(images.device)))
        for stage in self.stages:
            x = stage(x)
        # Logits are compared with each other: in bfloat16 rounding would hide much of their differences.
        with full_precision(x.device):
            x = self.head(self.gather(x.to(self.head.weight.dtype)).flatten(1))  # [N, widths[0]], or [N, 1]
            return x.squeeze(1) if self.embed is None else (x * self.embed(labels)).sum(dim=1)


class Stage(nn.Module):
    """Residual blocks at one resolution of the generator. inputs: features from half the resolution; 0 in the first."""

    def __init__(self, inputs: int, width: int, blocks: list["Block"]):
        super().__init__()
        self.doubles = inputs > 0
        self.resize = (
            initialised(Conv2d(inputs, width, kernel_size=1, bias=False)) if inputs not in (0, width) else None
        )
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        if self.resize is not None:
            x = self.resize(x)  # before doubling, at a quarter of the cost
        if self.doubles:
            x = doubled(x)
        for block in self.blocks:
            x = block(x)
        return x


class HalvingStage(nn.Module):
    """Residual blocks at one resolution of the discriminator. outputs: features at half of it; 0 in the last stage."""

    def __init__(self, width: int, outputs: int, blocks: list["Block"]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.halves = outputs > 0
        self.resize = (
            initialised(Conv2d(width, outputs, kernel_size=1, bias=False)) if outputs not in (0, width) else None
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        if self.halves:
            x = halved(x)
        return x if self.resize is None else self.resize(x)


class Block(nn.Module):
    """Residual block: x + contract(mix(expand(x))), with leaky ReLUs in between."""

    def __init__(self, width: int, expanded: int, groups: int, gain: float):
        super().__init__()
        self.expand = initialised(Conv2d(width, expanded, kernel_size=1), gain)
        self.mix = initialised(Conv2d(expanded, expanded, kernel_size=3, padding=1, groups=groups), gain)
        self.contract = initialised(Conv2d(expanded, width, kernel_size=1, bias=False), gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        # In place is a tenth faster: the gradient of a convolution needs no output, that of a leaky ReLU only its own.
        y = leaky_relu_(self.expand(x), 0.2)
        y = leaky_relu_(self.mix(y), 0.2)
        return x + self.contract(y)


def design(
    side: int,
    start: tuple[int, int],
    channels: int,
    classes: int,
    base: int = 16384,
    most: int = 512,
    blocks: int = 2,
    latent_size: int = 64,
) -> R3GANConfig:
    """Config for an image size: few features at high resolutions, up to `most` at low ones.

    base: features times the side of a stage, as if the first block were 4x4; 24576 in the paper.
    most: maximum number of features; 768 in the paper. The minimum is 16, and all are multiples of 8.
    blocks: residual blocks in each stage.

    Raises InputError for a size that no network has.
    """
    stages = (side // start[0]).bit_length()
    widths = tuple(min(most, max(MIN_WIDTH, base // (4 * 2**stage))) for stage in range(stages))
    return R3GANConfig(
        side,
        channels,
        widths,
        groups=tuple(2 * width // GROUPED for width in widths),
        blocks=(blocks,) * stages,
        classes=classes,
        latent_size=latent_size,
        embedding=latent_size if classes else 0,
        start=start,
    )


Layer = TypeVar("Layer", Conv2d, nn.Linear)


def initialised(layer: Layer, gain: float = 1.0) -> Layer:
    """Sets the initial weights of a layer, and returns it: outputs have `gain` times the deviation of the inputs (He et
    al. 2015), biases are 0."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def initial_gain(blocks: int) -> float:
    """Gain of the first two layers in each of `blocks` residual blocks (Fix-up): that of a leaky ReLU, times
    L^(-1 / (2m - 2)) for m = 3 layers, so that updates are independent of the depth."""
    return math.sqrt(2 / (1 + 0.2**2)) * blocks**-0.25


def _detect(shapes: Shapes) -> bool:
    required = {"basis": 3, "project.weight": 2, "stages.0.blocks.0.mix.weight": 4, "to_image.weight": 4}
    return has_tensors(shapes, required, optional={"embed.weight": 2})


def _config_from(shapes: Shapes) -> R3GANConfig:
    # One stage and one block more than the maximum, so that too many raise an error.
    numbers = (
        sum(f"stages.{stage}.blocks.{block}.mix.weight" in shapes for block in range(MAX_BLOCKS + 1))
        for stage in range(MAX_DOUBLINGS + 2)
    )
    blocks = tuple(takewhile(bool, numbers))
    firsts = [f"stages.{stage}.blocks.0" for stage in range(len(blocks))]
    expands = [_sizes(shapes, f"{first}.expand.weight", 4) for first in firsts]
    mixes = [_sizes(shapes, f"{first}.mix.weight", 4) for first in firsts]
    inputs = _sizes(shapes, "project.weight", 2)[1]
    embedding, classes = _sizes(shapes, "embed.weight", 2) if "embed.weight" in shapes else (0, 0)
    _, height, width = _sizes(shapes, "basis", 3)
    return R3GANConfig(
        side=height * 2 ** len(blocks) // 2,
        channels=_sizes(shapes, "to_image.weight", 4)[0],
        widths=tuple(width for _, width, *_ in expands),
        groups=tuple(features // part for features, part, *_ in mixes),
        blocks=blocks,
        classes=classes,
        latent_size=inputs - embedding,
        embedding=embedding,
        expansion=expands[0][0] // expands[0][1] if expands else 1,
        start=(height, width),
    )


def _sizes(shapes: Shapes, name: str, dimensions: int) -> tuple[int, ...]:
    """Shape of a tensor. Raises InputError if it is missing, empty, or has another number of dimensions."""
    shape = shapes.get(name, ())
    if len(shape) != dimensions or 0 in shape:
        raise InputError(f"it has no {name} with {dimensions} dimensions.")
    return shape


ARCHITECTURE = Architecture(
    name="r3gan",
    config=R3GANConfig,
    generator=R3GANGenerator,
    discriminator=R3GANDiscriminator,
    piecewise_linear=True,
    design=design,
    detect=_detect,
    config_from=_config_from,
)
