"""conv_vae: a textbook variational autoencoder with plain convolutions (Kingma & Welling 2014).

The encoder halves the image until its shorter side is 4 or less, and outputs a normal distribution over z; the decoder
mirrors it. Sides that are not a power of two are halved with rounding up: 28, 14, 7, 4.
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

MAX_SIDE = 256
"""Maximum height and width of the images, in pixels."""

MAX_NUMBER = 2**12
"""Maximum of every other number in a config, which limits configs from files."""

MAX_STAGES = 6
"""Maximum number of halvings, from the largest side to 4."""

LOG_VARIANCES = (-12.0, 8.0)
"""Range of the log variance of a posterior, outside of which its density exceeds float32."""


@dataclass(frozen=True)
class ConvVAEConfig:
    side: int
    """Height of the images, 8 to 256."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    classes: int = 0
    """Always 0: it is trained without class labels."""
    latent_size: int = 16
    """Length of z."""
    width: int = 32
    """Features at half the image's side; they double with every halving, up to 8 times this."""
    components: int = 0
    """Components of the Gaussian mixture fitted to its posteriors; 0 for none."""
    directions: int = 0
    """Directions along which those components differ."""
    start: tuple[int, int] = (4, 4)
    """Aspect ratio, height : width."""

    def __post_init__(self) -> None:
        check_proportions("conv_vae", self.side, self.start, MAX_SIDE)
        check_channels("conv_vae", self.channels)
        if self.classes != 0:
            raise InputError(f"conv_vae is trained without classes: classes must be 0 (got {self.classes}).")
        for name, least in (("latent_size", 1), ("width", 1), ("components", 0)):
            if not least <= getattr(self, name) <= MAX_NUMBER:
                raise InputError(f"{name} of conv_vae must be {least} to {MAX_NUMBER} (got {getattr(self, name)}).")
        if not min(self.components, 1) <= self.directions <= self.latent_size:
            raise InputError(
                f"directions of a mixture must be 1 to the length of z, {self.latent_size} (got {self.directions})."
            )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths of the features, from the image's down to a shorter side of 4 or less."""
        sizes = [size_of(self)]
        while min(sizes[-1]) > 4:
            height, width = sizes[-1]
            sizes.append(((height + 1) // 2, (width + 1) // 2))
        return sizes

    @property
    def widths(self) -> list[int]:
        """Number of features at each of these sizes; the first is the image."""
        return [self.channels, *(self.width * min(8, 2**halvings) for halvings in range(len(self.sizes) - 1))]


class ConvVAE(nn.Module):
    """VAE whose forward pass is the decoder: z [N, latent_size] -> images [N, C, H, W] in [-1, 1]."""

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
        """Logits of white pixels: z [N, latent_size] -> [N, C, H, W]. The output tanh(x / 2) is 2 sigmoid(x) - 1."""
        return self.decoder(z)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes images [N, C, H, W] in [-1, 1] to mean and log variance of z, each [N, latent_size]."""
        mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCES)


class Flatten(nn.Module):
    """[N, C, H, W] -> [N, H W C], in the memory order of training, so that nothing is copied, forward or backward.

    This saves 8 % of a training step.
    """

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
    """Residual block with one convolution, [N, C, H, W] -> the same. Only in the decoder: on digits it gains 2.6 nats
    there, and none in the encoder."""

    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(features)
        self.conv = nn.Conv2d(features, features, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(torch.relu(self.norm(x)))


def _kernel_size(size: tuple[int, int]) -> tuple[int, int]:
    """Kernel size between features of this height and width and half of it: 4 covers all pixels equally often; an odd
    side needs 3."""
    height, width = size
    return 3 if height % 2 else 4, 3 if width % 2 else 4


def _detect(shapes: Shapes) -> bool:
    halvings = _halvings(shapes)
    stages = len(halvings)
    required = {f"encoder.{stages + 1}.weight": 2, "decoder.0.weight": 2, f"decoder.{stages + 1}.3.bias": 1}
    return (
        1 <= stages <= MAX_STAGES
        and all(len(shape) == 4 and {*shape[2:]} <= {3, 4} for shape in halvings)
        and has_tensors(shapes, required)
    )


def _config_from(shapes: Shapes) -> ConvVAEConfig:
    """Config from shapes. Raises InputError for non-square images, whose shapes do not show which side is longer."""
    halvings = _halvings(shapes)
    flat, latent_size = shapes["decoder.0.weight"]
    side = math.isqrt(flat // max(1, halvings[-1][0]))
    if side**2 != flat // max(1, halvings[-1][0]) or any(height != width for *_, height, width in halvings):
        raise InputError(
            "its images are not square, and only our own header stores their height and width: save it with Save "
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
    found = (shapes.get(f"encoder.{stage}.0.weight", ()) for stage in range(MAX_STAGES + 1))
    return list(takewhile(len, found))


ARCHITECTURE = Architecture(
    name="conv_vae",
    config=ConvVAEConfig,
    generator=ConvVAE,
    detect=_detect,
    config_from=_config_from,
    encodes=True,
)
