"""Augmentation of what the discriminator sees, real and generated images alike, so that it cannot memorise a small data
set. It is differentiable: the generator learns through it, and it does not leak into the samples.

Every function takes images [N, C, H, W] in [-1, 1] with 1 grey, 3 RGB or 4 RGBA channels, and returns images of that
shape and type, whose values may leave that range. Colours change alike over an image and never in its alpha channel;
geometry changes all channels. Every operation can be differentiated twice, as gradient penalties need. Each image has
random numbers of its own from the numpy stream that is passed in, always as many, whatever is done with them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ..platforms import full_precision, known

AUGMENTS = ("none", "diffaugment", "ada")
"""Choices of augmentation."""

TRANSLATION, CUTOUT = 1 / 8, 1 / 2
"""In heights and widths of the image: maximum translation by whole pixels, and the cutout of DiffAugment."""

TARGET = 0.6
"""Target of r_t for ADA (Karras et al. 2020, sec. 3)."""

INTERVAL = 4
"""Batches between two changes of ADA's p."""

RAMP_IMAGES = 500_000
"""Images in which p can go from 0 to 1."""

MAX_P = 0.8
"""Maximum of p: up to this, augmentations are unlikely to leak into the samples (Karras et al. 2020, sec. 2.2)."""


def diffaugment(images: Tensor, random: np.random.Generator) -> Tensor:
    """DiffAugment (Zhao et al. 2020): colour, translation and cutout, each of them for every image.

    Brightness by -0.5 to 0.5 in values of [-1, 1], saturation times 0 to 2, contrast times 0.5 to 1.5; moved by up to
    an eighth of a side; half the height and half the width cut out, somewhere. What comes in from outside or is cut out
    is 0.
    """
    channels, height, width = images.shape[1:]
    draws = random.random((7, len(images)))
    with full_precision(images.device):
        colours, rest = _colours(images)
        brightness, saturation, contrast = draws[0] - 0.5, 2 * draws[1], 0.5 + draws[2]
        # Saturation leaves the mean over all channels and places as it is, about which contrast is changed.
        mean = colours.mean(dim=(1, 2, 3)) + _like(brightness, images)
        one, grey = np.eye(colours.shape[1]), np.full((colours.shape[1],) * 2, 1 / colours.shape[1])
        mixed = _like(_times(contrast, grey + _times(saturation, one - grey)), images)
        added = _like(contrast * brightness, images) + mean * _like(1 - contrast, images)
        colours = torch.baddbmm(added[:, None, None], mixed, colours.flatten(2)).view_as(colours)

        rows, inside_rows = _sources(draws[3], height)
        columns, inside_columns = _sources(draws[4], width)
        kept = inside_rows[:, :, None] & inside_columns[:, None, :]
        kept &= ~(_cut(draws[5], height)[:, :, None] & _cut(draws[6], width)[:, None, :])
        places = (rows[:, :, None] * width + columns[:, None, :]).reshape(len(images), 1, height * width)
        whole = torch.cat([colours, rest], dim=1).flatten(2)
        moved = whole.gather(2, _like(places, images).expand(-1, channels, -1)).view_as(images)
        return moved * _like(kept, images)[:, None]


def ada(images: Tensor, p: float, random: np.random.Generator) -> Tensor:
    """ADA (Karras et al. 2020, appendix B): each augmentation is applied to each image with probability p.

    Pixel blitting: horizontal flip, rotation by 90 degrees (by 180 for non-square images, which would not fit
    otherwise), translation by whole pixels (up to an eighth of a side). Geometry: isotropic scaling, rotation by any
    angle, anisotropic scaling, translation. Colour: brightness, contrast, luma flip, hue and saturation. At p = 0 the
    images themselves are returned, and at any p those with no augmentation are unchanged, bit for bit. Pixels from
    outside are mirrored at the edge; pixels are resampled once, bilinearly.

    p: from 0 to 1.
    """
    moves, shades = _moves(random, len(images), (images.shape[2], images.shape[3]), p), _shades(random, len(images), p)
    moved, shaded = ((matrices != np.eye(len(matrices[0]))).any(axis=(1, 2)) for matrices in (moves, shades))
    with full_precision(images.device):
        if moved.any():
            before = known(images)
            grid = _places(_like(moves[:, :2], before), images.shape[2], images.shape[3])
            turned = _Resampled.apply(before, grid)
            still = torch.from_numpy(np.flatnonzero(~moved)).to(before.device)  # few, at any p that matters
            images = turned.index_copy_(0, still, before.index_select(0, still)).to(images.device)
        if shaded.any():
            colours, rest = _colours(images)
            # Of grey images the three colours are one, and stay one. A matrix that changes nothing is exact.
            matrices = _like(shades, images)[:, : colours.shape[1]]
            changed = torch.baddbmm(matrices[:, :, 3:], matrices[:, :, :3], colours.expand(-1, 3, -1, -1).flatten(2))
            images = changed.view_as(colours)
            if rest.shape[1]:
                images = torch.cat([images, rest], dim=1)
        return images


