"""A folder of images, or a batch of them, as the 8-bit rectangles of one size that training draws its batches from.

Files are decoded once, into a cache on disk that is then mapped into memory: a batch is a slice, a set of any size
costs no memory of its own, and the second start is immediate.
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
"""Choices of channels and what they stand for; 0 is decided by the images."""

CACHE_VERSION = 2
"""Raised whenever the same file would be decoded to other pixels, or labelled otherwise."""

BUILDS = 3
"""How often a folder is read that changes meanwhile, before a person is told so."""

DECODED_TOGETHER = 64
"""Images in flight at once: enough to keep every core busy, few enough to need little memory."""


Result = TypeVar("Result")


@dataclass(frozen=True, repr=False, eq=False)
class ImageDataset:
    """Images of one size, in 8 bits, perhaps with a class label for each."""

    images: np.ndarray
    """uint8 [N, H, W, C], often a read-only map of a file."""
    name: str
    """What people call it; no path."""
    fingerprint: str
    """SHA-256 of the pixels and labels, as hex."""
    labels: np.ndarray | None = None
    """int64 [N], or None."""
    class_names: tuple[str, ...] = ()
    """The name of label 0, 1, ..."""
    mirror: bool = False
    """Whether training may show an image left-right reversed."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Files that could not be used, and why."""
    remarks: tuple[str, ...] = ()
    """What a person should know of how the images were read, a sentence each: classes, what was passed over."""

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"ImageDataset({self.summary})"

    @property
    def summary(self) -> str:
        """One line for people."""
        text = f"{self.name}: {len(self):,} images {self.width}x{self.height}x{self.channels}"
        text += f", {self.classes} classes" if self.classes else ""
        text += f", {len(self.skipped)} files skipped" if self.skipped else ""
        return text

    @property
    def side(self) -> int:
        """Their height, in pixels."""
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
        """Number of class labels; 0 for a set without."""
        return len(self.class_names) if self.labels is not None else 0

    def batch(self, indices: np.ndarray, mirrored: np.ndarray | None = None) -> Tensor:
        """The images at these indices, as uint8 [B, C, H, W] in channels-last memory.

        mirrored: bool [B], which of them to reverse left-right.
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
        """Makes a data set of pictures in memory.

        images: [N, H, W, C] with C = 1, 3 or 4: uint8, or floats in [0, 1].
        size: side of the squares, or height and width; None makes squares as high as the images are.
        channels, fit: as in from_folder; "auto" is grey where every picture is.

        Raises InputError for anything else.
        """
        if isinstance(images, Tensor):
            images = (images.float() if images.is_floating_point() else images).detach().cpu().numpy()
        pixels = np.asarray(images)
        if pixels.ndim != 4 or pixels.shape[3] not in (1, 3, 4) or not len(pixels):
            raise InputError(f"A data set needs images of shape [N, H, W, 1, 3 or 4], not {list(pixels.shape)}.")
        if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
            raise InputError(f"A data set needs images of uint8, or floats from 0 to 1, not of {pixels.dtype}.")
        if pixels.dtype != np.uint8:
            pixels = (np.nan_to_num(pixels.astype(np.float32)).clip(0, 1) * 255).round().astype(np.uint8)
        height, width = _height_and_width(size or pixels.shape[1])
        _check(height, width, channels, fit)
        count = CHANNELS[channels] or _channels_of_pixels(pixels)
        if pixels.shape[1:] != (height, width, count):
            # Pillow knows an image with one channel by its lack of a third axis.
            pictures = pixels[..., 0] if pixels.shape[3] == 1 else pixels
            fitted = [image_files.fitted(Image.fromarray(one), (height, width), count, fit) for one in pictures]
            pixels = np.stack(fitted)
        elif count == 4:
            # What cannot be seen is black, as in images that are read or resized, and not something to be learned.
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
        """Reads every image in a folder and the folders within it, or in a ZIP archive.

        size: side of the squares, or height and width, in pixels.
        channels: "grey", "RGB", "RGBA", or "auto": RGBA where an image is transparent somewhere, grey where all are.
        Of RGBA what cannot be seen is black, whatever colour the file hides there.
        fit: "crop" to the middle, "pad" with white (with nothing, for RGBA), or "stretch".
        labels: whether the images have classes: those of StyleGAN's dataset.json, else the sub-folders.
        cache: where decoded images are kept; the default is the folder of that name in the home directory's cache.

        Files that cannot be read are left out and named in `skipped`; `remarks` say what else was.
        Raises InputError where the folder is missing or has no usable image, and where it is not sure what its classes
        are.
        """
        *_, last = reading(folder, size, channels, fit, mirror, labels, cache)
        assert last.dataset is not None
        return last.dataset


@dataclass(frozen=True)
class Reading:
    """How far the reading of a folder has come."""

    done: int
    total: int
    dataset: ImageDataset | None = None
    """Set in the last value."""


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
    """Does what ImageDataset.from_folder does, step by step, so that the caller can show progress or stop.

    exclude: folders in it whose content is never data, such as that of the run that is to learn from it.
    """
    folder = Path(folder)
    height, width = _height_and_width(size)
    _check(height, width, channels, fit)
    # A square has the entry that it has always had.
    settings: list[object] = [height if height == width else [height, width], channels, fit, labels]
    for _ in range(BUILDS):
        with closing(Listing.of(folder, exclude)) as listing:
            classes = classes_of(listing) if labels else None
            entry = _cache_entry(cache or default_cache(), listing, settings)
            dataset = _open_cached(entry, listing.name)
            if dataset is None:
                whole = yield from _cached(listing, classes, entry, (height, width), channels, fit)
                # Another process, to which the folder looked different, may have removed it just now.
                dataset = _open_cached(entry, listing.name) if whole else None
            if dataset is not None:
                remarks = [*(classes.remarks if classes else ()), *listing.remarks, *listing.passed_over_in_words()]
                dataset = replace(dataset, mirror=mirror, remarks=(*dataset.remarks, *map(sentence, remarks)))
                yield Reading(len(listing.files), len(listing.files), dataset)
                return
    raise InputError(f"The images in {folder} change while they are read: wait until all of them are there.")


def fingerprint_of_folder(folder: str | Path, exclude: Collection[Path] = ()) -> str:
    """A hash of the names, sizes and times of the images in a folder: it changes when a file is added or altered."""
    return state_of(Path(folder), exclude)


def default_cache() -> Path:
    """Where decoded images are kept, unless GAN_CORE_CACHE says otherwise."""
    return Path(os.environ.get("GAN_CORE_CACHE") or Path.home() / ".cache" / "gan_core")


def _height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _check(height: int, width: int, channels: str, fit: str) -> None:
    bad = next((side for side in (height, width) if not 8 <= side <= 4096), None)
    if bad is not None:
        raise InputError(f"Images can be 8 to 4096 pixels high and wide, not {bad}.")
    if channels not in CHANNELS:
        raise InputError(f'Channels are {", ".join(CHANNELS)}; "{channels}" is none of them.')
    if fit not in image_files.FITS:
        raise InputError(f'Images are brought to their size by {", ".join(image_files.FITS)}; "{fit}" is none of them.')


def _cached(
    listing: Listing, classes: Classes | None, entry: Path, size: tuple[int, int], channels: str, fit: str
) -> Generator[Reading, None, bool]:
    """Decodes the images into a cache entry. Returns False, and keeps nothing, where they changed meanwhile."""
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
    """What numbers the files hold that have 32 bits in a pixel: which of them is white is a question to all."""
    files = [file for file in listing.files if image_files.may_hold_any_numbers(file)]
    ranges: list[tuple[str, float, float] | None] = []
    with _pool() as pool:
        for group in _groups(files):
            ranges += pool.map(lambda file: _tried(image_files.range_of_numbers, listing, file), group)
            yield Reading(0, len(listing.files))
    return image_files.survey(ranges)


def _channels_of_some(listing: Listing) -> int:
    """A first guess at the channels. Decoding the others tells whether it was right."""
    some = listing.files[:: max(1, len(listing.files) // image_files.PROBED)]
    return max((_tried(image_files.own_channels, listing, file) or 1 for file in some), default=1)


def _tried(function: Callable[[image_files.Source, str], Result], listing: Listing, file: str) -> Result | None:
    """What a function says of a file; None for one that cannot be read."""
    try:
        return function(listing.source(file), file)
    except Exception:  # noqa: BLE001 - decoding it will meet the same damage, and name it
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
    """Writes images.u8 (the pixels, one image after another) and index.json (what they are).

    Returns `channels`; where these are chosen automatically and are not as many as the images need, that number
    instead: then nothing whole was written.
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
        os.fsync(pixels.fileno())  # before the index says that it is whole
    if not kept:
        file, reason = next(iter(skipped.items()))
        raise InputError(f"None of the {len(files)} images in {listing.root} can be read; {file}, for one: {reason}.")
    if automatic and needed != channels:  # of those looked at first, some turned out to be damaged
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
    """Where these files under these settings are cached: the name's first half says whose it is, its second, in
    which state."""
    # The 1 is no version but part of the name: an entry that was decoded otherwise is replaced, and not left behind.
    owner = hashlib.sha256(json.dumps([1, str(listing.root.resolve()), *settings]).encode()).hexdigest()[:16]
    return cache / f"{owner}-{listing.state[:16]}"


def _publish(partial: Path, entry: Path) -> None:
    """Gives a finished cache its name, and drops what older states of the same folder left behind."""
    owner = entry.name.split("-")[0]
    for stale in entry.parent.glob(f"{owner}-*"):
        _drop(stale)
    # Where it is taken, another process was faster, with the same pixels; or what is there is damaged, and in use.
    place = entry if not entry.exists() else entry.with_name(f"{entry.name}-{uuid.uuid4().hex[:8]}")
    try:
        if _open_cached(entry, "") is None:
            patiently(lambda: os.rename(partial, place))
    except OSError:
        if _open_cached(entry, "") is None:
            raise


def _drop(entry: Path) -> None:
    """Removes a cache entry, unless its images are in use: Windows removes no file that is mapped. It then stays
    whole, and whoever comes by later tries again."""
    try:
        (entry / "images.u8").unlink(missing_ok=True)
    except OSError:
        return
    remove(entry)


def _open_cached(entry: Path, name: str) -> ImageDataset | None:
    """The data set in a cache entry; None where it is missing or not whole."""
    # One that is damaged and in use at once cannot be replaced: the whole one stands beside it.
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
