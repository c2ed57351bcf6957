"""Decoding of the image files of a data set, to the pixels and the index that the cache keeps."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError
from ..media import grey_levels, image_files
from ..media.image_formats import Source
from .fitting import Fitting
from .image_cache import PIXELS, write_index
from .image_classes import Classes, in_natural_order
from .listing import Listing

DECODED_TOGETHER = 64
"""Images decoded in parallel: enough for all cores, few enough for little memory."""


PROBED = 256
"""Number of images inspected for a first guess of the channels."""


Steps = Generator[tuple[int, int], None, None]
"""Progress: files done, and their total."""

Result = TypeVar("Result")


def decoding(
    listing: Listing, classes: Classes | None, into: Path, size: tuple[int, int], channels: int, fit: str
) -> Steps:
    """Decodes the files of a data set step by step, and writes the files of a cache entry to a folder.

    size: height and width. channels: number of channels; 0 for as many as the images need. fit: one of
    image_files.FITS. Raises InputError if no file can be read.
    """
    files = listing.files if classes is None else [file for file in listing.files if file in classes.of_files]
    numbers = yield from _surveyed(listing)
    count = channels or _channels_of_some(listing)
    while True:
        found = yield from _pixels_written(listing, files, into, size, count, not channels, fit, numbers)
        if channels or found.channels == count:
            break
        count = found.channels
    remarks = [*map(str, numbers.values()), *found.remarks()]
    names: list[str] = []
    labels = None
    if classes is not None:
        counts = Counter(classes.of_files[file] for file in found.kept)
        all_names = in_natural_order({*classes.of_files.values()})
        remarks = [*classes.report({name: counts[name] for name in all_names}), *remarks]
        names = in_natural_order(counts.keys())
        number = {name: i for i, name in enumerate(names)}
        labels = [number[classes.of_files[file]] for file in found.kept]
        found.digest.update(np.asarray(labels, np.int64).tobytes())
    shape = [len(found.kept), *size, count]
    advice = found.fitting.advice(size, count, fit)
    write_index(into, shape, labels, names, found.digest.hexdigest(), found.skipped, remarks, advice)


@dataclass
class _Found:
    """What decoding has shown of the files so far."""

    kept: list[str] = field(default_factory=list)
    """Files that were decoded."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Files that cannot be read, with the reasons."""
    channels: int = 1
    """Number of channels that the images need."""
    deep: int = 0
    """Number of images with 16 bits."""
    deepest: int = 0
    """Largest value in any of them."""
    fitting: Fitting = field(default_factory=Fitting)
    """How they suit the size and the colours of the data set."""
    digest: Any = field(default_factory=hashlib.sha256)
    """SHA-256 of the pixels."""

    def remarks(self) -> list[str]:
        if not self.deep:
            return []
        return [f"{self.deep:,} images have 16 bits and go up to {self.deepest:,}: 65,535 is read as white."]


def _pixels_written(
    listing: Listing,
    files: Sequence[str],
    into: Path,
    size: tuple[int, int],
    channels: int,
    automatic: bool,
    fit: str,
    numbers: Mapping[str, grey_levels.Numbers],
) -> Generator[tuple[int, int], None, _Found]:
    """Writes the pixels of all files.

    automatic: whether to stop, with incomplete pixels, at the first image that needs more channels than these.
    """
    found = _Found()

    def read(file: str) -> image_files.Decoded | str:
        try:
            return image_files.read(listing.source(file), file, size, channels, fit, numbers)
        except Exception as error:  # noqa: BLE001 - Pillow raises almost anything for a damaged file
            return str(error) or type(error).__name__

    with _pool() as pool, (into / PIXELS).open("wb") as pixels:
        done = 0
        for group in _groups(files):
            for file, image in zip(group, pool.map(read, group), strict=True):
                if isinstance(image, str):
                    found.skipped[file] = image.replace(str(listing.root), listing.name)
                    continue
                found.channels = max(found.channels, image.own_channels)
                if automatic and found.channels > channels:
                    return found
                pixels.write(image.pixels.tobytes())
                found.digest.update(image.pixels.tobytes())
                found.kept.append(file)
                found.fitting.add(image.own_size, image.own_channels, size, fit)
                if image.deepest is not None:
                    found.deep, found.deepest = found.deep + 1, max(found.deepest, image.deepest)
            done += len(group)
            yield done, len(files)
        pixels.flush()
        os.fsync(pixels.fileno())  # before the index declares it complete
    if not found.kept:
        file, reason = next(iter(found.skipped.items()))
        raise InputError(f"None of the {len(files)} images in {listing.root} can be read, such as {file}: {reason}.")
    return found


def _surveyed(listing: Listing) -> Generator[tuple[int, int], None, dict[str, grey_levels.Numbers]]:
    """Ranges of 32-bit values over all files, which decide on black and white."""
    files = [file for file in listing.files if grey_levels.may_hold_any_numbers(file)]
    ranges: list[tuple[str, float, float] | None] = []
    with _pool() as pool:
        for group in _groups(files):
            ranges += pool.map(lambda file: _tried(grey_levels.range_of_numbers, listing, file), group)
            yield 0, len(listing.files)
    return grey_levels.survey(ranges)


def _channels_of_some(listing: Listing) -> int:
    """Guesses the number of channels from some files; decoding all files confirms or corrects it."""
    some = listing.files[:: max(1, len(listing.files) // PROBED)]
    return max((_tried(image_files.own_channels, listing, file) or 1 for file in some), default=1)


def _tried(function: Callable[[Source, str], Result], listing: Listing, file: str) -> Result | None:
    """Result of a function of a file; None if the file cannot be read."""
    try:
        return function(listing.source(file), file)
    except Exception:  # noqa: BLE001 - decoding meets the same damage, and names it
        return None


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def _groups(files: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(files), DECODED_TOGETHER):
        yield files[start : start + DECODED_TOGETHER]
