"""Kernel Inception Distance (KID: Binkowski et al. 2018), for features of any network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..platforms import exact

ROWS = 1024
"""Rows of the kernel matrix that are in memory at once."""

SUBSETS = 100
"""Random halves from which the standard error is estimated."""


@dataclass(frozen=True)
class KID:
    """Estimate of the squared distance between two distributions of images."""

    value: float
    """Unbiased estimate: for equal distributions it scatters around 0, and can be negative."""
    standard_error: float
    """Standard error of the value, from the finite number of images."""


def kid(real: Tensor, fake: Tensor, seed: int = 0) -> KID:
    """Squared maximum mean discrepancy under the kernel (x.y / D + 1)^3 (Binkowski et al. 2018, sec. 4).

    real, fake: features, [N, D] and [M, D], with N and M at least 4. seed: of the random halves.

    The value is the U-statistic over all images, to which the usual mean over subsets converges. The standard error is
    a delete-d jackknife of random halves (Shao & Wu 1989); for equal distributions it is up to sqrt(3) times too large.
    """
    chosen = [
        _halves(len(features), np.random.RandomState([seed, place])) for place, features in enumerate((real, fake))
    ]
    within_real, within_fake = (_within(features, masks) for features, masks in zip((real, fake), chosen, strict=True))
    between = _sums(real, fake, *chosen) / (chosen[0].sum(0) * chosen[1].sum(0))
    estimates = within_real + within_fake - 2 * between
    value = estimates[0]
    return KID(float(value), float((estimates[1:] - value).square().mean().sqrt()))


def _halves(count: int, stream: np.random.RandomState) -> Tensor:
    """Membership of images in subsets, [count, 1 + SUBSETS] of 0 and 1: first all images, then random halves."""
    masks = np.zeros((count, 1 + SUBSETS))
    masks[:, 0] = 1
    for subset in range(1, 1 + SUBSETS):
        masks[stream.permutation(count)[: count // 2], subset] = 1
    return torch.from_numpy(masks)


def _within(features: Tensor, masks: Tensor) -> Tensor:
    """Mean kernel over pairs of different images, for each subset."""
    size = masks.sum(0)
    alone = masks.T @ _kernel(exact(features).square().sum(1) / features.shape[1])
    return (_sums(features, features, masks, masks) - alone) / (size * (size - 1))


def _sums(left: Tensor, right: Tensor, left_masks: Tensor, right_masks: Tensor) -> Tensor:
    """Sum of the kernel over all pairs of a left and a right image, for each subset."""
    left, right = exact(left), exact(right)
    total = torch.zeros(left_masks.shape[1], dtype=torch.float64)
    for start in range(0, len(left), ROWS):
        rows = slice(start, start + ROWS)
        kernels = _kernel(left[rows] @ right.T / left.shape[1])
        total += ((kernels @ right_masks) * left_masks[rows]).sum(0)
    return total


def _kernel(products: Tensor) -> Tensor:
    return (products + 1) ** 3
