"""Duplicates in a data set: images that are the same as one before them, pixel by pixel, or nearly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..platforms import average_pooled

MAX_COMPARED = 10_000
"""Maximum number of images compared with one another, drawn from a larger set. It takes a second or less."""

LINES = 128
"""Rows and columns of an image that are looked at: of a larger one every second, third and so on."""

THUMBNAIL = 8
"""Side of the thumbnails that are compared first, in pixels."""

ALIKE = 2.0
"""Maximum root mean square difference of the thumbnails of near duplicates, in levels of 255. Measured: emoji that
were enlarged and reduced again differ by 0.4, as JPEG files of 64x64 pixels by 2 (digits by 0.4), and of 5,000 MNIST
digits no two by less than 2.7."""

TEXTURE = 0.5
"""Maximum mean square difference of near duplicates, as a share of the sum of both variances within the parts that a
thumbnail averages: 1 for two cut-outs of one texture, whose thumbnails are alike, and 0 for copies."""

AT_ONCE = 256
"""Images that are read, or compared with all others, at a time."""


@dataclass(frozen=True)
class Duplicates:
    """Number of duplicates among some images. Of equal images all but the first are counted."""

    looked_at: int
    """Images that were compared with one another."""
    exact: int
    """Equal to one before them, pixel by pixel."""
    near: int
    """Nearly equal to one before them: saved again, or resized in between."""

    @property
    def count(self) -> int:
        return self.exact + self.near

    def __str__(self) -> str:
        kinds = {"exact": self.exact, "near": self.near}
        found = " and ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
        return f"{found or 'none'} among {self.looked_at:,} images"


def find_duplicates(images: np.ndarray) -> Duplicates:
    """Finds duplicates among images, uint8 [N, H, W, C]: among all, or MAX_COMPARED that are always the same."""
    chosen = np.sort(np.random.RandomState(0).permutation(len(images))[:MAX_COMPARED])
    first: dict[bytes, int] = {}  # where each different image is
    thumbnails: list[Tensor] = []
    for part in _parts(len(chosen)):
        pixels = _pixels(images, chosen[part])
        new = []
        for place, one in zip(chosen[part], pixels, strict=True):
            digest = hashlib.sha256(one.tobytes()).digest()
            if digest not in first:
                first[digest] = int(place)
                new.append(one)
        if new:
            thumbnails.append(_thumbnails(_tensor(np.stack(new))))
    nearest = nearest_before(torch.cat(thumbnails))
    near = _alike_in_detail(images, np.array([*first.values()]), nearest)
    return Duplicates(len(chosen), len(chosen) - len(first), near)


def nearest_before(points: Tensor) -> Tensor:
    """For each point the nearest of those before it, int64 [N]; -1 where all are further than ALIKE.

    points: [N, D], in levels of 255.
    """
    # Squares of distances as differences of large numbers lose digits: less so around the middle of all.
    points = points.float() - points.float().mean(dim=0)
    reach = ALIKE * points.shape[1] ** 0.5
    # Near points are near in every direction, so that few need be compared: most of all where points vary the most.
    along = points @ torch.linalg.eigh(points.T @ points).eigenvectors[:, -1]
    order = along.argsort()
    points, along = points[order], along[order]
    lengths = points.square().sum(dim=1)
    found = torch.full((len(points),), -1)
    for part in _parts(len(points)):
        start, stop = torch.searchsorted(along, torch.stack([along[part][0] - reach, along[part][-1] + reach])).tolist()
        window = slice(start, stop)
        squares = lengths[part, None] + lengths[None, window] - 2 * points[part] @ points[window].T
        squares[order[None, window] >= order[part, None]] = torch.inf
        least, place = squares.min(dim=1)
        found[order[part]] = torch.where(least < reach**2, order[window][place], -1)
    return found


def _alike_in_detail(images: np.ndarray, places: np.ndarray, nearest: Tensor) -> int:
    """How many images are like the one that has the nearest thumbnail, not in the thumbnail alone.

    places: of the images that were compared. nearest: of each, as `nearest_before` has it.
    """
    pairs = torch.stack([torch.arange(len(nearest)), nearest])[:, nearest >= 0]
    found = 0
    for part in _parts(pairs.shape[1]):
        one, other = (_tensor(_pixels(images, places[indices[part].numpy()])) for indices in pairs)
        variance = _variance_in_parts(one) + _variance_in_parts(other)
        squares = (one - other).square().flatten(1).mean(dim=1)
        found += int((squares <= (TEXTURE * variance).clamp(min=ALIKE**2)).sum())
    return found


def _variance_in_parts(images: Tensor) -> Tensor:
    """Mean variance, [N], within the parts of images [N, C, H, W] that a thumbnail averages."""
    squares = images.square().flatten(1).mean(dim=1)
    return (squares - _thumbnails(images).square().mean(dim=1)).clamp(min=0)


def _pixels(images: np.ndarray, places: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, C]: of large images some lines, which may be read without the others."""
    step = max(1, min(images.shape[1:3]) // LINES)
    if step == 1:
        return images[places]
    return np.stack([images[place, ::step, ::step] for place in places])


def _tensor(pixels: np.ndarray) -> Tensor:
    """uint8 [n, h, w, C] as float32 [n, C, h, w]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def _thumbnails(images: Tensor) -> Tensor:
    """Mean colours of 8x8 parts of images [N, C, H, W], as [N, C * 8 * 8]."""
    return average_pooled(images, THUMBNAIL).flatten(1)


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, AT_ONCE):
        yield slice(start, min(start + AT_ONCE, count))
