"""What a StyleGAN2 can be built as."""

from dataclasses import dataclass

from ...errors import InputError
from ..architecture import check_channels, check_start, size_of

SMALLEST_SIDE, LARGEST_SIDE = 8, 4096
"""Of the height and width of an image."""

LARGEST = 2**16
"""Of every number in a config but the side, so that one from a file cannot ask for a network beyond all bounds."""


@dataclass(frozen=True)
class StyleGAN2Config:
    side: int
    """Height of the images, from 8 to 4096: that of the first block, doubled again and again."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features of the first block, of that with twice its side and so on up to the image's."""
    classes: int = 0
    """Number of class labels; 0 for a generator without."""
    latent_size: int = 512
    """Length of z."""
    w_dim: int = 512
    """Length of a style w."""
    mapping_layers: int = 8
    clamp: int = 256
    """Features are kept within plus and minus this, for half precision's sake; 0 for no bounds."""
    start: tuple[int, int] = (4, 4)
    """Height and width of the first block."""

    def __post_init__(self) -> None:
        check_start("stylegan2", self.side, self.start)
        height, width = size_of(self)
        if not (min(height, width) >= SMALLEST_SIDE and max(height, width) <= LARGEST_SIDE):
            raise InputError(
                f"stylegan2 makes images of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels in height and width, not "
                f"{width}x{height}."
            )
        check_channels("stylegan2", self.channels)
        if len(self.widths) != len(self.sizes) or not all(1 <= width <= LARGEST for width in self.widths):
            raise InputError(
                f"stylegan2 needs a width of 1 to {LARGEST} for each of the {len(self.sizes)} heights from "
                f"{self.start[0]} to {self.side}, not {list(self.widths)[:65]}."
            )
        if not (1 <= self.latent_size <= LARGEST and 1 <= self.w_dim <= LARGEST and 0 <= self.classes <= LARGEST):
            raise InputError(
                f"stylegan2 needs a latent size and a w_dim of 1 to {LARGEST} and at most {LARGEST} classes, not "
                f"{self.latent_size}, {self.w_dim} and {self.classes}."
            )
        if not (1 <= self.mapping_layers <= 32 and 0 <= self.clamp <= LARGEST):
            raise InputError(
                f"stylegan2 needs 1 to 32 mapping layers and a clamp of 0 to {LARGEST}, not {self.mapping_layers} "
                f"and {self.clamp}."
            )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the blocks, from the first to the image's."""
        height, width = self.start
        doublings = (self.side // height).bit_length()
        return [(height * 2**power, width * 2**power) for power in range(doublings)]

    @property
    def names(self) -> list[str]:
        """Of the blocks: b4, b8 and so on, after the sides that they have where the first is 4x4."""
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
    """Features for each side as NVIDIA's tools count them: base / side, and no more than `largest`."""
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
    """The networks for images of some size. base, largest: as for `widths`; a first block of any shape counts as 4x4.

    Raises InputError for a size that a first block of that shape does not grow to.
    """
    check_start("stylegan2", side, start)
    features = widths(4 * side // start[0], base, largest)
    # No bounds: they are for float16, and training here computes in bfloat16, whose numbers go as far as float32's.
    return StyleGAN2Config(side, channels, features, classes, latent_size, w_dim, mapping_layers, clamp=0, start=start)
