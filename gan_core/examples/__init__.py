"""Data that ships with the project: the 10,000 digits of MNIST's test set (LeCun, Cortes & Burges 1998)."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..dataset import ImageDataset, fingerprint

FOLDER = Path(__file__).parent


def digits(
    size: int | tuple[int, int] = 28, channels: str = "auto", mirror: bool = False, labels: bool = False
) -> ImageDataset:
    """10,000 handwritten digits, grey, white on black.

    size: side in pixels, or height and width; they are squares of 28 by nature.
    channels, mirror: as in ImageDataset.from_images.
    labels: whether each comes with its class, 0 to 9.
    """
    pixels = _idx(FOLDER / "t10k-images-idx3-ubyte.gz")[..., None]
    dataset = ImageDataset.from_images(pixels, size, channels, mirror=mirror, name="MNIST digits")
    if not labels:
        return dataset
    classes = _idx(FOLDER / "t10k-labels-idx1-ubyte.gz").astype(np.int64)
    return replace(
        dataset, labels=classes, class_names=tuple("0123456789"), fingerprint=fingerprint(dataset.images, classes)
    )


def _idx(path: Path) -> np.ndarray:
    """Reads an idx file of unsigned bytes: a magic number whose last byte counts the axes, their lengths, the data."""
    with gzip.open(path) as file:
        content = file.read()
    axes = content[3]
    lengths = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(lengths)
