"""What a FastGAN can be built as."""

from dataclasses import dataclass

from ...errors import InputError
from ..architecture import check_channels, check_start

SIDES = (64, 128, 256, 512, 1024)
"""Of square images from a first block of 4x4, which is doubled four to eight times. With fewer doublings, no stage
would have another whose side is a sixteenth of its own."""

LARGEST = 2**16
"""Of every number of features, so that a config from a file cannot ask for a network beyond all bounds."""


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
