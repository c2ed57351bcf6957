"""Cache of decoded images: an entry holds the pixels of a data set, which are mapped into memory, and their index."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import sentence
from ..files import patiently, remove
from .listing import Listing

CACHE_VERSION = 2
"""Version of the cache, increased whenever the same file would give other pixels or labels."""

PIXELS = "images.u8"
INDEX = "index.json"
"""Files of an entry: the pixels of all images, and their description."""


@dataclass(frozen=True)
class CachedImages:
    """Content of a cache entry."""

    images: np.ndarray
    """uint8 [N, H, W, C], a read-only memory map of a file."""
    labels: np.ndarray | None
    """Class labels, int64 [N], or None."""
    class_names: tuple[str, ...]
    """Name of each class, label 0 first."""
    fingerprint: str
    """SHA-256 of the pixels and labels, as hex."""
    skipped: Mapping[str, str]
    """Files that cannot be read, with the reasons."""
    remarks: tuple[str, ...]
    """Sentences on how the images were decoded."""
    advice: tuple[str, ...]
    """Sentences on images that suit the settings badly, and what to do."""


def default_cache() -> Path:
    """Folder for decoded images: that of the variable GAN_CORE_CACHE, else .cache/gan_core in the home folder."""
    return Path(os.environ.get("GAN_CORE_CACHE") or Path.home() / ".cache" / "gan_core")


def cache_entry(cache: Path, listing: Listing, settings: list[object]) -> Path:
    """Cache entry of these files with these settings: its name has a hash of folder and settings, and one of the
    state of the files."""
    # The 1 is part of the name, not a version: an entry of an older version is replaced, not left behind.
    owner = hashlib.sha256(json.dumps([1, str(listing.root.resolve()), *settings]).encode()).hexdigest()[:16]
    return cache / f"{owner}-{listing.state[:16]}"


def open_cached(entry: Path) -> CachedImages | None:
    """Content of a cache entry; None if it is missing or incomplete."""
    # A damaged entry in use cannot be replaced: the complete one stands beside it.
    places = [entry, *entry.parent.glob(f"{entry.name}-*")]
    return next(filter(None, (_opened(place) for place in places)), None)


def write_index(
    folder: Path,
    shape: Sequence[int],
    labels: Sequence[int] | None,
    class_names: Sequence[str],
    fingerprint: str,
    skipped: Mapping[str, str],
    remarks: Sequence[str],
    advice: Sequence[str] = (),
) -> None:
    """Describes the pixels in a folder that is to become an entry. shape: [N, H, W, C]. The rest as in CachedImages."""
    index = {
        "version": CACHE_VERSION,
        "shape": list(shape),
        "labels": labels,
        "class_names": list(class_names),
        "skipped": skipped,
        "remarks": list(map(sentence, remarks)),
        "advice": list(advice),
        "fingerprint": fingerprint,
    }
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


def publish(partial: Path, entry: Path) -> None:
    """Renames a finished cache to its entry, and removes the entries of older states of the same folder."""
    owner = entry.name.split("-")[0]
    for stale in entry.parent.glob(f"{owner}-*"):
        _drop(stale)
    # An existing entry comes from a faster process, with the same pixels, or is damaged and in use.
    place = entry if not entry.exists() else entry.with_name(f"{entry.name}-{uuid.uuid4().hex[:8]}")
    try:
        if open_cached(entry) is None:
            patiently(lambda: os.rename(partial, place))
    except OSError:
        if open_cached(entry) is None:
            raise


def _drop(entry: Path) -> None:
    """Removes a cache entry, unless its images are in use: Windows does not remove a mapped file.

    The entry then stays complete, and a later call removes it.
    """
    try:
        (entry / PIXELS).unlink(missing_ok=True)
    except OSError:
        return
    remove(entry)


def _opened(entry: Path) -> CachedImages | None:
    try:
        index = json.loads((entry / INDEX).read_text(encoding="utf-8"))
        if index["version"] != CACHE_VERSION:
            return None
        images = np.memmap(entry / PIXELS, np.uint8, mode="r", shape=tuple(index["shape"]))
        labels = None if index["labels"] is None else np.asarray(index["labels"], np.int64)
        return CachedImages(
            images,
            labels,
            tuple(index["class_names"]),
            index["fingerprint"],
            index["skipped"],
            tuple(index["remarks"]),
            tuple(index.get("advice", ())),  # entries from before there was advice have none
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
