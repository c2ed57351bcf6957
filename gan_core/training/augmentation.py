"""Augmentation of what the discriminator sees, real and generated images alike, so that it cannot memorise a small data
set. It is differentiable: the generator learns through it, and it does not leak into the samples.

Images are [N, C, H, W] in [-1, 1] with 1 grey, 3 RGB or 4 RGBA channels; changed ones are of that shape and type, and
their values may leave that range. Colours change alike over an image and never in its alpha channel;
geometry changes all channels. Every operation can be differentiated twice, as gradient penalties need. Each image has
random numbers of its own from a numpy stream, always as many, whatever is done with them. What depends on these alone,
the draws, is made on the host, for all images of a batch; the rest is computed on the device. There it is the same
operators at every call, and no value is read, so that a CUDA graph can have it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ..platforms import all_digits_of_float32, full_precision, home_of_float64, known

AUGMENTS = ("none", "diffaugment", "ada")
"""Choices of augmentation."""

TRANSLATION, CUTOUT = 1 / 8, 1 / 2
"""In heights and widths of the image: maximum translation by whole pixels, and the cutout of DiffAugment."""

READ_FREELY = ("cpu",)
"""Types of devices that are not waited for when a value is read. What does not change is not computed there."""

MOVES, SHADES = 10, 5
"""Numbers by which ADA changes the places and the colours of an image's pixels."""

TARGET = 0.6
"""Target of r_t for ADA (Karras et al. 2020, sec. 3)."""

INTERVAL = 4
"""Batches between two changes of ADA's p."""

RAMP_IMAGES = 500_000
"""Images in which p can go from 0 to 1."""

MAX_P = 0.8
"""Maximum of p: up to this, augmentations are unlikely to leak into the samples (Karras et al. 2020, sec. 2.2)."""


def diffaugment_draws(random: np.random.Generator, count: int, shape: tuple[int, int]) -> np.ndarray:
    """What `diffaugment` does to each image of a batch, float64 [7, N]: brightness, saturation and contrast; the rows
    and columns by which it moves; the middle of the rows and columns that are cut out.

    shape: height and width of the images, in pixels.
    """
    brightness, saturation, contrast, *places = random.random((7, count))
    shifts, middles = [], []
    for side, moved, cut in zip(shape, places[:2], places[2:], strict=True):
        most, odd = round(side * TRANSLATION), round(side * CUTOUT) % 2
        shifts.append(np.floor(moved * (2 * most + 1)) - most)
        # The middle lies anywhere in the image: of an odd number of pixels on one, else between two.
        middles.append(np.floor(cut * (side + 1 - odd)) + (odd - 1) / 2)
    return np.stack([brightness - 0.5, 2 * saturation, 0.5 + contrast, *shifts, *middles])


def diffaugment(images: Tensor, draws: Tensor) -> Tensor:
    """DiffAugment (Zhao et al. 2020): colour, translation and cutout, each of them for every image.

    Brightness by -0.5 to 0.5 in values of [-1, 1], saturation times 0 to 2, contrast times 0.5 to 1.5; moved by up to
    an eighth of a side; half the height and half the width cut out, somewhere. What comes in from outside or is cut out
    is 0.

    draws: those of `diffaugment_draws`, as a tensor on the images' device, or on the CPU.
    """
    channels, height, width = images.shape[1:]
    brightness, saturation, contrast, down, across, row, column = draws.to(images.device, images.dtype)
    with full_precision(images.device):
        colours, rest = _colours(images)
        count = colours.shape[1]
        # Brighter, then more saturated, then of more contrast. Saturation leaves the mean over all channels and places
        # as it is, about which contrast is changed.
        rich = contrast * saturation
        one = torch.eye(count, dtype=images.dtype, device=images.device)
        mixed = torch.addcmul(((contrast - rich) / count)[:, None, None], rich[:, None, None], one)
        added = torch.addcmul(brightness, 1 - contrast, colours.mean(dim=(1, 2, 3)))
        colours = torch.baddbmm(added[:, None, None], mixed, colours.flatten(2)).view_as(colours)

        rows, inside_rows, cut_rows = _lines(down, row, height)
        columns, inside_columns, cut_columns = _lines(across, column, width)
        # Kept is what comes from inside, but for the part of it that is cut out.
        kept = torch.stack([inside_rows, -cut_rows], dim=2) @ torch.stack([inside_columns, cut_columns], dim=1)
        places = (rows[:, :, None] * width + columns[:, None, :]).view(len(images), 1, height * width)
        whole = torch.cat([colours, rest], dim=1).flatten(2)
        moved = whole.gather(2, places.expand(-1, channels, -1)).view_as(images)
        return moved * kept[:, None]


