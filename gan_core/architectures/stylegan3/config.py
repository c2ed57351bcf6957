"""What a StyleGAN3 can be built as."""

from dataclasses import dataclass

from ...errors import InputError
from ..architecture import check_channels
from .signals import bands

SIDES = tuple(2**power for power in range(4, 13))

LARGEST = 2**16
"""Of every number in a config but the side, so that one from a file cannot ask for a network beyond all bounds."""


@dataclass(frozen=True)
class StyleGAN3Config:
    side: int
    """Height and width of the images: a power of two from 16 to 4096."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features of every layer but the last, which makes the image; NVIDIA's networks have 14 of them."""
    classes: int = 0
    """Number of class labels; 0 for a generator without."""
    latent_size: int = 512
    """Length of z."""
    w_dim: int = 512
    """Length of a style w."""
    mapping_layers: int = 2
    conv_kernel: int = 3
    """3 for StyleGAN3-T; 1 for StyleGAN3-R."""

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise InputError(
                f"stylegan3 makes images whose side is a power of two from {SIDES[0]} to {SIDES[-1]} pixels, "
                f"not {self.side}."
            )
        check_channels("stylegan3", self.channels)
        if not 3 <= len(self.widths) <= 64 or not all(1 <= width <= LARGEST for width in self.widths):
            raise InputError(f"stylegan3 needs 3 to 64 widths of 1 to {LARGEST}, not {list(self.widths)[:65]}.")
        if not (1 <= self.latent_size <= LARGEST and 1 <= self.w_dim <= LARGEST and 0 <= self.classes <= LARGEST):
            raise InputError(
                f"stylegan3 needs a latent size and a w_dim of 1 to {LARGEST} and at most {LARGEST} classes, not "
                f"{self.latent_size}, {self.w_dim} and {self.classes}."
            )
        if not 1 <= self.mapping_layers <= 32:
            raise InputError(f"stylegan3 needs 1 to 32 mapping layers, not {self.mapping_layers}.")
        if self.conv_kernel not in (1, 3):
            raise InputError(f"stylegan3 has convolutions of 3x3 (T) or 1x1 (R), not of {self.conv_kernel}.")

    @property
    def num_ws(self) -> int:
        """Number of styles: one for the plane waves, one for each layer, the last included."""
        return len(self.widths) + 2


def widths(side: int, base: int = 32768, largest: int = 512, layers: int = 14) -> tuple[int, ...]:
    """Features of the layers as NVIDIA's tools count them: less as bands widen, and no more than `largest`.

    For R, whose layers are cheaper, base and largest are usually twice as much.
    """
    return tuple(round(min(base / 2 / band.cutoff, largest)) for band in bands(side, layers)[:-1])
