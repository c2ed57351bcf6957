"""Decoding of image files, and of images in memory, to arrays of 8-bit pixels for training."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ..errors import InputError
from .grey_levels import DEEP_MODES, Numbers, to_eight_bits
from .image_formats import Source, decoding, opened


@dataclass(frozen=True)
class Decoded:
    """Pixels of an image file, and properties from which those of the data set are derived."""

    pixels: np.ndarray
    """uint8 [height, width, channels]."""
    own_channels: int
    """4 if the file has transparent pixels, 1 if it is grey, else 3."""
    deepest: int | None
    """Largest value in a file of 16-bit grey levels; None for others."""
    own_size: tuple[int, int]
    """Height and width of the image in the file, upright."""


def read(
    source: Source, name: str, size: tuple[int, int], channels: int, fit: str, numbers: Mapping[str, Numbers]
) -> Decoded:
    """Decodes one image file to a size and a number of channels.

    name: file name, whose extension decides on the format. size: height and width in pixels. fit: one of FITS. numbers:
    ranges of 32-bit values in the data set, by Pillow's mode "I" or "F", from `survey`.

    Transparency is composited on white unless there are 4 channels, EXIF rotation is applied, and an animation gives
    its first frame. Raises Pillow's errors for a damaged file, and ValueError for a file that is too large or of
    another format than its extension.
    """
    with opened(source, name) as image, decoding(image):
        # A JPEG can be decoded at a fraction of its size; twice the target keeps the resampling exact. Height and width
        # are known only after EXIF rotation, hence the longer side.
        longer = max(image.size)
        scale = 2 * max(size) / min(image.size)
        image.draft(None, (int(image.width * scale) + 1, int(image.height * scale) + 1))
        image.load()
        deepest = int(np.asarray(image).max()) if image.mode.startswith("I;16") else None
        decoded = to_eight_bits(_upright(image), numbers)
        drafted = longer / max(decoded.size)
        own_size = round(decoded.height * drafted), round(decoded.width * drafted)
        return Decoded(fitted(decoded, size, channels, fit), _own_channels(decoded), deepest, own_size)


def own_channels(source: Source, name: str) -> int:
    """Number of channels of an image file, as in Decoded. Raises the errors of `read`."""
    with opened(source, name) as image, decoding(image):
        return 1 if image.mode in DEEP_MODES else _own_channels(image)


def fitted(image: Image.Image, size: tuple[int, int], channels: int, fit: str) -> np.ndarray:
    """Resizes an image to a height and a width. fit: one of FITS. Returns uint8 [height, width, channels]."""
    height, width = size
    image = FITS[fit](_with_channels(to_eight_bits(image, {}), channels), (width, height))
    return np.asarray(image, np.uint8).reshape(height, width, channels)


def parse_size(text: str) -> tuple[int, int]:
    """Parses a size to height and width in pixels: "64" for square images, or width x height, "96x64".

    Raises InputError for anything else.
    """
    numbers = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip().lower(), re.ASCII)
    if numbers is None:
        raise InputError(f'size must be a side in pixels, such as 64, or width x height, such as 96x64 (got "{text}").')
    width, height = int(numbers[1]), int(numbers[2] or numbers[1])
    return height, width


_GREY_MODES = frozenset(["1", "L", "LA", "La"])


def _upright(image: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _own_channels(image: Image.Image) -> int:
    if image.has_transparency_data:
        alpha = image.getchannel("A") if "A" in image.getbands() else image.convert("RGBA").getchannel("A")
        if np.asarray(alpha).min() < 255:
            return 4
    return 1 if image.mode in _GREY_MODES else 3


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    if channels == 4:
        # Premultiplied and back, so that invisible pixels are black and their colours are not learned.
        return image.convert("RGBA").convert("RGBa").convert("RGBA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("L" if channels == 1 else "RGB")


def _crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def _pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    background = "#00000000" if image.mode == "RGBA" else "white"
    return ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=background)


def _stretch(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.LANCZOS)


FITS: dict[str, Callable[[Image.Image, tuple[int, int]], Image.Image]] = {
    "crop": _crop,
    "pad": _pad,
    "stretch": _stretch,
}
"""Ways to fit an image to a width and a height, in Pillow's order: crop the middle, pad with white or transparent bars,
or stretch."""
