"""Image data sets: images of one size in 8 bits, from a folder, a ZIP archive or memory.

Files are decoded once into a cache on disk, which is mapped into memory. A batch is a slice of it, a data set of any
size needs no memory of its own, and the second start is immediate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError, sentence
from ..files import temporary_folder
from ..media import image_files
from ..media.image import IMAGE
from ..media.medium import Medium
from .dataset import Batch
from .duplicates import Duplicates, find_duplicates
from .fitting import Fitting
from .image_cache import cache_entry, default_cache, open_cached, publish
from .image_classes import Classes, classes_of
from .image_decoding import decoding
from .listing import Listing, list_images, state_of

CHANNELS = {"auto": 0, "grey": 1, "RGB": 3, "RGBA": 4}
"""Number of channels by choice; 0 is decided from the images."""

BUILDS = 3
"""Maximum attempts to read a folder that changes meanwhile."""


@dataclass(frozen=True, repr=False, eq=False)
class ImageDataset:
    """Images of one size, in 8 bits, optionally with class labels."""

    images: np.ndarray
    """Images, uint8 [N, H, W, C], often a read-only memory map of a file."""
    name: str
    """Name of the data set, without a path."""
    fingerprint: str
    """SHA-256 of the pixels and labels, as hex."""
    labels: np.ndarray | None = None
    """Class labels, int64 [N], or None."""
    class_names: tuple[str, ...] = ()
    """Names of the classes, label 0 first."""
    mirror: bool = False
    """Whether training also uses horizontally flipped images."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Reasons why files could not be used, by file."""
    remarks: tuple[str, ...] = ()
    """Sentences on how the images were read: classes, ignored files."""
    advice: tuple[str, ...] = ()
    """Sentences on images that suit the size, fit or channels badly, and what to do."""

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"ImageDataset({self.summary})"

    @property
    def summary(self) -> str:
        """One line on name, number, size and classes."""
        text = f"{self.name}: {len(self):,} images {self.width}x{self.height}x{self.channels}"
        text += f", {self.classes} classes" if self.classes else ""
        text += f", {len(self.skipped)} files skipped" if self.skipped else ""
        return text

    @property
    def side(self) -> int:
        """Height of the images, in pixels."""
        return self.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.height, self.width

    @property
    def height(self) -> int:
        return self.images.shape[1]

    @property
    def width(self) -> int:
        return self.images.shape[2]

    @property
    def channels(self) -> int:
        """1 grey, 3 RGB, 4 RGBA."""
        return self.images.shape[3]

    @property
    def classes(self) -> int:
        """Number of class labels; 0 for an unlabelled data set."""
        return len(self.class_names) if self.labels is not None else 0

    @cached_property
    def duplicates(self) -> Duplicates:
        """Duplicates among the images. The first call takes up to a second."""
        return find_duplicates(self.images)

    def batch(self, indices: np.ndarray, mirrored: np.ndarray | None = None) -> Tensor:
        """Images at the given indices, as uint8 [B, C, H, W] in channels-last memory.

        mirrored: bool [B], which of them to flip horizontally.
        """
        pixels = self.images[indices]
        if mirrored is not None:
            pixels[mirrored] = pixels[mirrored, :, ::-1]
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    @property
    def medium(self) -> Medium:
        return IMAGE

    def draw(self, indices: np.ndarray, random: np.random.Generator | None = None) -> Batch:
        """The images at these indices, uint8 [B, C, H, W], and their labels. See Dataset.

        random: decides which images are flipped horizontally, if `mirror` is on; None flips none.
        """
        flipped = random.random(len(indices)) < 0.5 if self.mirror and random is not None else None
        labels = None if self.labels is None else torch.from_numpy(self.labels[indices])
        return Batch(self.batch(indices, flipped), labels)

    @classmethod
    def from_images(
        cls,
        images: np.ndarray | Tensor,
        size: int | tuple[int, int] | None = None,
        channels: str = "auto",
        fit: str = "crop",
        mirror: bool = False,
        name: str = "images",
    ) -> ImageDataset:
        """Creates a data set from images in memory.

        images: [N, H, W, C] with C = 1, 3 or 4: uint8, or floats in [0, 1].
        size: side of square images, or height and width; None for squares with the height of the images.
        channels, fit: as in from_folder; "auto" is grey if every image is.

        Raises InputError for anything else.
        """
        if isinstance(images, Tensor):
            images = (images.float() if images.is_floating_point() else images).detach().cpu().numpy()
        pixels = np.asarray(images)
        if pixels.ndim != 4 or pixels.shape[3] not in (1, 3, 4) or not len(pixels):
            raise InputError(f"images must have shape [N, H, W, 1, 3 or 4] (got {list(pixels.shape)}).")
        if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
            raise InputError(f"images must be uint8, or floats from 0 to 1 (got {pixels.dtype}).")
        if pixels.dtype != np.uint8:
            pixels = (np.nan_to_num(pixels.astype(np.float32)).clip(0, 1) * 255).round().astype(np.uint8)
        height, width = _height_and_width(size or pixels.shape[1])
        _check(height, width, channels, fit)
        count = CHANNELS[channels] or _channels_of_pixels(pixels)
        fitting = Fitting()
        for one in pixels:
            fitting.add(one.shape[:2], count, (height, width), fit)
        if pixels.shape[1:] != (height, width, count):
            # For Pillow an image with one channel has no third axis.
            arrays = pixels[..., 0] if pixels.shape[3] == 1 else pixels
            fitted = [image_files.fitted(Image.fromarray(one), (height, width), count, fit) for one in arrays]
            pixels = np.stack(fitted)
        elif count == 4:
            # Invisible pixels are black, as in images that are read or resized, so that their colours are not learned.
            pixels = np.where(pixels[..., 3:] > 0, pixels, 0).astype(np.uint8)
        advice = fitting.advice((height, width), count, fit)
        return cls(pixels, name, fingerprint(pixels, None), mirror=mirror, advice=tuple(advice))

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        size: int | tuple[int, int] = 64,
        channels: str = "auto",
        fit: str = "crop",
        mirror: bool = False,
        labels: bool = False,
        cache: Path | None = None,
    ) -> ImageDataset:
        """Reads all images in a folder and its sub-folders, or in a ZIP archive.

        size: side of square images, or height and width, in pixels.
        channels: "grey", "RGB", "RGBA", or "auto": RGBA if any image has transparency, grey if all images are grey.
        Invisible pixels of RGBA images become black.
        fit: "crop" the middle, "pad" with white (transparent for RGBA), or "stretch".
        labels: whether to read class labels: from StyleGAN's dataset.json, else from the sub-folders.
        cache: folder for decoded images; None for `default_cache()`.

        Files that cannot be read are left out and named in `skipped`; `remarks` name other files that were ignored.
        Raises InputError if the folder is missing or has no usable image, and if its classes are ambiguous.
        """
        *_, last = reading(folder, size, channels, fit, mirror, labels, cache)
        assert last.dataset is not None
        return last.dataset


