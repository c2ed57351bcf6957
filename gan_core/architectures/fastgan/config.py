"""Config of FastGAN."""

from dataclasses import dataclass

from ...errors import InputError
from ..architecture import check_channels, check_start

SIDES = (64, 128, 256, 512, 1024)
"""Sides of square images from a first block of 4x4, doubled four to eight times. With fewer doublings no stage could be
excited by one of a sixteenth of its side."""

MAX_WIDTH = 2**16
"""Maximum number of features and classes, which limits configs from files."""


@dataclass(frozen=True)
class FastGANConfig:
    side: int
    """Height of the images: 64, 128, 256, 512 or 1024 for a first block of 4x4; in proportion for others."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features in the first block and in each stage, up to the resolution of the image."""
    convolutions: tuple[int, ...]
    """Convolutions in each stage, 1 or 2. A stage with 2 adds noise."""
    classes: int = 0
    """Number of class labels; 0 for an unconditional generator."""
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
            raise InputError(f"start of fastgan must be a height and a width (got {list(self.start)}).")
        heights = [side // SIDES[0] * 16 * self.start[0] for side in SIDES]
        if self.side not in heights:
            raise InputError(
                f"height of fastgan images must be {', '.join(map(str, heights[:-1]))} or {heights[-1]} pixels (got "
                f"{self.side})."
            )
        check_start("fastgan", self.side, self.start)
        check_channels("fastgan", self.channels)
        if len(self.widths) != len(self.sides) or not all(1 <= width <= MAX_WIDTH for width in self.widths):
            raise InputError(
                f"fastgan needs a width of 1 to {MAX_WIDTH} for each of the {len(self.sides)} sides from "
                f"{self.sides[0]} to {self.side} (got {list(self.widths)})."
            )
        if len(self.convolutions) != len(self.sides) - 1 or not all(number in (1, 2) for number in self.convolutions):
            raise InputError(
                f"fastgan needs 1 or 2 convolutions for each of the {len(self.sides) - 1} sides from {self.sides[1]} "
                f"to {self.side} (got {list(self.convolutions)})."
            )
        if not (1 <= self.latent_size <= MAX_WIDTH and 0 <= self.classes <= MAX_WIDTH):
            raise InputError(
                f"fastgan needs a latent size of 1 to {MAX_WIDTH} and at most {MAX_WIDTH} classes (got "
                f"{self.latent_size} and {self.classes})."
            )
        if self.projected not in (0, 1):
            raise InputError(f"projected of fastgan must be 0 or 1 (got {self.projected}).")

    @property
    def sides(self) -> list[int]:
        """Heights of the features, from that of the first block to the image's."""
        return [self.start[0] * 2**doublings for doublings in range((self.side // self.start[0]).bit_length())]


def widths(side: int, base: int = 64) -> tuple[int, ...]:
    """Features at each side from 4 to that of a square image, as in the paper. base: features at 128x128; 128 in
    Projected GAN."""
    multiples = (16, 8, 4, 2, 2, 1, 1 / 2, 1 / 4, 1 / 8)
    return tuple(int(base * multiple) for multiple in multiples[: side.bit_length() - 2])


def convolutions(side: int) -> tuple[int, ...]:
    """Convolutions at each side from 8 on, as in the paper: alternately two and one."""
    return tuple(2 - stage % 2 for stage in range(side.bit_length() - 3))


def design(
    side: int, start: tuple[int, int], channels: int, classes: int, base: int = 64, latent_size: int = 256
) -> FastGANConfig:
    """Config of the paper's network for an image height.

    base: features after five doublings of the first block, at 128x128.

    Raises InputError for a size that it cannot generate.
    """
    square = 4 * side // start[0]  # side of the image from a first block of 4x4 with as many doublings
    return FastGANConfig(
        side=side,
        channels=channels,
        widths=widths(square, base),
        convolutions=convolutions(square),
        classes=classes,
        latent_size=latent_size,
        start=start,
    )
