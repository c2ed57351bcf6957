"""Image data sets: images of one size in 8 bits, from a folder, a ZIP archive or memory.

Files are decoded once into a cache on disk, which is mapped into memory. A batch is a slice of it, a data set of any
size needs no memory of its own, and the second start is immediate.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError, sentence
from ..files import patiently, remove, temporary_folder
from ..media import image_files
from ..media.image import IMAGE
from ..media.medium import Medium
from .dataset import Batch
from .image_classes import Classes, classes_of, in_natural_order
from .image_listing import Listing, state_of

CHANNELS = {"auto": 0, "grey": 1, "RGB": 3, "RGBA": 4}
"""Number of channels by choice; 0 is decided from the images."""

CACHE_VERSION = 2
"""Version of the cache, increased whenever the same file would give other pixels or labels."""

BUILDS = 3
"""Maximum attempts to read a folder that changes meanwhile."""

DECODED_TOGETHER = 64
"""Images decoded in parallel: enough for all cores, few enough for little memory."""


Result = TypeVar("Result")


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
        if pixels.shape[1:] != (height, width, count):
            # For Pillow an image with one channel has no third axis.
            arrays = pixels[..., 0] if pixels.shape[3] == 1 else pixels
            fitted = [image_files.fitted(Image.fromarray(one), (height, width), count, fit) for one in arrays]
            pixels = np.stack(fitted)
        elif count == 4:
            # Invisible pixels are black, as in images that are read or resized, so that their colours are not learned.
            pixels = np.where(pixels[..., 3:] > 0, pixels, 0).astype(np.uint8)
        return cls(pixels, name, fingerprint(pixels, None), mirror=mirror)

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
        with closing(Listing.of(folder, exclude)) as listing:
            classes = classes_of(listing) if labels else None
            entry = _cache_entry(cache or default_cache(), listing, settings)
            dataset = _open_cached(entry, listing.name)
            if dataset is None:
                whole = yield from _cached(listing, classes, entry, (height, width), channels, fit)
                # Another process that saw the folder in another state may have just removed it.
                dataset = _open_cached(entry, listing.name) if whole else None
            if dataset is not None:
                remarks = [*(classes.remarks if classes else ()), *listing.remarks, *listing.passed_over_in_words()]
                dataset = replace(dataset, mirror=mirror, remarks=(*dataset.remarks, *map(sentence, remarks)))
                yield Reading(len(listing.files), len(listing.files), dataset)
                return
    raise InputError(f"The images in {folder} change while they are read: wait until all of them are copied.")


def fingerprint_of_folder(folder: str | Path, exclude: Collection[Path] = ()) -> str:
    """Hash of the names, sizes and times of the images in a folder; it changes when a file is added or changed."""
    return state_of(Path(folder), exclude)


def default_cache() -> Path:
    """Folder for decoded images: that of the variable GAN_CORE_CACHE, else .cache/gan_core in the home folder."""
    return Path(os.environ.get("GAN_CORE_CACHE") or Path.home() / ".cache" / "gan_core")


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
            numbers = yield from _surveyed(listing)
            automatic = not CHANNELS[channels]
            count = _channels_of_some(listing) if automatic else CHANNELS[channels]
            while True:
                needed = yield from _decode(listing, classes, partial, size, count, automatic, fit, numbers)
                if needed == count:
                    break
                count = needed
            if listing.has_changed():
                return False
            _publish(partial, entry)
    except OSError as error:
        raise InputError(f"The images cannot be cached in {entry.parent}: {error.strerror or error}.") from error
    return True


def _surveyed(listing: Listing) -> Generator[Reading, None, dict[str, image_files.Numbers]]:
    """Ranges of 32-bit values over all files, which decide on black and white."""
    files = [file for file in listing.files if image_files.may_hold_any_numbers(file)]
    ranges: list[tuple[str, float, float] | None] = []
    with _pool() as pool:
        for group in _groups(files):
            ranges += pool.map(lambda file: _tried(image_files.range_of_numbers, listing, file), group)
            yield Reading(0, len(listing.files))
    return image_files.survey(ranges)


def _channels_of_some(listing: Listing) -> int:
    """Guesses the number of channels from some files; decoding all files confirms or corrects it."""
    some = listing.files[:: max(1, len(listing.files) // image_files.PROBED)]
    return max((_tried(image_files.own_channels, listing, file) or 1 for file in some), default=1)


def _tried(function: Callable[[image_files.Source, str], Result], listing: Listing, file: str) -> Result | None:
    """Result of a function of a file; None if the file cannot be read."""
    try:
        return function(listing.source(file), file)
    except Exception:  # noqa: BLE001 - decoding meets the same damage, and names it
        return None


def _decode(
    listing: Listing,
    classes: Classes | None,
    into: Path,
    size: tuple[int, int],
    channels: int,
    automatic: bool,
    fit: str,
    numbers: Mapping[str, image_files.Numbers],
) -> Generator[Reading, None, int]:
    """Writes images.u8 (the pixels of all images) and index.json (their description).

    Returns `channels`. If they were chosen automatically and the images need another number, returns that number; the
    files are then incomplete.
    """
    files = listing.files if classes is None else [file for file in listing.files if file in classes.of_files]
    kept: list[str] = []
    skipped: dict[str, str] = {}
    digest = hashlib.sha256()
    needed, deep, deepest = 1, 0, 0

    def read(file: str) -> image_files.Decoded | str:
        try:
            return image_files.read(listing.source(file), file, size, channels, fit, numbers)
        except Exception as error:  # noqa: BLE001 - Pillow raises almost anything for a damaged file
            return str(error) or type(error).__name__

    with _pool() as pool, (into / "images.u8").open("wb") as pixels:
        done = 0
        for group in _groups(files):
            for file, image in zip(group, pool.map(read, group), strict=True):
                if isinstance(image, str):
                    skipped[file] = image.replace(str(listing.root), listing.name)
                    continue
                needed = max(needed, image.own_channels)
                if automatic and needed > channels:
                    return needed
                pixels.write(image.pixels.tobytes())
                digest.update(image.pixels.tobytes())
                kept.append(file)
                if image.deepest is not None:
                    deep, deepest = deep + 1, max(deepest, image.deepest)
            done += len(group)
            yield Reading(done, len(files))
        pixels.flush()
        os.fsync(pixels.fileno())  # before the index declares it complete
    if not kept:
        file, reason = next(iter(skipped.items()))
        raise InputError(f"None of the {len(files)} images in {listing.root} can be read, such as {file}: {reason}.")
    if automatic and needed != channels:  # some files behind the first guess were damaged
        return needed
    remarks = [str(each) for each in numbers.values()]
    if deep:
        remarks.append(f"{deep:,} images have 16 bits and go up to {deepest:,}: 65,535 is read as white.")
    names: list[str] = []
    labels = None
    if classes is not None:
        counts = Counter(classes.of_files[file] for file in kept)
        remarks = [
            *classes.report({name: counts[name] for name in in_natural_order({*classes.of_files.values()})}),
            *remarks,
        ]
        names = in_natural_order(counts.keys())
        number = {name: i for i, name in enumerate(names)}
        labels = [number[classes.of_files[file]] for file in kept]
        digest.update(np.asarray(labels, np.int64).tobytes())
    index = {
        "version": CACHE_VERSION,
        "shape": [len(kept), *size, channels],
        "labels": labels,
        "class_names": names,
        "skipped": skipped,
        "remarks": list(map(sentence, remarks)),
        "fingerprint": digest.hexdigest(),
    }
    (into / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return channels


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def _groups(files: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(files), DECODED_TOGETHER):
        yield files[start : start + DECODED_TOGETHER]


def _cache_entry(cache: Path, listing: Listing, settings: list[object]) -> Path:
    """Cache entry of these files with these settings: its name has a hash of folder and settings, and one of the
    state of the files."""
    # The 1 is part of the name, not a version: an entry of an older version is replaced, not left behind.
    owner = hashlib.sha256(json.dumps([1, str(listing.root.resolve()), *settings]).encode()).hexdigest()[:16]
    return cache / f"{owner}-{listing.state[:16]}"


def _publish(partial: Path, entry: Path) -> None:
    """Renames a finished cache to its entry, and removes the entries of older states of the same folder."""
    owner = entry.name.split("-")[0]
    for stale in entry.parent.glob(f"{owner}-*"):
        _drop(stale)
    # An existing entry comes from a faster process, with the same pixels, or is damaged and in use.
    place = entry if not entry.exists() else entry.with_name(f"{entry.name}-{uuid.uuid4().hex[:8]}")
    try:
        if _open_cached(entry, "") is None:
            patiently(lambda: os.rename(partial, place))
    except OSError:
        if _open_cached(entry, "") is None:
            raise


def _drop(entry: Path) -> None:
    """Removes a cache entry, unless its images are in use: Windows does not remove a mapped file.

    The entry then stays complete, and a later call removes it.
    """
    try:
        (entry / "images.u8").unlink(missing_ok=True)
    except OSError:
        return
    remove(entry)


def _open_cached(entry: Path, name: str) -> ImageDataset | None:
    """Data set of a cache entry; None if it is missing or incomplete."""
    # A damaged entry in use cannot be replaced: the complete one stands beside it.
    places = [entry, *entry.parent.glob(f"{entry.name}-*")]
    return next(filter(None, (_opened(place, name) for place in places)), None)


def _opened(entry: Path, name: str) -> ImageDataset | None:
    try:
        index = json.loads((entry / "index.json").read_text(encoding="utf-8"))
        if index["version"] != CACHE_VERSION:
            return None
        images = np.memmap(entry / "images.u8", np.uint8, mode="r", shape=tuple(index["shape"]))
        labels = None if index["labels"] is None else np.asarray(index["labels"], np.int64)
        return ImageDataset(
            images,
            name,
            index["fingerprint"],
            labels,
            tuple(index["class_names"]),
            skipped=index["skipped"],
            remarks=tuple(index["remarks"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _channels_of_pixels(pixels: np.ndarray) -> int:
    if pixels.shape[3] == 4 and pixels[..., 3].min() < 255:
        return 4
    grey = pixels.shape[3] == 1 or all(np.array_equal(pixels[..., 0], pixels[..., other]) for other in (1, 2))
    return 1 if grey else 3


def fingerprint(pixels: np.ndarray, labels: np.ndarray | None) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data)
    if labels is not None:
        digest.update(labels.astype(np.int64).data)
    return digest.hexdigest()
