"""Formats of image files: which are read, and how a file is opened as what its extension says."""

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError, features

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


Source = Path | BytesIO
"""A file on disk, or its content."""


_big_image = threading.Lock()


@cache
def readable() -> frozenset[str]:
    """Extensions in FORMATS that the installed packages can read."""
    here = {format: True for format in FORMATS.values()}
    here["WEBP"] = "webp" in features.get_supported()
    here["AVIF"] = "avif" in features.get_supported() or _registered("register_avif_opener", "AVIF")
    here["HEIF"] = _registered("register_heif_opener", "HEIF")
    return frozenset(ending for ending, format in FORMATS.items() if here[format])


def opened(source: Source, name: str) -> Image.Image:
    """Opens a file in the format of its extension. Close it after use.

    Raises Pillow's errors for a damaged file, and ValueError for a file of another format.
    """
    try:
        return Image.open(source, formats=[FORMATS[extension(name)]])
    except UnidentifiedImageError:
        raise ValueError(_what_it_is(source, name)) from None


@contextmanager
def decoding(image: Image.Image) -> Iterator[None]:
    """Limits the memory in which an image is decoded: big ones are decoded one at a time.

    Raises ValueError for an image of more than MAX_PIXELS.
    """
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise ValueError(f"it has {pixels:,} pixels, more than the maximum of {MAX_PIXELS:,}")
    with _big_image if pixels > BIG_PIXELS else nullcontext():
        yield


def extension(name: str) -> str:
    """Extension of a file name, in lower case."""
    return os.path.splitext(name)[1].lower()


def _registered(opener: str, format: str) -> bool:
    """Whether pillow-heif is installed and has registered the format with Pillow."""
    try:
        getattr(importlib.import_module("pillow_heif"), opener)()
    except (ImportError, AttributeError, OSError):  # OSError: one of its libraries does not load
        return False
    return format in Image.OPEN


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
    promised = FORMATS[extension(name)]
    if not start:
        return "it is empty"
    if kind is None or kind.endswith(promised):
        return f"it is not a readable {promised} file"
    return f"it is {kind}, not {promised} as its extension says"
