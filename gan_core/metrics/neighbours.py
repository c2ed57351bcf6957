"""Distances between points in feature space, in parts, so that memory does not grow with the square of their number."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..platforms import exact

ROWS = 1024
"""Rows of the distance matrix that are in memory at once."""

ROUNDING = 1e-12
"""Squared distances below this fraction of the squared norms are rounding errors of 0."""

SLACK = 1 + 1e-9
"""Factor by which squared radii are enlarged, so that a copy of the k-th neighbour is inside despite rounding."""


def squared_distances(points: Tensor, others: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared Euclidean distances from points [N, D] to others [M, D], in float64.

    Yields parts of at most ROWS rows: the slice of points, and their distances [rows, M].
    """
    # Distances are invariant to translation, and centred values have smaller rounding errors.
    points, others = exact(points), exact(others)
    middle = others.mean(0)
    points, others = points - middle, others - middle
    length, other_length = points.square().sum(1), others.square().sum(1)
    for start in range(0, len(points), ROWS):
        rows = slice(start, min(start + ROWS, len(points)))
        scale = length[rows, None] + other_length
        squared = scale - 2 * points[rows] @ others.T
        yield rows, squared.masked_fill_(squared <= ROUNDING * scale, 0)


def squared_radii(points: Tensor, k: int) -> Tensor:
    """Squared distance of each of points [N, D] to its k-th nearest neighbour, times SLACK: [N] in float64. k < N."""
    radii = torch.empty(len(points), dtype=torch.float64)
    for rows, squared in squared_distances(points, points):
        count = torch.arange(len(squared))
        squared[count, count + rows.start] = -1  # the point itself comes first, before its duplicates
        radii[rows] = squared.kthvalue(k + 1, dim=1).values.clamp(min=0)
    return SLACK * radii


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Index, int64 [N], and distance, float64 [N], of the nearest of others [M, D] for each of points [N, D]."""
    distance, index = torch.empty(len(points), dtype=torch.float64), torch.empty(len(points), dtype=torch.int64)
    for rows, squared in squared_distances(points, others):
        lowest = squared.min(dim=1)
        distance[rows], index[rows] = lowest.values.sqrt(), lowest.indices
    return index, distance
