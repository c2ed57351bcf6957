"""Config of StyleGAN3."""

from dataclasses import dataclass

from ...errors import InputError
from ..architecture import check_channels
from .signals import bands

SIDES = tuple(2**power for power in range(4, 13))

MAX_NUMBER = 2**16
"""Maximum of every number in a config except the side, which limits configs from files."""


@dataclass(frozen=True)
class StyleGAN3Config:
    side: int
    """Height and width of the images: a power of two from 16 to 4096."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features of every layer except the last, which outputs the image; NVIDIA's networks have 14 of them."""
    classes: int = 0
    """Number of class labels; 0 for an unconditional generator."""
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
                f"side of stylegan3 must be a power of two from {SIDES[0]} to {SIDES[-1]} pixels (got {self.side})."
            )
        check_channels("stylegan3", self.channels)
        if not 3 <= len(self.widths) <= 64 or not all(1 <= width <= MAX_NUMBER for width in self.widths):
            raise InputError(f"stylegan3 needs 3 to 64 widths of 1 to {MAX_NUMBER} (got {list(self.widths)[:65]}).")
        if not (
            1 <= self.latent_size <= MAX_NUMBER and 1 <= self.w_dim <= MAX_NUMBER and 0 <= self.classes <= MAX_NUMBER
        ):
            raise InputError(
                f"stylegan3 needs a latent size and a w_dim of 1 to {MAX_NUMBER} and at most {MAX_NUMBER} classes (got "
                f"{self.latent_size}, {self.w_dim} and {self.classes})."
            )
        if not 1 <= self.mapping_layers <= 32:
            raise InputError(f"mapping_layers of stylegan3 must be 1 to 32 (got {self.mapping_layers}).")
        if self.conv_kernel not in (1, 3):
            raise InputError(f"conv_kernel of stylegan3 must be 3 (T) or 1 (R) (got {self.conv_kernel}).")

    @property
    def num_ws(self) -> int:
        """Number of styles: one for the plane waves, and one for each layer including the last."""
        return len(self.widths) + 2


def widths(side: int, base: int = 32768, largest: int = 512, layers: int = 14) -> tuple[int, ...]:
    """Features of the layers, as in NVIDIA's tools: fewer for wider bands, at most `largest`.

    base and largest are usually doubled for StyleGAN3-R, whose layers are cheaper.
    """
    return tuple(round(min(base / 2 / band.cutoff, largest)) for band in bands(side, layers)[:-1])
