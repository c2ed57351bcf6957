"""Fidelity and diversity from nearest neighbours in feature space: precision, recall, density, coverage."""

from __future__ import annotations

import torch
from torch import Tensor

from .neighbours import squared_distances, squared_radii

MANIFOLD_NEIGHBOURS = 3
"""k of precision and recall (Kynkäänniemi et al. 2019)."""

DENSITY_NEIGHBOURS = 5
"""k of density and coverage (Naeem et al. 2020)."""


def precision_and_recall(real: Tensor, fake: Tensor, k: int = MANIFOLD_NEIGHBOURS) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2).

    The manifold of a set is the union of balls around its points, each with its k-th neighbour on its surface.
    Precision is the fraction of fakes in the manifold of the real images, recall the reverse.

    real, fake: features, [N, D] and [M, D], with N and M greater than k. Returns two fractions, from 0 to 1.
    """
    real_radii, fake_radii = squared_radii(real, k), squared_radii(fake, k)
    precise = torch.zeros(len(fake), dtype=torch.bool)
    recalled = 0
    for rows, squared in squared_distances(real, fake):
        precise |= (squared <= real_radii[rows, None]).any(0)
        recalled += int((squared <= fake_radii).any(1).sum())
    return float(precise.double().mean()), recalled / len(real)


def density_and_coverage(real: Tensor, fake: Tensor, k: int = DENSITY_NEIGHBOURS) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020, eq. 4 and 5), which are robust against outliers among the fakes.

    Density is the mean number of real balls that a fake lies in, divided by k: 1 where fakes are distributed as real
    images, and possibly more. Coverage is the fraction of real images with a fake in their ball, from 0 to 1.

    real, fake: features, [N, D] and [M, D], with N greater than k.
    """
    radii = squared_radii(real, k)
    pairs = covered = 0
    for rows, squared in squared_distances(real, fake):
        within = squared <= radii[rows, None]
        pairs += int(within.sum())
        covered += int(within.any(1).sum())
    return pairs / (k * len(fake)), covered / len(real)
