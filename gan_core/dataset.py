"""A folder of images, or a batch of them, as the 8-bit rectangles of one size that training draws its batches from.

Files are decoded once, into a cache on disk that is then mapped into memory: a batch is a slice, a set of any size
costs no memory of its own, and the second start is immediate.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import image_files
from .errors import InputError

CHANNELS = {"auto": 0, "grey": 1, "RGB": 3, "RGBA": 4}
"""Choices of channels and what they stand for; 0 is decided by the images."""

CACHE_VERSION = 1
"""Raised whenever the same file would be decoded to other pixels."""

DECODED_TOGETHER = 64
"""Images in flight at once: enough to keep every core busy, few enough to need little memory."""


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
        """Reads every image in a folder and the folders within it.

        size: side of the squares, or height and width, in pixels.
        channels: "grey", "RGB", "RGBA", or "auto": RGBA where images are see-through, grey where all are grey. Of RGBA
        what cannot be seen is black, whatever colour the file hides there.
        fit: "crop" to the middle, "pad" with white (with nothing, for RGBA), or "stretch".
        labels: whether the folder's sub-folders are classes.
        cache: where decoded images are kept; the default is the folder of that name in the home directory's cache.

        Files that cannot be read are left out and named in `skipped`.
        Raises InputError where the folder is missing or has no usable image.
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
) -> Iterator[Reading]:
    """Does what ImageDataset.from_folder does, step by step, so that the caller can show progress or stop."""
    folder = Path(folder)
    height, width = _height_and_width(size)
    _check(height, width, channels, fit)
    files = _files_in(folder)
    classes = _classes(folder, files) if labels else ()
    name = folder.resolve().name

    # A square has the entry that it has always had.
    settings: list[object] = [height if height == width else [height, width], channels, fit, labels]
    entry = _cache_entry(cache or default_cache(), folder, files, settings)
    dataset = _open_cached(entry, name)
    if dataset is None:
        count = CHANNELS[channels] or image_files.channels_of_files([folder / file for file in files])
        partial = entry.with_name(f".{entry.name}.{uuid.uuid4().hex[:8]}.partial")
        try:
            partial.mkdir(parents=True)
            yield from _decode(folder, files, classes, partial, (height, width), count, fit)
            _publish(partial, entry)
        except OSError as error:
            raise InputError(f"The images cannot be cached in {entry.parent}: {error.strerror or error}.") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        dataset = _open_cached(entry, name)
        assert dataset is not None
    yield Reading(len(files), len(files), replace(dataset, mirror=mirror))


def fingerprint_of_folder(folder: str | Path) -> str:
    """A hash of the names, sizes and times of the images in a folder: it changes when a file is added or altered."""
    folder = Path(folder)
    return _listing_hash(folder, _files_in(folder))


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


def _files_in(folder: Path) -> list[str]:
    """The images in a folder, as sorted paths relative to it with forward slashes."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        where = Path(parent).relative_to(folder)
        files += [
            (where / name).as_posix()
            for name in names
            if os.path.splitext(name)[1].lower() in image_files.SUFFIXES and not name.startswith(".")
        ]
    if not files:
        raise InputError(f"There are no images in {folder}: put PNG, JPEG or WebP files there.")
    return sorted(files)


def _classes(folder: Path, files: Sequence[str]) -> tuple[str, ...]:
    loose = [file for file in files if "/" not in file]
    if loose:
        raise InputError(
            f"With labels from sub-folders every image lies in one, but {len(loose)} lie in {folder.name} itself "
            f"({loose[0]}): move them, or turn labels off."
        )
    return tuple(sorted({file.split("/", 1)[0] for file in files}))


def _decode(
    folder: Path,
    files: Sequence[str],
    classes: Sequence[str],
    into: Path,
    size: tuple[int, int],
    channels: int,
    fit: str,
) -> Iterator[Reading]:
    """Writes images.u8 (the pixels, one image after another) and index.json (what they are)."""
    labels: list[int] = []
    skipped: dict[str, str] = {}
    digest = hashlib.sha256()

    def read(file: str) -> np.ndarray | str:
        try:
            return image_files.read(folder / file, size, channels, fit)
        except Exception as error:  # noqa: BLE001 - Pillow raises almost anything for a damaged file
            return str(error) or type(error).__name__

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, (into / "images.u8").open("wb") as pixels:
        for start in range(0, len(files), DECODED_TOGETHER):
            group = files[start : start + DECODED_TOGETHER]
            for file, image in zip(group, pool.map(read, group), strict=True):
                if isinstance(image, str):
                    skipped[file] = image.replace(str(folder), folder.name)
                    continue
                pixels.write(image.tobytes())
                digest.update(image.tobytes())
                if classes:
                    labels.append(classes.index(file.split("/", 1)[0]))
            yield Reading(start + len(group), len(files))
    count = len(files) - len(skipped)
    if not count:
        file, reason = next(iter(skipped.items()))
        raise InputError(f"None of the {len(files)} images in {folder} can be read; {file}, for one: {reason}.")
    if classes:
        digest.update(np.asarray(labels, np.int64).tobytes())
    index = {
        "shape": [count, *size, channels],
        "labels": labels if classes else None,
        "class_names": list(classes),
        "skipped": skipped,
        "fingerprint": digest.hexdigest(),
    }
    (into / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _cache_entry(cache: Path, folder: Path, files: Sequence[str], settings: list[object]) -> Path:
    """Where these files under these settings are cached: the name's first half says whose it is, its second, in
    which state."""
    owner = hashlib.sha256(json.dumps([CACHE_VERSION, str(folder.resolve()), *settings]).encode()).hexdigest()[:16]
    return cache / f"{owner}-{_listing_hash(folder, files)[:16]}"


def _listing_hash(folder: Path, files: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            status = (folder / file).stat()
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:  # a link to nowhere, which reading it will report
            state = "missing"
        digest.update(f"{file}\0{state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _publish(partial: Path, entry: Path) -> None:
    """Gives a finished cache its name, and drops what older states of the same folder left behind."""
    owner = entry.name.split("-")[0]
    for stale in entry.parent.glob(f"{owner}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        partial.rename(entry)
    except OSError:
        if not entry.is_dir():  # otherwise another process was faster, with the same pixels
            raise


def _open_cached(entry: Path, name: str) -> ImageDataset | None:
    """The data set in a cache entry; None where it is missing or not whole."""
    try:
        index = json.loads((entry / "index.json").read_text(encoding="utf-8"))
        images = np.memmap(entry / "images.u8", np.uint8, mode="r", shape=tuple(index["shape"]))
        labels = None if index["labels"] is None else np.asarray(index["labels"], np.int64)
        return ImageDataset(
            images, name, index["fingerprint"], labels, tuple(index["class_names"]), skipped=index["skipped"]
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