@dataclass(frozen=True)
class Reading:
    """Progress of reading a folder."""

    done: int
    """Files done."""
    total: int
    dataset: ImageDataset | None = None
    """The data set; set in the last value."""


def reading(
    folder: str | Path,
    size: int | tuple[int, int] = 64,
    channels: str = "auto",
    fit: str = "crop",
    mirror: bool = False,
    labels: bool = False,
    cache: Path | None = None,
    exclude: Collection[Path] = (),
) -> Iterator[Reading]:
    """ImageDataset.from_folder step by step, so that the caller can show progress or stop.

    exclude: folders whose content is never data, such as the folder of the run that is to be trained.
    """
    folder = Path(folder)
    height, width = _height_and_width(size)
    _check(height, width, channels, fit)
    # The entry of a square size is the same as in earlier versions.
    settings: list[object] = [height if height == width else [height, width], channels, fit, labels]
    for _ in range(BUILDS):
        with closing(list_images(folder, exclude)) as listing:
            classes = classes_of(listing) if labels else None
            entry = cache_entry(cache or default_cache(), listing, settings)
            cached = open_cached(entry)
            if cached is None:
                whole = yield from _cached(listing, classes, entry, (height, width), channels, fit)
                # Another process that saw the folder in another state may have just removed it.
                cached = open_cached(entry) if whole else None
            if cached is not None:
                remarks = [*(classes.remarks if classes else ()), *listing.remarks, *listing.passed_over_in_words()]
                dataset = ImageDataset(
                    cached.images,
                    listing.name,
                    cached.fingerprint,
                    cached.labels,
                    cached.class_names,
                    mirror=mirror,
                    skipped=cached.skipped,
                    remarks=(*cached.remarks, *map(sentence, remarks)),
                    advice=cached.advice,
                )
                yield Reading(len(listing.files), len(listing.files), dataset)
                return
    raise InputError(f"The images in {folder} change while they are read: wait until all of them are copied.")


def fingerprint_of_folder(folder: str | Path, exclude: Collection[Path] = ()) -> str:
    """Hash of the names, sizes and times of the images in a folder; it changes when a file is added or changed."""
    return state_of(Path(folder), exclude)


def fingerprint(pixels: np.ndarray, labels: np.ndarray | None) -> str:
    """SHA-256 of pixels and labels, as hex."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data)
    if labels is not None:
        digest.update(labels.astype(np.int64).data)
    return digest.hexdigest()


def _height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _check(height: int, width: int, channels: str, fit: str) -> None:
    bad = next((side for side in (height, width) if not 8 <= side <= 4096), None)
    if bad is not None:
        raise InputError(f"Height and width of images must be 8 to 4096 pixels (got {bad}).")
    if channels not in CHANNELS:
        raise InputError(f'channels must be {", ".join(CHANNELS)} (got "{channels}").')
    if fit not in image_files.FITS:
        raise InputError(f'fit must be {", ".join(image_files.FITS)} (got "{fit}").')


def _cached(
    listing: Listing, classes: Classes | None, entry: Path, size: tuple[int, int], channels: str, fit: str
) -> Generator[Reading, None, bool]:
    """Decodes the images into a cache entry. Returns False, without an entry, if they changed meanwhile."""
    try:
        with temporary_folder(entry.parent) as folder:
            partial = folder / "new"
            partial.mkdir()
            with closing(decoding(listing, classes, partial, size, CHANNELS[channels], fit)) as steps:
                for done, total in steps:
                    yield Reading(done, total)
            if listing.has_changed():
                return False
            publish(partial, entry)
    except OSError as error:
        raise InputError(f"The images cannot be cached in {entry.parent}: {error.strerror or error}.") from error
    return True


def _channels_of_pixels(pixels: np.ndarray) -> int:
    if pixels.shape[3] == 4 and pixels[..., 3].min() < 255:
        return 4
    grey = pixels.shape[3] == 1 or all(np.array_equal(pixels[..., 0], pixels[..., other]) for other in (1, 2))
    return 1 if grey else 3
