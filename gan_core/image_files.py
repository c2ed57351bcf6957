"""From an image file, or a picture in memory, to the rectangle of 8-bit pixels that a network is trained on."""

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .errors import InputError

SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".webp",
        ".avif",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".tga",
    ]
)
"""Endings, in lower case, of the files taken for images."""

MAX_PIXELS = 89_000_000
"""A file that claims more pixels is refused unread: a few kilobytes can unpack to any amount of memory."""

BIG_PIXELS = 4_000_000
"""Above this, images are decoded one at a time, so that a folder of photographs takes no more memory than icons do."""

PROBED = 256
"""Images looked at to decide on the channels."""

_big_image = threading.Lock()


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of images, in pixels, from what people write: "64" for squares, or width x height, "96x64".

    Raises InputError for anything else.
    """
    numbers = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip().lower(), re.ASCII)
    if numbers is None:
        raise InputError(f'A size is a side in pixels, such as 64, or width x height, such as 96x64; "{text}" is none.')
    width, height = int(numbers[1]), int(numbers[2] or numbers[1])
    return height, width


def read(path: Path, size: tuple[int, int], channels: int, fit: str) -> np.ndarray:
    """Decodes one file. size: height and width. Returns uint8 [height, width, channels].

    Transparency is laid on white unless there are 4 channels; EXIF rotation is applied; of an animation the first
    frame is taken. Raises whatever Pillow raises for a damaged file, ValueError for one too large.
    """
    with Image.open(path) as image:
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise ValueError(f"it has {pixels:,} pixels, and more than {MAX_PIXELS:,} are refused")
        # A JPEG can be decoded at a fraction of its size: twice what is needed keeps the resampling exact. Which of
        # its sides is the height is known only when it has been turned upright.
        scale = 2 * max(size) / min(image.size)
        image.draft(None, (int(image.width * scale) + 1, int(image.height * scale) + 1))
        with _big_image if pixels > BIG_PIXELS else nullcontext():
            image.load()
            return fitted(_upright(image), size, channels, fit)


def fitted(image: Image.Image, size: tuple[int, int], channels: int, fit: str) -> np.ndarray:
    """Brings a picture to a height and a width. Returns uint8 [height, width, channels]. fit: one of FITS."""
    height, width = size
    image = FITS[fit](_with_channels(_eight_bit(image), channels), (width, height))
    return np.asarray(image, np.uint8).reshape(height, width, channels)


def channels_of_files(paths: Sequence[Path]) -> int:
    """4 if any image has see-through pixels, 1 if all are grey, else 3; judged by PROBED images, evenly chosen."""
    chosen = paths[:: max(1, len(paths) // PROBED)]
    grey = True
    for path in chosen:
        try:
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    continue
                if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
                    return 4
                grey = grey and image.mode in _GREY_MODES
        except Exception:  # noqa: BLE001 - read() will meet the same damage, and name it
            continue
    return 1 if grey else 3


_GREY_MODES = frozenset(["1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"])


def _upright(image: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow's own conversion of deeper greys cuts off at 255 instead of scaling."""
    if image.mode.startswith("I"):  # 16-bit files open as I;16 or, in older versions, as 32-bit I
        values = np.asarray(image).astype(np.float32)
        sixteen_bits = image.mode.startswith("I;16") or values.max() > 255
        return _grey(values / 257 if sixteen_bits else values)
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        return _grey(values * 255 if values.max() <= 1 else values)
    return image


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    if channels == 4:
        # By way of premultiplied colours, so that what cannot be seen is black and not something to be learned.
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
"""How a picture comes to a width and a height, in Pillow's order: what is too long is cut off, bars are added (white or
clear), or it is pulled out of proportion."""
