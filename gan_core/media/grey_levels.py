"""Grey levels of more than 8 bits: what is black and white in a file of 16 or 32 bits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .image_formats import FORMATS, Source, decoding, extension, opened

DEEP_MODES = frozenset(["I", "F", "I;16", "I;16L", "I;16B", "I;16N"])
"""Pillow's modes of images with one channel of more than 8 bits."""


@dataclass(frozen=True)
class Numbers:
    """Range of values in grey images with 32 bits per pixel, whose files do not define white."""

    floats: bool
    count: int
    """Number of images."""
    low: float
    """Smallest value in any of them."""
    high: float
    """Largest value in any of them."""

    @property
    def black_and_white(self) -> tuple[float, float]:
        """Values that become 0 and 255: the usual range that fits the images best, else their own range."""
        # Resampling overshoots a little.
        if self.low < -0.05 * max(self.high, 0):
            return (-1.0, 1.0) if self.floats and self.low >= -1.05 and self.high <= 1.05 else (self.low, self.high)
        if self.floats and self.high <= 1.05:
            return 0.0, 1.0
        # Floats up to 16 are not in 0 to 1, and in 0 to 255 they would be almost black.
        usual = (255.0, 65535.0) if not self.floats or self.high > 16 else ()
        return 0.0, next((top for top in usual if self.high <= top * (1.05 if self.floats else 1)), self.high)

    def __str__(self) -> str:
        """Sentence on the values and how they are read."""
        black, white = self.black_and_white
        kind = "floating-point numbers" if self.floats else "32-bit whole numbers"
        return (
            f"{self.count:,} TIFF {'file has' if self.count == 1 else 'files have'} {kind} from {self.low:.4g} to "
            f"{self.high:.4g}: {black:.5g} is read as black and {white:.5g} as white."
        )


def may_hold_any_numbers(name: str) -> bool:
    """Whether a file of that name can have 32-bit values, whose range `survey` must find."""
    return FORMATS[extension(name)] == "TIFF"


def range_of_numbers(source: Source, name: str) -> tuple[str, float, float] | None:
    """Pillow's mode, "I" or "F", of a file with 32-bit values, and their smallest and largest finite value.

    None for any other file. Raises the errors of image_files.read.
    """
    with opened(source, name) as image:
        if image.mode not in ("I", "F"):
            return None
        with decoding(image):
            values = np.asarray(image)
            return (image.mode, *_finite_range(values)) if np.isfinite(values).any() else None


def survey(ranges: Iterable[tuple[str, float, float] | None]) -> dict[str, Numbers]:
    """Combines the results of range_of_numbers over a data set to one range for each mode."""
    found: dict[str, Numbers] = {}
    for one in ranges:
        if one is not None:
            mode, low, high = one
            before = found.get(mode, Numbers(mode == "F", 0, low, high))
            found[mode] = Numbers(before.floats, before.count + 1, min(before.low, low), max(before.high, high))
    return found


def to_eight_bits(image: Image.Image, numbers: Mapping[str, Numbers]) -> Image.Image:
    """Converts deeper grey levels to 8 bits by scaling; Pillow's own conversion clips them at 255.

    numbers: ranges of 32-bit values in the data set, from `survey`; the image's own range where it is missing.
    """
    if image.mode not in DEEP_MODES:
        return image
    values = np.asarray(image).astype(np.float32)
    black, white = 0.0, 65535.0
    # A deep PGM opens as 32-bit I too, with values that Pillow has scaled to 16 bits.
    if image.mode in ("I", "F") and image.format in ("TIFF", None):  # None: an image in memory
        numbers_here = numbers.get(image.mode) or Numbers(image.mode == "F", 1, *_finite_range(values))
        black, white = numbers_here.black_and_white
    values = np.nan_to_num(values, nan=black, posinf=white, neginf=black)
    return _grey((values - black) * (255 / ((white - black) or 1)))


def _finite_range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