@dataclass
class Adaptive:
    """ADA's p, which follows the overfitting of the discriminator (Karras et al. 2020, sec. 3)."""

    p: float = 0.0
    """0 to MAX_P."""
    signs: list[Tensor | float] = field(default_factory=list)
    """r_t of each batch since p was last changed. They stay on their device till then, as a GPU waits for a reading."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Adaptive:
        """The inverse of `state`. Raises KeyError, TypeError or ValueError for anything else."""
        p, signs = float(state["p"]), [float(sign) for sign in state["signs"]]
        if not 0 <= p <= MAX_P or len(signs) >= INTERVAL:
            raise ValueError
        return cls(p, [*signs])

    @property
    def state(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {"p": self.p, "signs": [float(sign) for sign in self.signs]}

    def observe(self, sign: Tensor, batch_size: int) -> None:
        """Takes note of one batch, and changes p after every INTERVAL of them.

        sign: r_t, the mean sign of the batch's real logits, -1 to 1, a scalar.
        """
        self.signs.append(sign)
        if len(self.signs) == INTERVAL:
            direction = float(np.sign(sum(float(sign) for sign in self.signs) / INTERVAL - TARGET))
            self.p = min(MAX_P, max(0.0, self.p + direction * INTERVAL * batch_size / RAMP_IMAGES))
            self.signs.clear()


def _sources(draws: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """For each image where each row comes from, [N, side], and whether that lies within the image."""
    most = round(side * TRANSLATION)
    sources = np.arange(side) + (np.floor(draws * (2 * most + 1)) - most).astype(np.int64)[:, None]
    return sources.clip(0, side - 1), (sources >= 0) & (sources < side)


def _cut(draws: np.ndarray, side: int) -> np.ndarray:
    """For each image which rows are cut out, [N, side]: those around a centre that lies anywhere in it."""
    size = round(side * CUTOUT)
    first = np.floor(draws * (side + 1 - size % 2)).astype(np.int64)[:, None] - size // 2
    return (np.arange(side) >= first) & (np.arange(side) < first + size)


def _moves(random: np.random.Generator, count: int, shape: tuple[int, int], p: float) -> np.ndarray:
    """Where in an image each of its new pixels comes from: [N, 3, 3], with the image's edges at -1 and 1.

    shape: height and width, in pixels.
    """
    height, width = shape
    sides, aspect = np.array([[width], [height]]), width / height
    turns = 4 if height == width else 2
    chances, uniform, normal = random.random((8, count)), random.random((6, count)), random.standard_normal((4, count))
    # Two rotations by any angle, before and after anisotropic scaling; with probability p at least one is applied.
    turned = 1 - math.sqrt(1 - p)
    pixels = np.round((2 * uniform[2:4] - 1) * TRANSLATION * sides)
    size, stretch = 2 ** (0.2 * normal[0]), 2 ** (0.2 * normal[1])
    changes = [
        (p, _scaled(1 - 2 * np.floor(2 * uniform[0]), 1)),
        (p, _turned(2 * np.pi / turns * np.floor(turns * uniform[1]), aspect)),
        (p, _shifted(pixels * 2 / sides)),
        (p, _scaled(size, size)),
        (turned, _turned(np.pi * (2 * uniform[4] - 1), aspect)),
        (p, _scaled(stretch, 1 / stretch)),
        (turned, _turned(np.pi * (2 * uniform[5] - 1), aspect)),
        (p, _shifted(2 * TRANSLATION * normal[2:4])),
    ]
    # The way back from a new pixel undoes the last change first; all are as likely as what undoes them.
    return _product([_chosen(draws < chance, change) for draws, (chance, change) in zip(chances, changes, strict=True)])


def _places(moves: Tensor, height: int, width: int) -> Tensor:
    """Where each new pixel comes from, across and down: [N, H, W, 2], as affine_grid has it, in a sixth of the time.

    moves: [N, 2, 3], of the middles of pixels, which are 2 / width and 2 / height apart.
    """
    down, across = (
        torch.arange(1 - side, side, 2, dtype=moves.dtype, device=moves.device) / side for side in (height, width)
    )
    by_column = moves[:, None, None, :, 0] * across[:, None]
    by_row = moves[:, None, None, :, 1] * down[:, None, None] + moves[:, None, None, :, 2]
    return by_column + by_row


class _Resampled(torch.autograd.Function):
    """Images [N, C, H, W] as they are at other places [N, H, W, 2]: torch's grid_sample, whose gradient not every
    version of torch can differentiate. But it is linear, and so is its gradient, of which the gradient is this again.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(images, places)
        return grid_sample(images, places, padding_mode="reflection", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        images, places = ctx.saved_tensors
        return _ResampledBack.apply(gradient, images.detach(), places), None


class _ResampledBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, images: Tensor, places: Tensor) -> Tensor:
        """images: of which no more than the form is looked at."""
        ctx.save_for_backward(places)
        bilinear, reflection = 0, 2
        at = gradient, images, places, bilinear, reflection, False
        return torch.ops.aten.grid_sampler_2d_backward(*at, (True, False))[0]

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> Any:
        (places,) = ctx.saved_tensors
        return _Resampled.apply(change, places), None, None


