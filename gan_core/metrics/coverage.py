"""What the pictures are like, and what is missing among them: figures of nearest neighbours in feature space."""

from __future__ import annotations

import torch
from torch import Tensor

from .neighbours import squared_distances, squared_radii

MANIFOLD_NEIGHBOURS = 3
"""k of precision and recall, as Kynkäänniemi et al. 2019 have it."""

DENSITY_NEIGHBOURS = 5
"""k of density and coverage, as Naeem et al. 2020 have it."""


def precision_and_recall(real: Tensor, fake: Tensor, k: int = MANIFOLD_NEIGHBOURS) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2).

    real, fake: features, [N, D] and [M, D], both of more than k images. An image's reach is its distance from the k-th
    nearest of its own kind. Both figures are shares, from 0 to 1.
    """
    reach, fake_reach = squared_radii(real, k), squared_radii(fake, k)
    within = torch.zeros(len(fake), dtype=torch.bool)
    reached = 0
    for rows, squared in squared_distances(real, fake):
        within |= (squared <= reach[rows, None]).any(0)
        reached += int((squared <= fake_reach).any(1).sum())
    return float(within.double().mean()), reached / len(real)


def density_and_coverage(real: Tensor, fake: Tensor, k: int = DENSITY_NEIGHBOURS) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020, eq. 4 and 5), which single outliers among the fakes do not sway.

    real, fake: features, [N, D] and [M, D], N more than k. Density is 1 where fakes lie as real images do, and may pass
    it; coverage is a share, from 0 to 1.
    """
    reach = squared_radii(real, k)
    pairs = covered = 0
    for rows, squared in squared_distances(real, fake):
        within = squared <= reach[rows, None]
        pairs += int(within.sum())
        covered += int(within.any(1).sum())
    return pairs / (k * len(fake)), covered / len(real)
