"""Bundled data sets: the 10,000 digits of MNIST's test set (LeCun, Cortes & Burges 1998), and 273 drawn portraits (Noto
emoji). README.md in this folder names their sources."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images import ImageDataset, fingerprint
from ..errors import InputError

FOLDER = Path(__file__).parent

PORTRAITS, SIDE = 273, 64
"""Number of portraits in their file, and the side of each in pixels."""


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


def _idx(path: Path) -> np.ndarray:
    """Reads an idx file of unsigned bytes: a magic number whose last byte counts the axes, their lengths, the data."""
    with gzip.open(path) as file:
        content = file.read()
    axes = content[3]
    lengths = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(lengths)