def _shades(random: np.random.Generator, count: int, p: float) -> np.ndarray:
    """What the colours of each image, and a 1, are multiplied with: [N, 4, 4]."""
    chances, uniform, normal = random.random((5, count)), random.random((2, count)), random.standard_normal((3, count))
    angle = np.pi * (2 * uniform[1] - 1)
    shift = np.zeros((count, 4, 4))
    shift[:, :3, 3] = 0.2 * normal[0, :, None]
    changes = [
        np.eye(4) + shift,
        _times(2 ** (0.5 * normal[1]), _GREY + _HUE) + _ONE,
        _times(1 - 2 * np.floor(2 * uniform[0]), _GREY) + _HUE + _ONE,
        _GREY + _times(np.cos(angle), _HUE) + _times(np.sin(angle), _QUARTER) + _ONE,
        _GREY + _times(2 ** normal[2], _HUE) + _ONE,
    ]
    chosen = [_chosen(draws < p, change) for draws, change in zip(chances, changes, strict=True)]
    return _product(chosen[::-1])


_GREY = np.pad(np.full((3, 3), 1 / 3), (0, 1))
"""Of a colour, its grey."""
_HUE = np.diag([1.0, 1.0, 1.0, 0.0]) - _GREY
"""The rest of it."""
_QUARTER = np.pad(np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3), (0, 1))
"""The rest of it, a quarter of a turn around the axis of greys."""
_ONE = np.diag([0.0, 0.0, 0.0, 1.0])


def _scaled(across: np.ndarray, down: np.ndarray | float) -> np.ndarray:
    return _times(across, np.diag([1.0, 0.0, 0.0])) + _times(down, np.diag([0.0, 1.0, 0.0])) + np.diag([0.0, 0.0, 1.0])


def _turned(angle: np.ndarray, aspect: float) -> np.ndarray:
    """aspect: width / height. A horizontal 1 is `aspect` times as many pixels as a vertical 1."""
    matrices = _scaled(np.cos(angle), np.cos(angle))
    matrices[:, 0, 1], matrices[:, 1, 0] = -np.sin(angle) / aspect, np.sin(angle) * aspect
    return matrices


def _shifted(by: np.ndarray) -> np.ndarray:
    """by: [2, N], across and down."""
    matrices = np.broadcast_to(np.eye(3), (by.shape[1], 3, 3)).copy()
    matrices[:, :2, 2] = by.T
    return matrices


def _times(factors: np.ndarray | float, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(factors)[..., None, None] * matrix


def _chosen(chosen: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The change, or none: [N, k, k]."""
    return np.where(chosen[:, None, None], change, np.eye(change.shape[-1]))


def _product(matrices: list[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.matmul, matrices)


def _colours(images: Tensor) -> tuple[Tensor, Tensor]:
    """The grey or RGB channels, and the alpha channel, if there is one."""
    count = 1 if images.shape[1] < 3 else 3
    return images[:, :count], images[:, count:]


def _like(values: np.ndarray, images: Tensor) -> Tensor:
    """An array on the images' device; floats as they are there."""
    tensor = torch.from_numpy(values)
    return tensor.to(images.device, images.dtype if tensor.is_floating_point() else None)
