"""Kernel Inception Distance (Binkowski et al. 2018), for features of any network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROWS = 1024
"""Images whose kernel with all others is in memory at once."""

SUBSETS = 100
"""Random halves that the standard error is estimated from."""


@dataclass(frozen=True)
class KID:
    """A squared distance between two distributions, estimated from images of each."""

    value: float
    """Unbiased, and so around 0, and below it too, where the two are the same."""
    standard_error: float
    """How far the value lies from that of endlessly many images, typically."""


def kid(real: Tensor, fake: Tensor, seed: int = 0) -> KID:
    """The squared maximum mean discrepancy under the kernel (x.y / D + 1)^3 (Binkowski et al. 2018, sec. 4).

    real, fake: features, [N, D] and [M, D], N and M at least 4. seed: decides the subsets.

    The value is the U-statistic of all images: what the mean over subsets, as it is often given, comes to with more and
    more of them. The standard error is a delete-d jackknife (Shao & Wu 1989) of random halves; where real and fake are
    alike, it is up to sqrt(3) times too large.
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
    """Which images are in which subset, [count, 1 + SUBSETS] of 0 and 1: all of them, then random halves."""
    masks = np.zeros((count, 1 + SUBSETS))
    masks[:, 0] = 1
    for subset in range(1, 1 + SUBSETS):
        masks[stream.permutation(count)[: count // 2], subset] = 1
    return torch.from_numpy(masks)


def _within(features: Tensor, masks: Tensor) -> Tensor:
    """The mean kernel of two different images of each subset."""
    size = masks.sum(0)
    alone = masks.T @ _kernel(features.double().square().sum(1) / features.shape[1])
    return (_sums(features, features, masks, masks) - alone) / (size * (size - 1))


def _sums(left: Tensor, right: Tensor, left_masks: Tensor, right_masks: Tensor) -> Tensor:
    """The kernel's sum over all pairs of a left and a right image, for each subset."""
    left, right = left.double(), right.double()
    total = torch.zeros(left_masks.shape[1], dtype=torch.float64)
    for start in range(0, len(left), ROWS):
        rows = slice(start, start + ROWS)
        kernels = _kernel(left[rows] @ right.T / left.shape[1])
        total += ((kernels @ right_masks) * left_masks[rows]).sum(0)
    return total


def _kernel(products: Tensor) -> Tensor:
    return (products + 1) ** 3
