"""R3GAN: networks of plain residual blocks, without the tricks that GANs had gathered (Huang et al. 2024).

Noise scales the maps of a learned small basis, 4x4 for square images. From stage to stage the side doubles, and in each
stage the features pass through residual blocks: a 1x1 convolution to more of them, a grouped 3x3 one, and a 1x1 one
back (ResNeXt's, with an inverted bottleneck). Nothing is normalised, modulated or made noisy within. That this trains
is due to its first weights (Fix-up: Zhang, Dauphin & Ma 2019), by which every block begins as the identity. No tanh
bounds the image. The discriminator walks the same way back, with blocks of its own.

With classes, the label's embedding joins the noise, and the discriminator says how well its features agree with one
(projection: Miyato & Koyama 2018).
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
    LARGEST_START,
    SMALLEST_START,
    Architecture,
    Shapes,
    as_vectors,
    check_channels,
    has_tensors,
)
from .layers.convolution import Conv2d, convolution, transposed_convolution
from .layers.piecewise_linear import leaky_relu_
from .layers.resampling import SMOOTH

MOST_DOUBLINGS = 10
"""Of the first block; of 4x4 features it makes images of 4096x4096."""

LARGEST = 2**16
"""Of every number of features, so that a config from a file cannot ask for a network beyond all bounds."""

GROUPED = 16
"""Features in each group of the 3x3 convolutions of a network that is trained here, as in the published ones."""

NARROWEST = 16
"""Features at the side of large images: with fewer, colours and edges have too little room."""

MOST_BLOCKS = 16
"""In one stage; the published networks have 2."""


@dataclass(frozen=True)
class R3GANConfig:
    side: int
    """Height of the images: that of the first block, doubled up to 10 times."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features in the first block, at twice its side and so on up to the image's: one number for each stage, as in the
    next two."""
    groups: tuple[int, ...]
    """Groups of the 3x3 convolutions, which the paper calls cardinality."""
    blocks: tuple[int, ...]
    """Residual blocks."""
    classes: int = 0
    """Number of class labels; 0 for a generator without."""
    latent_size: int = 64
    """Length of z."""
    embedding: int = 0
    """Length of what a class label becomes beside z; 0 where there are no classes."""
    expansion: int = 2
    """How many times more features there are inside a block."""
    start: tuple[int, int] = (4, 4)
    """Height and width of the first block of features."""

    def __post_init__(self) -> None:
        if len(self.start) != 2 or not all(SMALLEST_START <= length <= LARGEST_START for length in self.start):
            raise InputError(
                f"r3gan begins with a block of {SMALLEST_START} to {LARGEST_START} pixels in height and width, not "
                f"{list(self.start)}."
            )
        sides = [self.start[0] * 2**doublings for doublings in range(MOST_DOUBLINGS + 1)]
        if self.side not in sides:
            raise InputError(
                f"r3gan doubles a first block of {self.start[0]} pixels in height, up to {sides[-1]} pixels, and never "
                f"comes to {self.side}."
            )
        check_channels("r3gan", self.channels)
        stages = sides.index(self.side) + 1
        if not len(self.widths) == len(self.groups) == len(self.blocks) == stages:
            raise InputError(
                f"r3gan needs widths, groups and blocks for each of the {stages} sides from {sides[0]} to {self.side}, "
                f"not for {len(self.widths)}, {len(self.groups)} and {len(self.blocks)}."
            )
        if not (
            all(1 <= width <= LARGEST for width in self.widths)
            and all(1 <= blocks <= MOST_BLOCKS for blocks in self.blocks)
            and 1 <= self.expansion <= 16
        ):
            raise InputError(
                f"r3gan needs widths of 1 to {LARGEST}, 1 to {MOST_BLOCKS} blocks in each stage and an expansion of 1 "
                f"to 16, not {list(self.widths)}, {list(self.blocks)} and {self.expansion}."
            )
        if not all(
            groups >= 1 and width * self.expansion % groups == 0
            for width, groups in zip(self.widths, self.groups, strict=True)
        ):
            raise InputError(
                f"r3gan needs groups that the features divide into evenly: {self.expansion} times "
                f"{list(self.widths)} into {list(self.groups)} does not go."
            )
        if not (1 <= self.latent_size <= LARGEST and 0 <= self.classes <= LARGEST):
            raise InputError(
                f"r3gan needs a latent size of 1 to {LARGEST} and at most {LARGEST} classes, not {self.latent_size} "
                f"and {self.classes}."
            )
        if not (1 <= self.embedding <= LARGEST if self.classes else self.embedding == 0):
            raise InputError(
                f"r3gan needs an embedding of 1 to {LARGEST} with classes, and of 0 without, not {self.embedding} "
                f"with {self.classes} classes."
            )


class R3GANGenerator(nn.Module):
    def __init__(self, config: R3GANConfig):
        super().__init__()
        self.classes = config.classes
        self.embed = nn.Linear(config.classes, config.embedding, bias=False) if config.classes else None
        if self.embed is not None:
            # One class at a time is 1 and all others 0: however many there are, each is as large beside the noise.
            nn.init.normal_(self.embed.weight, 0.0, LABEL_DEVIATION)
        self.basis = nn.Parameter(torch.randn(config.widths[0], *config.start))
        self.project = drawn(nn.Linear(config.latent_size + config.embedding, config.widths[0], bias=False))
        gain = first_gain(sum(config.blocks))
        inputs = 0
        self.stages = nn.ModuleList()
        for width, groups, blocks in zip(config.widths, config.groups, config.blocks, strict=True):
            inside = [Block(width, config.expansion * width, groups, gain) for _ in range(blocks)]
            self.stages.append(Stage(inputs, width, inside))
            inputs = width
        self.to_image = drawn(Conv2d(config.widths[-1], config.channels, kernel_size=1, bias=False))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: [N, latent_size], labels: [N] class numbers or [N, classes] weights. Returns images [N, C, H, W],
        nominally in [-1, 1]."""
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
        """normalisation: "none", as the penalties R1 and R2 are what holds it."""
        super().__init__()
        assert normalisation == "none"
        self.from_image = drawn(Conv2d(config.channels, config.widths[-1], kernel_size=1, bias=False))
        gain = first_gain(sum(config.blocks))
        outputs = [0, *config.widths[:-1]]
        plan = zip(outputs, config.widths, config.groups, config.blocks, strict=True)
        self.stages = nn.ModuleList(
            HalvingStage(width, narrow, [Block(width, config.expansion * width, groups, gain) for _ in range(blocks)])
            for narrow, width, groups, blocks in reversed([*plan])
        )
        width = config.widths[0]
        self.gather = drawn(Conv2d(width, width, kernel_size=config.start, groups=width, bias=False))
        self.head = drawn(nn.Linear(width, width if config.classes else 1, bias=False))
        self.embed = nn.Embedding(config.classes, width) if config.classes else None
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, 0.0, 1 / math.sqrt(width))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images: [N, C, H, W] in [-1, 1], labels: [N] whole numbers. Returns logits [N] in float32, each of which
        depends on its own image alone."""
        x = self.from_image(images.contiguous(memory_format=memory_format(images.device)))
        for stage in self.stages:
            x = stage(x)
        # Logits are compared with one another: bfloat16 would round away much of what is between them.
        with full_precision(x.device):
            x = self.head(self.gather(x.to(self.head.weight.dtype)).flatten(1))  # [N, widths[0]], or [N, 1]
            return x.squeeze(1) if self.embed is None else (x * self.embed(labels)).sum(dim=1)


class Stage(nn.Module):
    """The residual blocks at one side, to which `inputs` features of half the side come; none to the first stage."""

    def __init__(self, inputs: int, width: int, blocks: list["Block"]):
        super().__init__()
        self.doubles = inputs > 0
        self.resize = drawn(Conv2d(inputs, width, kernel_size=1, bias=False)) if inputs not in (0, width) else None
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        if self.resize is not None:
            x = self.resize(x)  # at half the side, where it is a quarter of the work
        if self.doubles:
            x = doubled(x)
        for block in self.blocks:
            x = block(x)
        return x


class HalvingStage(nn.Module):
    """The residual blocks at one side, from which `outputs` features of half the side go on; none from the last."""

    def __init__(self, width: int, outputs: int, blocks: list["Block"]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.halves = outputs > 0
        self.resize = drawn(Conv2d(width, outputs, kernel_size=1, bias=False)) if outputs not in (0, width) else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        if self.halves:
            x = halved(x)
        return x if self.resize is None else self.resize(x)


class Block(nn.Module):
    """A residual block, x + contract(mix(expand(x))), with leaky ReLUs between."""

    def __init__(self, width: int, expanded: int, groups: int, gain: float):
        super().__init__()
        self.expand = drawn(Conv2d(width, expanded, kernel_size=1), gain)
        self.mix = drawn(Conv2d(expanded, expanded, kernel_size=3, padding=1, groups=groups), gain)
        self.contract = drawn(Conv2d(expanded, width, kernel_size=1, bias=False), gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        # In place, a tenth faster: for its gradient a convolution needs no output, and a leaky ReLU no more than that.
        y = leaky_relu_(self.expand(x), 0.2)
        y = leaky_relu_(self.mix(y), 0.2)
        return x + self.contract(y)


def doubled(x: Tensor) -> Tensor:
    """Features at twice the side, bilinearly; beyond the edges there are zeros. [N, C, H, W] -> [N, C, 2H, 2W]."""
    x, kernel, of = _filtered(x, gain=1.0)
    with full_precision(x.device):
        size = 2 * x.shape[2], 2 * x.shape[3]
        return transposed_convolution(x, kernel, size, stride=(2, 2), padding=(1, 1), groups=len(kernel)).to(of)


def halved(x: Tensor) -> Tensor:
    """Features at half the side, smoothed by the same filter; beyond the edges there are zeros.
    [N, C, 2H, 2W] -> [N, C, H, W]."""
    x, kernel, of = _filtered(x, gain=0.25)
    with full_precision(x.device):
        return convolution(x, kernel, stride=(2, 2), padding=(1, 1), groups=len(kernel)).to(of)


def _filtered(x: Tensor, gain: float) -> tuple[Tensor, Tensor, torch.dtype]:
    """Features, a filter of each channel by itself, and the precision that the result is wanted in."""
    # In bfloat16 the CPU does this twenty times more slowly than in float32.
    precise = x.float() if x.device.type == "cpu" and x.dtype == torch.bfloat16 else x
    kernel = (gain * torch.outer(SMOOTH, SMOOTH)).to(precise).expand(x.shape[1], 1, 4, 4)
    return precise, kernel, x.dtype


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
    """The networks for images of some size: narrow where they are large, and of one width where they are small.

    base: features times the side of a stage, counted as if the first were 4x4; the paper's networks have 24576.
    most: features at most; the paper's have 768. There are never fewer than 16, and all are multiples of 8.
    blocks: in each stage.

    Raises InputError where no network is of that size.
    """
    stages = (side // start[0]).bit_length()
    widths = tuple(min(most, max(NARROWEST, base // (4 * 2**stage))) for stage in range(stages))
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


def drawn(layer: Layer, gain: float = 1.0) -> Layer:
    """The layer with first weights that give its outputs `gain` times its inputs' deviation (He et al. 2015), drawn by
    torch's generator; its biases are zero."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def first_gain(blocks: int) -> float:
    """Gain of the first two layers in each of `blocks` residual blocks: what makes up for a leaky ReLU, times
    L^(-1 / (2m - 2)) for m = 3 layers, so that the network's steps are as large as a shallow one's (Fix-up)."""
    return math.sqrt(2 / (1 + 0.2**2)) * blocks**-0.25


def _detect(shapes: Shapes) -> bool:
    required = {"basis": 3, "project.weight": 2, "stages.0.blocks.0.mix.weight": 4, "to_image.weight": 4}
    return has_tensors(shapes, required, optional={"embed.weight": 2})


def _config_from(shapes: Shapes) -> R3GANConfig:
    # One stage and one block more than there can be, so that too many are refused, not left out.
    numbers = (
        sum(f"stages.{stage}.blocks.{block}.mix.weight" in shapes for block in range(MOST_BLOCKS + 1))
        for stage in range(MOST_DOUBLINGS + 2)
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
    """A tensor's shape, in which nothing is 0. Raises InputError where there is none of so many dimensions."""
    shape = shapes.get(name, ())
    if len(shape) != dimensions or 0 in shape:
        raise InputError(f"it has no {name} of {dimensions} dimensions.")
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