def ada_draws(random: np.random.Generator, count: int, shape: tuple[int, int]) -> np.ndarray:
    """What `ada` may do to each image of a batch, float64 [15, 2, N]: of each change its size, which is 0 where it
    changes nothing, after a number from 0 to 1: it is made where p is above that.

    The changes, in the units of `_moves` and `_shades`: mirroring, three rotations, two scalings, two translations;
    brightness, contrast, inversion, hue, saturation.

    shape: height and width of the images, in pixels.
    """
    height, width = shape
    turns = 4 if height == width else 2
    least, uniform, normal = random.random((8, count)), random.random((6, count)), random.standard_normal((4, count))
    # Two rotations by any angle, before and after anisotropic scaling, are made with probability 1 - sqrt(1 - p): at
    # least one of them with probability p.
    least[[4, 6]] *= 2 - least[[4, 6]]
    most = TRANSLATION * np.array([[width], [height]])
    (x, y), (x_of_parts, y_of_parts) = (
        2 / height * pixels for pixels in (np.round((2 * uniform[2:4] - 1) * most), normal[2:4] * most)
    )
    moves = [
        (least[0], -2 * np.floor(2 * uniform[0])),
        (least[1], 2 * np.pi / turns * np.floor(turns * uniform[1])),
        (least[4], np.pi * (2 * uniform[4] - 1)),
        (least[6], np.pi * (2 * uniform[5] - 1)),
        (least[3], 0.2 * normal[0]),
        (least[5], 0.2 * normal[1]),
        (least[2], x),
        (least[2], y),
        (least[7], x_of_parts),
        (least[7], y_of_parts),
    ]
    least, uniform, normal = random.random((5, count)), random.random((2, count)), random.standard_normal((3, count))
    shades = [
        (least[0], 0.2 * normal[0]),
        (least[1], 0.5 * normal[1]),
        (least[2], -2 * np.floor(2 * uniform[0])),
        (least[3], np.pi * (2 * uniform[1] - 1)),
        (least[4], normal[2]),
    ]
    return np.array([*moves, *shades])


def ada(images: Tensor, p: float | Tensor, draws: Tensor) -> Tensor:
    """ADA (Karras et al. 2020, appendix B): each augmentation is applied to each image with probability p.

    Pixel blitting: horizontal flip, rotation by 90 degrees (by 180 for non-square images, which would not fit
    otherwise), translation by whole pixels (up to an eighth of a side). Geometry: isotropic scaling, rotation by any
    angle, anisotropic scaling, translation. Colour: brightness, contrast, luma flip, hue and saturation. Images with no
    augmentation are unchanged, bit for bit: at p = 0 all of them. Pixels from outside are mirrored at the edge; pixels
    are resampled once, bilinearly.

    p: from 0 to 1, a scalar. draws: those of `ada_draws`, as a tensor on the images' device, or on the CPU where that
    has no float64.
    """
    moves, shades = _made(draws, p)
    with full_precision(images.device), all_digits_of_float32():  # TF32 would round what is not changed
        return _shaded(_moved(images, moves), shades)


class Adaptive:
    """ADA's p, which follows the overfitting of the discriminator (Karras et al. 2020, sec. 3).

    It is changed where it is, and stays at the same addresses, so that a CUDA graph of a step can change it.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        home = home_of_float64(torch.device(device))
        self.p = torch.zeros((), dtype=torch.float64, device=home)
        """0 to MAX_P, a scalar. In float64, as it moves by little."""
        self.signs = torch.zeros(INTERVAL, dtype=torch.float64, device=home)
        """The first `count` are r_t of each batch since p was last changed."""
        self.count = torch.zeros(1, dtype=torch.int64, device=home)
        """0 to INTERVAL - 1, [1]."""

    @property
    def tensors(self) -> list[Tensor]:
        """All that `observe` changes."""
        return [self.p, self.signs, self.count]

    @property
    def state(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {"p": self.p.item(), "signs": self.signs[: int(self.count)].tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`. Raises KeyError, TypeError or ValueError for anything else, which changes nothing."""
        p, signs = float(state["p"]), [float(sign) for sign in state["signs"]]
        if not 0 <= p <= MAX_P or len(signs) >= INTERVAL:
            raise ValueError
        self.p.fill_(p)
        self.signs[: len(signs)] = torch.tensor(signs, dtype=torch.float64)
        self.count.fill_(len(signs))

    def reset(self) -> None:
        """Makes it as it was at first."""
        self.restore({"p": 0.0, "signs": []})

    @torch.no_grad()
    def observe(self, sign: Tensor, batch_size: int) -> None:
        """Takes note of one batch, and changes p after every INTERVAL of them.

        sign: r_t, the mean sign of the batch's real logits, -1 to 1, a scalar.
        """
        self.signs.index_copy_(0, self.count, sign.to(self.signs).view(1))
        self.count.add_(1)
        direction = (self.signs.mean() - TARGET).sign() * (self.count[0] == INTERVAL)
        self.p.add_(direction, alpha=INTERVAL * batch_size / RAMP_IMAGES).clamp_(0, MAX_P)
        self.count.remainder_(INTERVAL)


