"""Bundled data sets: the 10,000 digits of MNIST's test set (LeCun, Cortes & Burges 1998), 273 drawn portraits (Noto
emoji), and critters, which are drawn here. README.md in this folder names their sources."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.image_cache import PIXELS, default_cache, open_cached, publish, write_index
from ..data.images import ImageDataset, fingerprint
from ..errors import InputError
from ..files import temporary_folder
from .drawing import KINDS, VERSION, draw, factors

FOLDER = Path(__file__).parent

PORTRAITS, SIDE = 273, 64
"""Number of portraits in their file, and the side of each in pixels."""

CRITTERS = 10_000
"""Number of critters that are drawn unless another one is wanted."""


def digits(
    size: int | tuple[int, int] = 28, channels: str = "auto", mirror: bool = False, labels: bool = False
) -> ImageDataset:
    """Data set of 10,000 handwritten digits, white on black.

    size: side in pixels, or height and width; the originals are 28x28.
    channels, mirror: as in ImageDataset.from_images.
    labels: whether each has its class label, 0 to 9.
    """
    pixels = _idx(FOLDER / "t10k-images-idx3-ubyte.gz")[..., None]
    dataset = ImageDataset.from_images(pixels, size, channels, mirror=mirror, name="MNIST digits")
    if not labels:
        return dataset
    classes = _idx(FOLDER / "t10k-labels-idx1-ubyte.gz").astype(np.int64)
    return replace(
        dataset, labels=classes, class_names=tuple("0123456789"), fingerprint=fingerprint(dataset.images, classes)
    )


def portraits(
    size: int | tuple[int, int] = 64, channels: str = "auto", mirror: bool = False, labels: bool = False
) -> ImageDataset:
    """Data set of 273 drawn portraits in colour, on white: few enough for a discriminator to overfit.

    size: side in pixels, or height and width; the originals are 64x64.
    channels, mirror: as in ImageDataset.from_images.

    Raises InputError if labels are requested, because there is only one class.
    """
    if labels:
        raise InputError("The portraits have no class labels: turn labels off.")
    with Image.open(FOLDER / "portraits.webp", formats=["WEBP"]) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    rows, columns = pixels.shape[0] // SIDE, pixels.shape[1] // SIDE
    tiles = pixels.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    return ImageDataset.from_images(tiles[:PORTRAITS], size, channels, mirror=mirror, name="portraits")


def critters(
    size: int | tuple[int, int] = 64,
    channels: str = "auto",
    mirror: bool = False,
    labels: bool = False,
    count: int = CRITTERS,
    seed: int = 0,
    cache: Path | None = None,
) -> ImageDataset:
    """Data set of drawn creatures in colour. Their factors are `drawing.factors(count, seed)`.

    size: side in pixels, or height and width; the originals are 64x64.
    channels, mirror: as in ImageDataset.from_images.
    labels: whether each has its kind as a class label, 0 to 5.
    count, seed: number of creatures, and seed of their factors: another seed gives creatures for a test.
    cache: folder for the drawn images, as 10,000 take a few seconds; None for `default_cache()`.
    """
    table = factors(count, seed)
    pixels = _drawn(table, (cache or default_cache()) / f"critters_{count}_{seed}-{VERSION}")
    dataset = ImageDataset.from_images(pixels, size, channels, mirror=mirror, name="critters")
    if not labels:
        return dataset
    kinds = table["kind"]
    return replace(dataset, labels=kinds, class_names=KINDS, fingerprint=fingerprint(dataset.images, kinds))


DATASETS: Mapping[str, Callable[..., ImageDataset]] = {
    "example/digits": digits,
    "example/portraits": portraits,
    "example/critters": critters,
}
"""Bundled data sets by the names under which they are chosen like folders."""


def _drawn(table: Mapping[str, np.ndarray], entry: Path) -> np.ndarray:
    """Images of critters, uint8 [N, 64, 64, 3]: from their cache entry, which is made if it is missing."""
    cached = open_cached(entry)
    if cached is not None:
        return cached.images
    pixels = draw(table, SIDE)
    try:
        with temporary_folder(entry.parent) as folder:
            partial = folder / "new"
            partial.mkdir()
            pixels.tofile(partial / PIXELS)
            write_index(partial, pixels.shape, None, (), fingerprint(pixels, None), {}, ())
            publish(partial, entry)
    except OSError:  # such as a full disk: they are drawn again the next time
        pass
    return pixels


def _idx(path: Path) -> np.ndarray:
    """Reads an idx file of unsigned bytes: a magic number whose last byte counts the axes, their lengths, the data."""
    with gzip.open(path) as file:
        content = file.read()
    axes = content[3]
    lengths = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(lengths)
