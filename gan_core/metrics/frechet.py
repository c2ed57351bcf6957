"""Fréchet distance between features of any network (Heusel et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..platforms import exact


def frechet(real: Tensor, fake: Tensor) -> float:
    """Squared Fréchet distance of the normal distributions with the means and covariances of two sets of features.

    real, fake: features, [N, D] and [M, D], with N and M at least 2. Computed in float64 from eigenvalues.

    It equals FID only for features of the Inception network of 2015. It is biased: below about 10,000 images it is far
    too large, and comparable only between equal numbers of images.
    """
    real, fake = exact(real), exact(fake)
    between = (real.mean(0) - fake.mean(0)).square().sum()
    # The trace of the root of a product of covariances A'A and B'B is the sum of the singular values of A B'.
    roots = torch.linalg.svdvals(_root(real) @ _root(fake).T)
    distance = between + real.var(0).sum() + fake.var(0).sum() - 2 * roots.sum()
    return max(0.0, float(distance))


def _root(features: Tensor) -> Tensor:
    """R with R'R the covariance of features [N, D]: [D, D], or [N, D] if N <= D."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    if len(features) <= features.shape[1]:
        return centred
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    return values.clamp(min=0).sqrt()[:, None] * vectors.T
