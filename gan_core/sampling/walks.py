"""Latent walks: interpolation through a sequence of latents."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..architectures.architecture import as_vectors
from ..errors import InputError
from ..generator import Generator
from ..latents import Latent
from ..platforms import exact
from .seeds import MAX_SAMPLES
from .spaces import to_space


def walk(
    generator: Generator,
    stops: Latent,
    frames: int,
    interpolation: str = "spherical",
    closed: bool = True,
    space: str | None = None,
) -> Latent:
    """Interpolates through all stops, each of which is a frame of the walk.

    stops: two or more latents.
    frames: number of frames from one stop to the next. A closed walk continues from the last stop to the first and ends
    one frame before it, so that it loops: stops * frames in all. An open one ends with the last stop: (stops - 1) *
    frames + 1.
    interpolation: one of INTERPOLATIONS. All but "linear" keep the distance from the mean, which is 0 in z and the mean
    style in w; the middle of a straight line is closer to it than its ends.
    space: "z" or "w"; None for w in a style-based generator, z in others. Stops in w+ stay in w+.

    Class labels of the stops are interpolated too. Raises InputError for fewer than two stops, for a space that the
    generator does not have, for an unknown interpolation, and for fewer than 1 or too many frames.
    """
    if interpolation not in INTERPOLATIONS:
        raise InputError(f'interpolation must be {" or ".join(INTERPOLATIONS)} (got "{interpolation}").')
    if len(stops) < 2:
        raise InputError("A walk needs at least two stops: give two or more seeds, or a latent of two or more points.")
    legs = len(stops) if closed else len(stops) - 1
    if frames < 1 or legs * frames >= MAX_SAMPLES:
        raise InputError(
            f"A walk must have 1 to {MAX_SAMPLES:,} frames (got {legs} times {frames}): change frames or the number "
            "of stops."
        )
    stops = to_space(generator, stops, space)

    # So few numbers are computed on the CPU, and are then the same for all devices.
    labels = _mixable(generator, stops.labels)
    # In w all styles are equal, and one of them is enough.
    points = (stops.samples[:, :, :1] if stops.space == "w" else stops.samples).cpu()
    centre: Tensor | float = 0.0
    if stops.space != "z":
        centre = exact(generator.average_style)[:, None, None]
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
    samples = torch.cat(found).expand(-1, -1, stops.samples.shape[2], -1)
    return generator.here(Latent(samples, stops.space, torch.cat(mixed) if mixed else None))


def _mixable(generator: Generator, labels: Tensor | None) -> Tensor | None:
    """Labels as class weights on the CPU, which can be interpolated."""
    return None if labels is None else as_vectors(labels.cpu(), generator.classes).float()


# before, a, b, after: consecutive stops minus the mean, [C, n, 1]. t: fractions of the way from a to b, [F, 1, 1, 1].


def _linear(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: Tensor) -> Tensor:
    return a + t * (b - a)


def _spherical(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: Tensor) -> Tensor:
    """Slerp of the directions (Shoemake 1985), with linear interpolation of the lengths."""
    one, other = _unit(a), _unit(b)
    cosine = (one * other).sum(0, keepdim=True).clamp(-1, 1)
    across = _unit(other - cosine * one)
    # Opposite directions span no plane: an arbitrary but fixed one is used.
    across = torch.where(_length(other - cosine * one) > 1e-7, across, _perpendicular(one))
    angle = t * torch.atan2(_length(other - cosine * one), cosine)
    rotated = (angle.cos() * one + angle.sin() * across) * _length(a).lerp(_length(b), t)
    at_mean = (_length(a) == 0) | (_length(b) == 0)  # the mean has no direction
    return torch.where(at_mean, _linear(before, a, b, after, t), rotated)


def _spline(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: Tensor) -> Tensor:
    """Smooth curve (Catmull and Rom 1974) over the sphere of directions, at constant speed."""

    def curve(t: Tensor) -> Tensor:
        one, other = _unit(a), _unit(b)
        tangent_a, tangent_b = (other - _unit(before)) / 2, (_unit(after) - one) / 2
        direction = (
            (2 * t**3 - 3 * t**2 + 1) * one
            + (t**3 - 2 * t**2 + t) * tangent_a
            + (3 * t**2 - 2 * t**3) * other
            + (t**3 - t**2) * tangent_b
        )
        size = direction.norm(dim=1, keepdim=True)
        length = _length(a).lerp(_length(b), 3 * t**2 - 2 * t**3)  # smooth at the stops
        return direction / size.clamp_min(1e-7) * length

    # The curve is reparametrised by its length: between random stops it would be fastest in the middle.
    fine = torch.linspace(0, 1, FINE, dtype=t.dtype)
    gone = (curve(fine[1:, None, None, None]) - curve(fine[:-1, None, None, None])).flatten(1).norm(dim=1).cumsum(0)
    gone = torch.cat([gone.new_zeros(1), gone])
    even = np.interp(t.flatten().numpy() * float(gone[-1]), gone.numpy(), fine.numpy())
    return curve(torch.from_numpy(even)[:, None, None, None])


FINE = 65
"""Points at which the length of one leg of a spline is measured."""

INTERPOLATIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "spherical": _spherical,
    "linear": _linear,
    "spline": _spline,
}
"""Interpolations by name: slerp about the mean, straight line, or a smooth curve through all stops."""


def _length(x: Tensor) -> Tensor:
    return x.norm(dim=0, keepdim=True)


def _unit(x: Tensor) -> Tensor:
    return x / _length(x).clamp_min(math.ulp(1.0) ** 2)


def _perpendicular(x: Tensor) -> Tensor:
    """Unit vectors orthogonal to the unit vectors x, [C, n, 1]; not defined for C = 1."""
    axis = torch.zeros_like(x).scatter_(0, x.abs().argmin(0, keepdim=True), 1.0)
    return _unit(axis - (axis * x).sum(0, keepdim=True) * x)
