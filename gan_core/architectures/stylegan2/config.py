"""Config of StyleGAN2."""

from dataclasses import dataclass

from ...errors import InputError
from ..architecture import check_channels, check_start, size_of

MIN_SIDE, MAX_SIDE = 8, 4096
"""Range of height and width of the images, in pixels."""

MAX_NUMBER = 2**16
"""Maximum of every other number in a config, which limits configs from files."""


@dataclass(frozen=True)
class StyleGAN2Config:
    side: int
    """Height of the images, 8 to 4096: that of the first block, doubled repeatedly."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features at each resolution, from the first block to the image's."""
    classes: int = 0
    """Number of class labels; 0 for an unconditional generator."""
    latent_size: int = 512
    """Length of z."""
    w_dim: int = 512
    """Length of a style w."""
    mapping_layers: int = 8
    clamp: int = 256
    """Bound of the features' absolute values, for half precision; 0 for no bound."""
    start: tuple[int, int] = (4, 4)
    """Height and width of the first block."""

    def __post_init__(self) -> None:
        check_start("stylegan2", self.side, self.start)
        height, width = size_of(self)
        if not (min(height, width) >= MIN_SIDE and max(height, width) <= MAX_SIDE):
            raise InputError(
                f"Height and width of stylegan2 images must be {MIN_SIDE} to {MAX_SIDE} pixels (got {width}x{height})."
            )
        check_channels("stylegan2", self.channels)
        if len(self.widths) != len(self.sizes) or not all(1 <= width <= MAX_NUMBER for width in self.widths):
            raise InputError(
                f"stylegan2 needs a width of 1 to {MAX_NUMBER} for each of the {len(self.sizes)} heights from "
                f"{self.start[0]} to {self.side} (got {list(self.widths)[:65]})."
            )
        if not (
            1 <= self.latent_size <= MAX_NUMBER and 1 <= self.w_dim <= MAX_NUMBER and 0 <= self.classes <= MAX_NUMBER
        ):
            raise InputError(
                f"stylegan2 needs a latent size and a w_dim of 1 to {MAX_NUMBER} and at most {MAX_NUMBER} classes (got "
                f"{self.latent_size}, {self.w_dim} and {self.classes})."
            )
        if not (1 <= self.mapping_layers <= 32 and 0 <= self.clamp <= MAX_NUMBER):
            raise InputError(
                f"stylegan2 needs 1 to 32 mapping layers and a clamp of 0 to {MAX_NUMBER} (got {self.mapping_layers} "
                f"and {self.clamp})."
            )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths of the blocks, from the first one to the image's."""
        height, width = self.start
        doublings = (self.side // height).bit_length()
        return [(height * 2**power, width * 2**power) for power in range(doublings)]

    @property
    def names(self) -> list[str]:
        """Names of the blocks: b4, b8 and so on, by their sides with a first block of 4x4."""
        return [f"b{4 * 2**power}" for power in range(len(self.sizes))]

    @property
    def num_ws(self) -> int:
        """Number of styles: one for each convolution, and one for the last block's image."""
        return 2 * len(self.sizes)

    @property
    def noise_sizes(self) -> list[tuple[int, int]]:
        """Height and width of each convolution's noise map, in order."""
        return [self.sizes[0], *(size for size in self.sizes[1:] for _ in range(2))]


def widths(side: int, base: int = 32768, largest: int = 512) -> tuple[int, ...]:
    """Features at each resolution, as in NVIDIA's tools: base / side, at most `largest`."""
    return tuple(min(base // 2**power, largest) for power in range(2, side.bit_length()))


def design(
    side: int,
    start: tuple[int, int],
    channels: int,
    classes: int,
    base: int = 32768,
    largest: int = 512,
    latent_size: int = 512,
    w_dim: int = 512,
    mapping_layers: int = 8,
) -> StyleGAN2Config:
    """Config for an image size. base, largest: as in `widths`; a first block of any shape counts as 4x4.

    Raises InputError for a size that doubling of the first block does not give.
    """
    check_start("stylegan2", side, start)
    features = widths(4 * side // start[0], base, largest)
    # No clamp: it is for float16, and training here uses bfloat16, which has the range of float32.
    return StyleGAN2Config(side, channels, features, classes, latent_size, w_dim, mapping_layers, clamp=0, start=start)
