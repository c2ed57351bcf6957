"""Generator of lightweight-gan (lucidrains): FastGAN with cheaper excitations (after Liu et al. 2021).

Noise is projected to a 4x4 block, whose side every stage doubles with one convolution and a gated linear unit. From
128x128 on, skip-layer excitation weights the channels with features of an eighth of the side: with their mean under a
learned attention (global context: Niu et al. 2020), or with their lowest frequencies (Qin et al. 2020). At some sides
features first pass through attention with linear cost (Shen et al. 2018).

It is opened and sampled here, not trained. Three designs are distinguished, because the layers differ between releases.
"""

import math
from dataclasses import dataclass
from itertools import count, takewhile

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .architecture import Architecture, Shapes, check_channels, has_tensors
from .layers.fastgan import Noise

SIDES = tuple(2**power for power in range(4, 11))

MAX_WIDTH = 2**16
"""Maximum number of features, which limits configs from files."""

FIRST_EXCITED = 128
"""Side of the first stage with skip-layer excitation, from an eighth of the side."""

HEADS, HEAD_SIZE = 8, 64
"""Heads of the attention, and features of each."""


@dataclass(frozen=True)
class LightweightGANConfig:
    side: int
    """Height and width of the images: a power of two from 16 to 1024."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features at 8x8, 16x16 and so on up to the image's side. At 4x4 their number is the length of z."""
    classes: int = 0
    """Always 0: it has no class labels."""
    latent_size: int = 256
    """Length of z."""
    attention: tuple[int, ...] = ()
    """Sides at which features pass through attention before they are doubled, in ascending order."""
    frequencies: int = 0
    """1 for excitation by frequencies, 0 by global context; below a side of 128 there is no excitation."""
    blurred: int = 0
    """1 if doubled features are blurred (its option "antialias")."""
    design: int = 1
    """1: up to release 0.20, and Hugging Face's copy. 2: from 0.21.4, with noise, 4x4 convolutions and local attention.
    3: from 1.1, also with upsampling by a convolution."""

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise InputError(
                f"side of lightweight_gan must be a power of two from {SIDES[0]} to {SIDES[-1]} pixels (got "
                f"{self.side})."
            )
        check_channels("lightweight_gan", self.channels)
        if self.classes:
            raise InputError(f"lightweight_gan has no classes: classes must be 0 (got {self.classes}).")
        if len(self.widths) != len(self.sides) or not all(1 <= width <= MAX_WIDTH for width in self.widths):
            raise InputError(
                f"lightweight_gan needs a width of 1 to {MAX_WIDTH} for each of the {len(self.sides)} sides from 8 to "
                f"{self.side} (got {list(self.widths)})."
            )
        if not 1 <= self.latent_size <= MAX_WIDTH:
            raise InputError(f"latent_size of lightweight_gan must be 1 to {MAX_WIDTH} (got {self.latent_size}).")
        if self.attention != tuple(side for side in (4, *self.sides[:-1]) if side in self.attention):
            raise InputError(
                f"attention of lightweight_gan must be sides from 4 to {self.side // 2}, in ascending order (got "
                f"{list(self.attention)})."
            )
        excited = self.side >= FIRST_EXCITED
        if self.frequencies not in (0, int(excited)) or self.blurred not in (0, 1) or self.design not in (1, 2, 3):
            raise InputError(
                "lightweight_gan needs frequencies of 0 (or 1, from a side of 128 on), blurred of 0 or 1, and a design "
                f"of 1, 2 or 3 (got {self.frequencies}, {self.blurred} and {self.design})."
            )

    @property
    def sides(self) -> list[int]:
        """Sides of the outputs of the stages, from 8 to the image's."""
        return [2**power for power in range(3, self.side.bit_length())]


class LightweightGANGenerator(nn.Module):
    def __init__(self, config: LightweightGANConfig):
        super().__init__()
        self.project = nn.ConvTranspose2d(config.latent_size, 2 * config.latent_size, kernel_size=4)
        self.norm = nn.BatchNorm2d(2 * config.latent_size)
        self.stages = nn.ModuleList(Stage(index, config) for index in range(len(config.widths)))
        self.to_image = nn.Conv2d(config.widths[-1], config.channels, kernel_size=3, padding=1)

    def forward(self, z: Tensor, labels: None = None) -> Tensor:
        """Generates images [N, C, side, side], nominally in [-1, 1], from z [N, latent_size]."""
        x = functional.glu(self.norm(self.project(z[:, :, None, None])), dim=1)  # [N, latent_size, 4, 4]
        x = functional.normalize(x, dim=1)
        factors: list[Tensor | None] = []
        for stage in self.stages:
            x, factor = stage(x)
            factors.append(factor)
            earlier = factors[-4] if len(factors) > 3 else None
            if earlier is not None:
                x = x * earlier
        return self.to_image(x) * 2 - 1  # it was trained on images in [0, 1]


