"""Distances between points of feature space, in parts, so that memory does not grow with the square of their number."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS = 1024
"""Points whose distances to all others are in memory at once."""

ROUNDING = 1e-12
"""Squared distances below this share of the points' own squared lengths are what rounding leaves of none."""


SLACK = 1 + 1e-9
"""A reach is this much wider, so that rounding does not decide on what lies exactly at its end, as a copy of the k-th
neighbour does."""


def squared_distances(points: Tensor, others: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared Euclidean distances from points [N, D] to others [M, D], in float64.

    They come in parts of at most ROWS rows, [rows, M], each with the slice of points that it is about.
    """
    # A metric does not change when all is moved, and numbers near zero lose less to rounding.
    middle = others.double().mean(0)
    points, others = points.double() - middle, others.double() - middle
    length, other_length = points.square().sum(1), others.square().sum(1)
    for start in range(0, len(points), ROWS):
        rows = slice(start, min(start + ROWS, len(points)))
        scale = length[rows, None] + other_length
        squared = scale - 2 * points[rows] @ others.T
        yield rows, squared.masked_fill_(squared <= ROUNDING * scale, 0)


def squared_radii(points: Tensor, k: int) -> Tensor:
    """The squared distance of each of points [N, D] from the k-th nearest of the others, [N] in float64. k < N.

    They are wider by SLACK.
    """
    radii = torch.empty(len(points), dtype=torch.float64)
    for rows, squared in squared_distances(points, points):
        count = torch.arange(len(squared))
        squared[count, count + rows.start] = -1  # itself: the first of its row, whatever lies on the same spot
        radii[rows] = squared.kthvalue(k + 1, dim=1).values.clamp(min=0)
    return SLACK * radii


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """For each of points [N, D], which of others [M, D] is nearest, int64 [N], and how far it is, float64 [N]."""
    distance, index = torch.empty(len(points), dtype=torch.float64), torch.empty(len(points), dtype=torch.int64)
    for rows, squared in squared_distances(points, others):
        lowest = squared.min(dim=1)
        distance[rows], index[rows] = lowest.values.sqrt(), lowest.indices
    return index, distance
