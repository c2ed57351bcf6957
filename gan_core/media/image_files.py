"""Decoding of image files, and of images in memory, to arrays of 8-bit pixels for training."""

import importlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from ..errors import InputError

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".tga": "TGA",
}
"""Formats of image files, by extension in lower case, under Pillow's names.

A file is opened only in the format of its extension: going by the content, Pillow would start Ghostscript for an EPS.
"""

MAX_PIXELS = 89_000_000
"""Maximum number of pixels. A file that claims more is rejected unread, because a few kilobytes can decompress to any
amount of memory."""

BIG_PIXELS = 4_000_000
"""Number of pixels above which images are decoded one at a time, to limit the memory for folders of photographs."""

PROBED = 256
"""Number of images inspected for a first guess of the channels."""

Source = Path | BytesIO
"""A file on disk, or its content."""

_big_image = threading.Lock()


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


@dataclass(frozen=True)
class Decoded:
    """Pixels of an image file, and properties from which those of the data set are derived."""

    pixels: np.ndarray
    """uint8 [height, width, channels]."""
    own_channels: int
    """4 if the file has transparent pixels, 1 if it is grey, else 3."""
    deepest: int | None
    """Largest value in a file of 16-bit grey levels; None for others."""


@cache
def readable() -> frozenset[str]:
    """Extensions in FORMATS that the installed packages can read."""
    here = {format: True for format in FORMATS.values()}
    here["WEBP"] = "webp" in features.get_supported()
    here["AVIF"] = "avif" in features.get_supported() or _registered("register_avif_opener", "AVIF")
    here["HEIF"] = _registered("register_heif_opener", "HEIF")
    return frozenset(ending for ending, format in FORMATS.items() if here[format])


def _registered(opener: str, format: str) -> bool:
    """Whether pillow-heif is installed and has registered the format with Pillow."""
    try:
        getattr(importlib.import_module("pillow_heif"), opener)()
    except (ImportError, AttributeError, OSError):  # OSError: one of its libraries does not load
        return False
    return format in Image.OPEN


def parse_size(text: str) -> tuple[int, int]:
    """Parses a size to height and width in pixels: "64" for square images, or width x height, "96x64".

    Raises InputError for anything else.
    """
    numbers = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip().lower(), re.ASCII)
    if numbers is None:
        raise InputError(f'size must be a side in pixels, such as 64, or width x height, such as 96x64 (got "{text}").')
    width, height = int(numbers[1]), int(numbers[2] or numbers[1])
    return height, width


def opened(source: Source, name: str) -> Image.Image:
    """Opens a file in the format of its extension. Close it after use.

    Raises Pillow's errors for a damaged file, and ValueError for a file of another format.
    """
    try:
        return Image.open(source, formats=[FORMATS[_ending(name)]])
    except UnidentifiedImageError:
        raise ValueError(_what_it_is(source, name)) from None


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
    with opened(source, name) as image:
        pixels = _checked_pixels(image)
        # A JPEG can be decoded at a fraction of its size; twice the target keeps the resampling exact. Height and width
        # are known only after EXIF rotation, hence the longer side.
        scale = 2 * max(size) / min(image.size)
        image.draft(None, (int(image.width * scale) + 1, int(image.height * scale) + 1))
        with _big_image if pixels > BIG_PIXELS else nullcontext():
            image.load()
            deepest = int(np.asarray(image).max()) if image.mode.startswith("I;16") else None
            decoded = _eight_bit(_upright(image), numbers)
            return Decoded(fitted(decoded, size, channels, fit), _own_channels(decoded), deepest)


def fitted(image: Image.Image, size: tuple[int, int], channels: int, fit: str) -> np.ndarray:
    """Resizes an image to a height and a width. fit: one of FITS. Returns uint8 [height, width, channels]."""
    height, width = size
    image = FITS[fit](_with_channels(_eight_bit(image, {}), channels), (width, height))
    return np.asarray(image, np.uint8).reshape(height, width, channels)


def own_channels(source: Source, name: str) -> int:
    """Number of channels of an image file, as in Decoded. Raises the errors of `read`."""
    with opened(source, name) as image:
        pixels = _checked_pixels(image)
        with _big_image if pixels > BIG_PIXELS else nullcontext():
            return 1 if image.mode in _DEEP_MODES else _own_channels(image)


def may_hold_any_numbers(name: str) -> bool:
    """Whether a file of that name can have 32-bit values, whose range `survey` must find."""
    return FORMATS[_ending(name)] == "TIFF"


def range_of_numbers(source: Source, name: str) -> tuple[str, float, float] | None:
    """Pillow's mode, "I" or "F", of a file with 32-bit values, and their smallest and largest finite value.

    None for any other file. Raises the errors of `read`.
    """
    with opened(source, name) as image:
        if image.mode not in ("I", "F"):
            return None
        pixels = _checked_pixels(image)
        with _big_image if pixels > BIG_PIXELS else nullcontext():
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


_GREY_MODES = frozenset(["1", "L", "LA", "La"])
_DEEP_MODES = frozenset(["I", "F", "I;16", "I;16L", "I;16B", "I;16N"])

_BEGINNINGS = {
    b"\x89PNG": "a PNG",
    b"\xff\xd8\xff": "a JPEG",
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"%!PS": "a PostScript file",
    b"\xc5\xd0\xd3\xc6": "a PostScript file",
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop file",
    b"PK\3\4": "a ZIP archive",
}
"""First bytes of files that are often found under a wrong extension."""


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _checked_pixels(image: Image.Image) -> int:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise ValueError(f"it has {pixels:,} pixels, more than the maximum of {MAX_PIXELS:,}")
    return pixels


def _what_it_is(source: Source, name: str) -> str:
    if isinstance(source, BytesIO):
        start = source.getvalue()[:16]
    else:
        with source.open("rb") as file:
            start = file.read(16)
    kind = next((kind for beginning, kind in _BEGINNINGS.items() if start.startswith(beginning)), None)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        kind = "a WebP"
    elif start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        kind = "a HEIC"
    elif start[4:12] == b"ftypavif":
        kind = "an AVIF"
    promised = FORMATS[_ending(name)]
    if not start:
        return "it is empty"
    if kind is None or kind.endswith(promised):
        return f"it is not a readable {promised} file"
    return f"it is {kind}, not {promised} as its extension says"


def _upright(image: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _own_channels(image: Image.Image) -> int:
    if image.has_transparency_data:
        alpha = image.getchannel("A") if "A" in image.getbands() else image.convert("RGBA").getchannel("A")
        if np.asarray(alpha).min() < 255:
            return 4
    return 1 if image.mode in _GREY_MODES else 3


def _eight_bit(image: Image.Image, numbers: Mapping[str, Numbers]) -> Image.Image:
    """Converts deeper grey levels to 8 bits by scaling; Pillow's own conversion clips them at 255."""
    if image.mode not in _DEEP_MODES:
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