class Stage(nn.Module):
    """Doubles the side, [N, I, H, W] -> [N, O, 2H, 2W], and computes channel factors for the third stage after it."""

    blur: Tensor | None

    def __init__(self, index: int, config: LightweightGANConfig):
        super().__init__()
        inputs, outputs = (config.latent_size, *config.widths)[index : index + 2]
        side = config.sides[index]
        self.attention = Attention(inputs, near=config.design > 1) if side // 2 in config.attention else None
        self.enlarge = nn.Conv2d(inputs, 4 * inputs, kernel_size=1) if config.design == 3 else None
        self.register_buffer("blur", torch.tensor([1.0, 2.0, 1.0]) if config.blurred else None)
        self.conv = nn.Conv2d(inputs, 2 * outputs, kernel_size=4 if config.design > 1 else 3)
        self.noise = Noise(position=0) if config.design > 1 else None
        self.norm = nn.BatchNorm2d(2 * outputs)
        excites = FIRST_EXCITED <= 8 * side <= config.side
        self.excitation = (
            Excitation(outputs, config.widths[index + 3], side, config.frequencies == 1) if excites else None
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.attention is not None:
            x = x + self.attention(x)
        if self.enlarge is None:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        else:
            x = functional.pixel_shuffle(functional.silu(self.enlarge(x)), 2)
        if self.blur is not None:
            x = blurred(x, self.blur)
        # An even kernel is not symmetric: it needs two pixels of padding at the left and top, and one elsewhere.
        before = self.conv.kernel_size[0] // 2
        after = self.conv.kernel_size[0] - 1 - before
        x = self.conv(functional.pad(x, (before, after, before, after)))
        if self.noise is not None:
            x = self.noise(x)
        x = functional.glu(self.norm(x), dim=1)
        return x, None if self.excitation is None else self.excitation(x)


def blurred(x: Tensor, weights: Tensor) -> Tensor:
    """Separable filter with the given weights along both sides, with reflection padding. x: [N, C, H, W]."""
    kernel = torch.outer(weights, weights)
    kernel = (kernel / kernel.sum()).to(x).expand(x.shape[1], 1, -1, -1)
    return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, groups=x.shape[1])


