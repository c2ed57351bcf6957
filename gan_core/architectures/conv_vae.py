"""conv_vae: the textbook variational autoencoder, of plain convolutions (Kingma & Welling 2014).

The encoder halves a picture until its shorter side is 4 or less and says of it a normal distribution over z; the
decoder walks the same way back. Sides that are no power of two go by halves that are rounded up: 28 by 14, 7 and 4.
"""

import math
from dataclasses import dataclass
from itertools import pairwise, takewhile

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..platforms import in_order
from .architecture import Architecture, Shapes, check_channels, check_proportions, has_tensors, size_of
from .layers.mixture import GaussianMixture

LARGEST_SIDE = 256
"""Of the height and width of the images."""

LARGEST = 2**12
"""Of every other number in a config, so that one from a file cannot ask for a network beyond all bounds."""

MOST_STAGES = 6
"""From the largest side to 4."""

LOG_VARIANCES = (-12.0, 8.0)
"""Least and greatest log variance of a posterior: beyond them its density is no number that float32 can work with."""


@dataclass(frozen=True)
class ConvVAEConfig:
    side: int
    """Height of the images, 8 to 256."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    classes: int = 0
    """None: it learns without labels."""
    latent_size: int = 16
    """Length of z."""
    width: int = 32
    """Features at half the image's side; they double with every halving, up to 8 times this."""
    components: int = 0
    """Parts of the mixture that its posteriors are described by; 0 for none."""
    directions: int = 0
    """Dimensions in which those parts differ."""
    start: tuple[int, int] = (4, 4)
    """As height is to width."""

    def __post_init__(self) -> None:
        check_proportions("conv_vae", self.side, self.start, LARGEST_SIDE)
        check_channels("conv_vae", self.channels)
        if self.classes != 0:
            raise InputError(f"conv_vae is trained without classes: their number is 0, not {self.classes}.")
        if not (1 <= self.latent_size <= LARGEST and 1 <= self.width <= LARGEST and 0 <= self.components <= LARGEST):
            raise InputError(
                f"conv_vae needs a latent size and a width of 1 to {LARGEST}, and at most {LARGEST} components, not "
                f"{self}."
            )
        if not min(self.components, 1) <= self.directions <= self.latent_size:
            raise InputError(f"A mixture has at least 1 direction and no more than z, not {self.directions}.")

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths of the blocks of features, largest first: from the image's to a shorter side of 4 or
        less."""
        sizes = [size_of(self)]
        while min(sizes[-1]) > 4:
            height, width = sizes[-1]
            sizes.append(((height + 1) // 2, (width + 1) // 2))
        return sizes

    @property
    def widths(self) -> list[int]:
        """Features in each of those blocks, of which the first is the image."""
        return [self.channels, *(self.width * min(8, 2**halvings) for halvings in range(len(self.sizes) - 1))]


class ConvVAE(nn.Module):
    """Called as a generator, it is the decoder: z [N, latent_size] -> images [N, C, H, W] in [-1, 1]."""

    def __init__(self, config: ConvVAEConfig):
        super().__init__()
        sizes, widths = config.sizes, config.widths
        block = (*sizes[-1], widths[-1])
        flat = math.prod(block)
        halvings = [
            nn.Sequential(
                nn.Conv2d(inputs, outputs, _kernel_size(size), stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            )
            for size, (inputs, outputs) in zip(sizes, pairwise(widths), strict=False)
        ]
        self.encoder = nn.Sequential(*halvings, Flatten(), nn.Linear(flat, 2 * config.latent_size))
        doublings = [
            nn.Sequential(
                Residual(inputs),
                nn.BatchNorm2d(inputs),
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(inputs, outputs, _kernel_size(size), stride=2, padding=1, bias=size == sizes[0]),
            )
            for size, (outputs, inputs) in zip(sizes, pairwise(widths), strict=False)
        ]
        self.decoder = nn.Sequential(nn.Linear(config.latent_size, flat), Unflatten(block), *doublings[::-1])
        self.mixture = (
            GaussianMixture(config.latent_size, config.components, config.directions) if config.components else None
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.tanh(self.logits(z) / 2)

    def logits(self, z: Tensor) -> Tensor:
        """Of each pixel's being white: z [N, latent_size] -> [N, C, H, W]. tanh(x / 2) is 2 sigmoid(x) - 1."""
        return self.decoder(z)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images [N, C, H, W] in [-1, 1] -> mean and log variance of z, [N, latent_size]."""
        mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCES)


class Flatten(nn.Module):
    """[N, C, H, W] -> [N, H W C]: in the order in which training has features in memory, so that nothing is copied,
    forth or back. That is worth 8 % of a training step."""

    def forward(self, x: Tensor) -> Tensor:
        return in_order(x).movedim(1, -1).flatten(1)


class Unflatten(nn.Module):
    """[N, H W C] -> [N, C, H, W]."""

    def __init__(self, block: tuple[int, int, int]):
        super().__init__()
        self.block = block  # height, width and features

    def forward(self, x: Tensor) -> Tensor:
        return in_order(x.unflatten(1, self.block).movedim(-1, 1))


class Residual(nn.Module):
    """Features [N, C, H, W], and to them what one convolution makes of them. Only the decoder has it: measured on
    digits, it brings 2.6 nats there and none in the encoder."""

    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(features)
        self.conv = nn.Conv2d(features, features, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(torch.relu(self.norm(x)))


def _kernel_size(size: tuple[int, int]) -> tuple[int, int]:
    """The kernel between a block of this height and width and one of half of them: 4 meets every pixel equally often,
    and 3 is what fits an odd side."""
    height, width = size
    return 3 if height % 2 else 4, 3 if width % 2 else 4


def _detect(shapes: Shapes) -> bool:
    halvings = _halvings(shapes)
    stages = len(halvings)
    required = {f"encoder.{stages + 1}.weight": 2, "decoder.0.weight": 2, f"decoder.{stages + 1}.3.bias": 1}
    return (
        1 <= stages <= MOST_STAGES
        and all(len(shape) == 4 and {*shape[2:]} <= {3, 4} for shape in halvings)
        and has_tensors(shapes, required)
    )


def _config_from(shapes: Shapes) -> ConvVAEConfig:
    """Raises InputError for pictures that are no squares: nothing in the shapes says which side is the longer."""
    halvings = _halvings(shapes)
    flat, latent_size = shapes["decoder.0.weight"]
    side = math.isqrt(flat // max(1, halvings[-1][0]))
    if side**2 != flat // max(1, halvings[-1][0]) or any(height != width for *_, height, width in halvings):
        raise InputError(
            "its pictures are no squares, and only our own header says how high and wide they are: save it with Save "
            "Generator."
        )
    for _, _, kernel_size, _ in reversed(halvings):
        side = 2 * side if kernel_size == 4 else 2 * side - 1
    components, directions = shapes.get("mixture.means", (0, 0))[:2]
    return ConvVAEConfig(
        side=side,
        channels=halvings[0][1],
        latent_size=latent_size,
        width=halvings[0][0],
        components=components,
        directions=directions,
    )


def _halvings(shapes: Shapes) -> list[tuple[int, ...]]:
    """Shapes of the encoder's convolutions, from the image on."""
    found = (shapes.get(f"encoder.{stage}.0.weight", ()) for stage in range(MOST_STAGES + 1))
    return list(takewhile(len, found))


ARCHITECTURE = Architecture(
    name="conv_vae",
    config=ConvVAEConfig,
    generator=ConvVAE,
    detect=_detect,
    config_from=_config_from,
    encodes=True,
)
