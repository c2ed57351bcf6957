"""Ways through latent space, from one point to the next."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..architectures.architecture import as_vectors
from ..errors import InputError
from ..latents import MOST_SAMPLES, Latent, to_space
from ..platforms import known

if TYPE_CHECKING:
    from ..generator import Generator


def walk(
    generator: Generator,
    stops: Latent,
    frames: int,
    interpolation: str = "spherical",
    closed: bool = True,
    space: str | None = None,
) -> Latent:
    """A walk that passes exactly through every stop.

    frames: from one stop to the next. A closed walk goes on from the last stop to the first, and its last frame is the
    one before the first, so that it loops without a jolt: stops * frames in all. An open one ends with the last stop:
    (stops - 1) * frames + 1.
    interpolation: one of INTERPOLATIONS. All but "linear" keep how far from the centre the points are, which is 0 in z
    and the mean style in w: the middle of a straight line is more average than its ends.
    space: where to walk, "z" or "w"; None for w in a style-based generator, z in others. Stops in w+ stay there.

    Classes that differ from stop to stop are mixed on the way. Raises InputError for fewer than two stops, for a space
    that the generator does not have, and for a number of frames or an interpolation that cannot be.
    """
    if interpolation not in INTERPOLATIONS:
        raise InputError(f'The interpolation of a walk is {" or ".join(INTERPOLATIONS)}, not "{interpolation}".')
    if len(stops) < 2:
        raise InputError("A walk needs at least two stops: give two or more seeds, or a latent of two or more points.")
    legs = len(stops) if closed else len(stops) - 1
    if frames < 1 or legs * frames >= MOST_SAMPLES:
        raise InputError(f"A walk has 1 to {MOST_SAMPLES:,} frames; {legs} ways of {frames} frames each are not.")
    stops = to_space(generator, stops, space)
    labels = _mixable(generator, stops.labels)

    # In w all styles are the same, and one is enough to compute with.
    points = known(stops.samples[:, :, :1] if stops.space == "w" else stops.samples)
    centre: Tensor | float = 0.0
    if stops.space != "z":
        centre = generator.average_style.to(points)[:, None, None]
    found, mixed = [], []
    ways = torch.arange(frames, dtype=torch.float64)[:, None, None, None] / frames
    for leg in range(legs):
        start, end = leg, (leg + 1) % len(stops)
        a, b = (points[i].double() - centre for i in (start, end))
        before = points[leg - 1].double() - centre if closed or leg else 2 * a - b
        after = points[(leg + 2) % len(stops)].double() - centre if closed or leg + 2 < len(stops) else 2 * b - a
        part = (INTERPOLATIONS[interpolation](before, a, b, after, ways) + centre).to(points.dtype)
        part[0] = points[start]
        found.append(part)
        if labels is not None:
            mixed.append(labels[start].lerp(labels[end], ways.flatten(1).to(labels)))
    if not closed:
        found.append(points[-1:])
        mixed += [] if labels is None else [labels[-1:]]
    samples = torch.cat(found).to(stops.samples.device)
    return Latent(samples.expand(-1, -1, stops.samples.shape[2], -1), stops.space, torch.cat(mixed) if mixed else None)


def _mixable(generator: Generator, labels: Tensor | None) -> Tensor | None:
    """Labels as weights of the classes, between which there is something."""
    return None if labels is None else as_vectors(labels, generator.classes).float()


# Each way: the points before a, a, b and after b, [C, n, 1] about the centre, and how far from a to b, [F, 1, 1, 1].


def _linear(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: Tensor) -> Tensor:
    return a + t * (b - a)


def _spherical(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: Tensor) -> Tensor:
    """Turns from one direction to the other at a constant rate (Shoemake 1985), while the length goes evenly."""
    one, other = _unit(a), _unit(b)
    cosine = (one * other).sum(0, keepdim=True).clamp(-1, 1)
    across = _unit(other - cosine * one)
    # Opposite ends have no plane of their own to turn in: any will do, as long as it is always the same.
    across = torch.where(_length(other - cosine * one) > 1e-7, across, _perpendicular(one))
    angle = t * torch.atan2(_length(other - cosine * one), cosine)
    turned = (angle.cos() * one + angle.sin() * across) * _length(a).lerp(_length(b), t)
    nowhere = (_length(a) == 0) | (_length(b) == 0)  # the centre lies in no direction
    return torch.where(nowhere, _linear(before, a, b, after, t), turned)


def _spline(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: Tensor) -> Tensor:
    """A curve without corners (Catmull and Rom 1974) over the sphere of directions, gone at a constant rate."""

    def curve(t: Tensor) -> Tensor:
        one, other = _unit(a), _unit(b)
        slope_a, slope_b = (other - _unit(before)) / 2, (_unit(after) - one) / 2
        direction = (
            (2 * t**3 - 3 * t**2 + 1) * one
            + (t**3 - 2 * t**2 + t) * slope_a
            + (3 * t**2 - 2 * t**3) * other
            + (t**3 - t**2) * slope_b
        )
        size = direction.norm(dim=1, keepdim=True)
        length = _length(a).lerp(_length(b), 3 * t**2 - 2 * t**3)  # which turns no corner at a stop
        return direction / size.clamp_min(1e-7) * length

    # The curve would hurry in the middle, where its stops are as far apart as random ones are.
    fine = torch.linspace(0, 1, FINE, dtype=t.dtype)
    gone = (curve(fine[1:, None, None, None]) - curve(fine[:-1, None, None, None])).flatten(1).norm(dim=1).cumsum(0)
    gone = torch.cat([gone.new_zeros(1), gone])
    even = np.interp(t.flatten().numpy() * float(gone[-1]), gone.numpy(), fine.numpy())
    return curve(torch.from_numpy(even)[:, None, None, None])


FINE = 65
"""Points of a spline's leg that its length is measured by."""

INTERPOLATIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "spherical": _spherical,
    "linear": _linear,
    "spline": _spline,
}
"""How to get from one stop to the next: turning about the centre, straight, or on a curve through all stops."""


def _length(x: Tensor) -> Tensor:
    return x.norm(dim=0, keepdim=True)


def _unit(x: Tensor) -> Tensor:
    return x / _length(x).clamp_min(math.ulp(1.0) ** 2)


def _perpendicular(x: Tensor) -> Tensor:
    """A unit vector at a right angle to each unit vector of x, [C, n, 1]; for vectors of one number there is none."""
    axis = torch.zeros_like(x).scatter_(0, x.abs().argmin(0, keepdim=True), 1.0)
    return _unit(axis - (axis * x).sum(0, keepdim=True) * x)