class Excitation(nn.Module):
    """Skip-layer excitation: features [N, I, H, W] -> channel factors at a higher resolution, [N, O, 1, 1]."""

    frequencies: Tensor | None

    def __init__(self, inputs: int, outputs: int, side: int, by_frequencies: bool):
        super().__init__()
        self.attend = None if by_frequencies else nn.Conv2d(inputs, 1, kernel_size=1)
        self.register_buffer("frequencies", frequencies(inputs, side) if by_frequencies else None)
        hidden = max(3, outputs // (4 if by_frequencies else 2))
        self.squeeze = nn.Conv2d(inputs, hidden, kernel_size=1)
        self.excite = nn.Conv2d(hidden, outputs, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.frequencies is not None:
            seen = (x * self.frequencies).sum(dim=(2, 3))
        else:
            assert self.attend is not None
            weights = self.attend(x).flatten(1).softmax(dim=1)  # [N, H * W]
            seen = torch.einsum("np,ncp->nc", weights, x.flatten(2))
        x = functional.leaky_relu(self.squeeze(seen[:, :, None, None]), 0.1)
        return self.excite(x).sigmoid()


def frequencies(channels: int, side: int) -> Tensor:
    """Basis function of the discrete cosine transform for each channel, [1, channels, side, side].

    A sixteenth of the channels each: 0 to 7 half periods horizontally, and 0 to 7 vertically. Remaining channels have
    zeros.
    """
    halves = torch.arange(8.0)[:, None]
    waves = (math.pi * halves * (torch.arange(float(side)) + 0.5) / side).cos() * math.sqrt(2 / side)  # [8, side]
    waves = torch.where(halves == 0, waves / math.sqrt(2), waves)
    across = waves[0][None, :, None] * waves[:, None, :]
    both = torch.cat([across, across.transpose(1, 2)])  # [16, side, side]
    each = both.repeat_interleave(channels // 16, dim=0)
    return torch.cat([each, torch.zeros(channels - len(each), side, side)])[None]


class Attention(nn.Module):
    """Attention, [N, C, H, W] -> the same: to all pixels at linear cost, and with `near` also to 3x3 neighbourhoods."""

    def __init__(self, features: int, near: bool):
        super().__init__()
        size = HEADS * HEAD_SIZE
        self.norm = ChannelNorm(features)
        self.queries = nn.Conv2d(features, size, kernel_size=1, bias=False)
        self.around = nn.Conv2d(features, features, kernel_size=3, padding=1, groups=features, bias=False)
        self.keys_and_values = nn.Conv2d(features, 2 * size, kernel_size=1, bias=False)
        self.near_queries = nn.Conv2d(features, size, kernel_size=1, bias=False) if near else None
        self.near_keys_and_values = nn.Conv2d(features, 2 * size, kernel_size=1, bias=False) if near else None
        self.out = nn.Conv2d(2 * size if near else size, features, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        seen = functional.gelu(attended(self.queries(x), self.keys_and_values(self.around(x))))
        if self.near_queries is not None and self.near_keys_and_values is not None:
            seen = torch.cat([seen, attended_near(self.near_queries(x), self.near_keys_and_values(x))], dim=1)
        return self.out(seen)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel, with gain and bias for each channel."""

    def __init__(self, features: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.layer_norm(x.movedim(1, -1), self.gain.shape, self.gain, self.bias)
        return x.movedim(-1, 1)


def attended(queries: Tensor, keys_and_values: Tensor) -> Tensor:
    """Linear attention (Shen et al. 2018): keys and values are multiplied first, over all pixels, then the queries.

    queries: [N, HEADS * HEAD_SIZE, H, W]. keys_and_values: [N, 2 * HEADS * HEAD_SIZE, H, W]. Returns the shape of
    queries.
    """
    q, k, v = (_heads(part).flatten(3) for part in (queries, *keys_and_values.chunk(2, dim=1)))  # [N, heads, size, HW]
    context = v @ k.softmax(dim=3).transpose(2, 3)  # [N, heads, size of values, size of keys]
    seen = context @ (q.softmax(dim=2) * HEAD_SIZE**-0.5)
    return seen.flatten(1, 2).unflatten(2, queries.shape[2:])


def attended_near(queries: Tensor, keys_and_values: Tensor) -> Tensor:
    """Attention of each pixel to its 3x3 neighbourhood, with zero padding. Shapes as in `attended`."""
    q = _heads(queries).flatten(3) * HEAD_SIZE**-0.5  # [N, heads, size, HW]
    around = functional.unfold(keys_and_values, kernel_size=3, padding=1)  # [N, 2 * heads * size * 9, HW]
    k, v = (part.unflatten(1, (HEADS, HEAD_SIZE, 9)) for part in around.chunk(2, dim=1))
    weights = torch.einsum("nhdp,nhdjp->nhjp", q, k).softmax(dim=2)
    seen = torch.einsum("nhjp,nhdjp->nhdp", weights, v)
    return seen.flatten(1, 2).unflatten(2, queries.shape[2:])


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(1, (HEADS, HEAD_SIZE))


def _detect(shapes: Shapes) -> bool:
    required = {
        "project.weight": 4,
        "project.bias": 1,
        "norm.running_mean": 1,
        "stages.0.conv.weight": 4,
        "to_image.weight": 4,
        "to_image.bias": 1,
    }
    return has_tensors(shapes, required)


def _config_from(shapes: Shapes) -> LightweightGANConfig:
    found = (shapes.get(f"stages.{stage}.conv.weight", ()) for stage in count())
    convolutions = list(takewhile(lambda shape: len(shape) == 4, found))
    sides = [4 * 2**stage for stage in range(len(convolutions))]
    if "stages.0.enlarge.weight" in shapes:
        design = 3
    else:
        design = 2 if convolutions[0][-1] == 4 else 1
    return LightweightGANConfig(
        side=2 * sides[-1],
        channels=shapes["to_image.weight"][0],
        widths=tuple(shape[0] // 2 for shape in convolutions),
        latent_size=shapes["project.weight"][0],
        attention=tuple(side for stage, side in enumerate(sides) if f"stages.{stage}.attention.out.weight" in shapes),
        frequencies=int("stages.1.excitation.frequencies" in shapes),
        blurred=int("stages.0.blur" in shapes),
        design=design,
    )


ARCHITECTURE = Architecture(
    name="lightweight_gan",
    config=LightweightGANConfig,
    generator=LightweightGANGenerator,
    detect=_detect,
    config_from=_config_from,
)