def _lines(shifts: Tensor, middles: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each image where each row comes from, int64 [N, side]; whether that lies within the image, 1 or 0; and
    whether moreover it is cut out."""
    rows = torch.arange(side, dtype=shifts.dtype, device=shifts.device)
    moved = rows + shifts[:, None]
    sources = moved.clamp(0, side - 1)
    inside = (sources == moved).to(shifts.dtype)
    return sources.long(), inside, inside * ((rows - middles[:, None]).abs() < round(side * CUTOUT) / 2)


def _made(draws: Tensor, p: float | Tensor) -> tuple[Tensor, Tensor]:
    """The changes of places and of colours that are made of all images, [MOVES, N] and [SHADES, N], or 0."""
    if isinstance(p, Tensor):
        p = p.to(draws.device)
    least, sizes = draws.unbind(1)
    moves, shades = (sizes * (least < p)).split([MOVES, SHADES])
    return moves, shades


def _moved(images: Tensor, changes: Tensor) -> Tensor:
    which = changes.any(dim=0)
    if images.device.type in READ_FREELY:
        some = which.nonzero()[:, 0]
        if not len(some):
            return images
        if len(some) == len(images):
            return _resampled(images, changes)
        if len(some) < len(images) / 2:
            few = _resampled(images.index_select(0, some), changes.index_select(1, some))
            return images.index_copy(0, some, few)
        same = (~which).nonzero()[:, 0]
        return _resampled(images, changes).index_copy_(0, same, images.index_select(0, same))
    return torch.where(which.to(images.device)[:, None, None, None], _resampled(images, changes), images)


def _resampled(images: Tensor, changes: Tensor) -> Tensor:
    height, width = images.shape[2:]
    before = known(images)
    moves = _moves(changes, width / height).to(before.device, before.dtype)
    return _Resampled.apply(before, _places(moves, height, width)).to(images.device)


def _shaded(images: Tensor, changes: Tensor) -> Tensor:
    if images.device.type in READ_FREELY and not changes.any():
        return images
    colours, rest = _colours(images)
    # Of grey images the three colours are one, and stay one. A matrix that changes nothing is exact.
    shades = _shades(changes).to(images.device, images.dtype)[:, : colours.shape[1]]
    shaded = torch.baddbmm(shades[:, :, 3:], shades[:, :, :3], colours.expand(-1, 3, -1, -1).flatten(2))
    shaded = shaded.view_as(colours)
    return torch.cat([shaded, rest], dim=1) if rest.shape[1] else shaded


def _moves(changes: Tensor, aspect: float) -> Tensor:
    """Where in an image, with its edges at -1 and 1, each new pixel comes from: [N, 2, 3], to be multiplied with how
    far across and down from the middle that pixel is, in half heights, and 1.

    changes: [MOVES, N], what is added to 1 for mirroring, angles, powers of 2, half heights. aspect: width / height.
    """
    mirrored, angles, powers, shifts = changes.split([1, 3, 2, 4])
    cos, sin = angles.cos(), angles.sin()
    turn, first, second = torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))
    size, stretch = powers
    scales = torch.stack([size + stretch, size - stretch], dim=-1).exp2()
    by_pixels, by_parts = shifts.view(2, 2, -1).mT[..., None]
    # The way back from a new pixel undoes the last change first; all are as likely as what undoes them.
    turned = turn @ (first * scales[:, None]) @ second
    moves = torch.cat([turned, torch.baddbmm(turn @ by_pixels, turned, by_parts)], dim=2)
    moves[:, 0].mul_((1 + mirrored.mT) / aspect)
    return moves


def _places(moves: Tensor, height: int, width: int) -> Tensor:
    """Where each new pixel comes from, across and down, as grid_sample takes it: [N, H, W, 2]. moves: see _moves."""
    down, across = (  # middles of pixels, which are 2 / height apart
        torch.arange(1 - side, side, 2, dtype=moves.dtype, device=moves.device) / height for side in (height, width)
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


def _shades(changes: Tensor) -> Tensor:
    """What each image's colours, and 1, are multiplied with: [N, 3, 4].

    changes: [SHADES, N], what is added for brightness, powers of 2 for contrast and saturation, what is added to 1 for
    inversion, and the angle of the hue.
    """
    brightness, contrast, inverted, hue, saturation = changes
    # After brightness a colour's grey, its mean, is multiplied by one number, and the rest of it by another and turned
    # around the axis of greys, along which the three colours lie a third of a turn apart.
    grey, rest = contrast.exp2() * (1 + inverted), (contrast + saturation).exp2()
    along, aside = rest * hue.cos(), rest * hue.sin() / math.sqrt(3)
    own, other = (grey + 2 * along) / 3, (grey - along) / 3
    before, after = other + aside, other - aside
    mixed = torch.stack([own, after, before, before, own, after, after, before, own], dim=-1).unflatten(-1, (3, 3))
    added = (grey * brightness)[:, None, None].expand(-1, 3, 1)
    return torch.cat([mixed, added], dim=2)


def _colours(images: Tensor) -> tuple[Tensor, Tensor]:
    """The grey or RGB channels, and the alpha channel, if there is one."""
    count = 1 if images.shape[1] < 3 else 3
    return images[:, :count], images[:, count:]
