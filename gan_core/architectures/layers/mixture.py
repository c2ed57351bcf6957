"""Gaussian mixture fitted to the aggregate posterior of a VAE.

Samples from the normal prior often lie where no posterior does, and give blurred or broken images. Samples from a
mixture fitted to the encoded training images avoid this (Ghosh et al. 2020, sec. 4).

Each component has its own covariance along a few principal directions; outside of them all components share one
variance. A latent with many thousand values thus never needs an n × n matrix.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError
from ...platforms import exact

MAX_VALUES = 2**28
"""Maximum number of values in the basis of a mixture, and in its factors, which limits configs from files."""

SAMPLES_OF_A_COMPONENT = 8
"""Minimum samples per component in `fit`, besides twice the number of directions: fewer give a random covariance."""

MAX_FOR_DIRECTIONS = 1024
"""Maximum samples, or values of a latent, for principal components, whose cost is cubic."""

CANDIDATES = 4
"""Candidates for each initial centre of a component."""

ROUNDS_OF_K_MEANS = 10

MAX_ROUNDS = 100
"""Maximum iterations of expectation maximisation."""

ENOUGH = 1e-3
"""Gain in nats per sample below which expectation maximisation ends."""

MIN_VARIANCE = 1e-6
"""Minimum variance along any direction of a component, as a fraction of the variance of the data."""


class GaussianMixture(nn.Module):
    """Gaussian mixture over latents of `size` values.

    z = centre + basis (means_k + factors_k basis^T e) + residual (e - basis basis^T e), where e is standard normal and
    k the component. It has only buffers, whose values come from `fit` or from a file.
    """

    shares: Tensor
    """Weights of the components, [K], with a sum of 1."""
    centre: Tensor
    """Mean of the data, [D]."""
    basis: Tensor
    """Principal directions, orthonormal columns [D, R]."""
    means: Tensor
    """Means of the components along the directions, [K, R]."""
    factors: Tensor
    """Cholesky factors [K, R, R], lower triangular: factors_k factors_k^T is the covariance of component k."""
    residual: Tensor
    """Standard deviation outside of the directions, a scalar."""

    def __init__(self, size: int, components: int, directions: int):
        """size: D, the number of values in a latent. components: K. directions: R, at most D."""
        super().__init__()
        if not (
            1 <= directions <= size
            and components >= 1
            and max(components * directions, size) * directions <= MAX_VALUES
        ):
            raise InputError(
                f"A mixture needs at least 1 component, and 1 to {size} directions for latents of {size} values (got "
                f"{components} and {directions}, or too many values)."
            )
        self.register_buffer("shares", torch.full((components,), 1 / components))
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(size, directions))
        self.register_buffer("means", torch.zeros(components, directions))
        self.register_buffer("factors", torch.zeros(components, directions, directions))
        self.register_buffer("residual", torch.ones(()))

    def component(self, uniform: Tensor) -> Tensor:
        """Components for uniform random numbers [N] in [0, 1), by their weights: [N], int64, on the CPU."""
        ends = exact(self.shares).cumsum(0)
        return torch.searchsorted(ends, exact(uniform) * ends[-1], right=True).clamp_max(len(ends) - 1)

    def points(self, normals: Tensor, component: Tensor, truncation: float = 1.0) -> Tensor:
        """Samples of the given components.

        normals: e, [N, D]. component: [N], int64. truncation: psi, which scales the distance from the component's mean.

        Returns [N, D] in float32 on the CPU. Computed in float64 and rounded once, so that a sample does not depend on
        its batch.
        """
        normals, component = exact(normals), component.cpu()
        basis, means, factors = exact(self.basis), exact(self.means), exact(self.factors)
        along = normals @ basis
        outside = exact(self.residual) * (normals - along @ basis.T)
        moved = torch.empty_like(along)
        # One component at a time: a copy of its factors for every sample would take too much memory.
        for k in component.unique().tolist():
            chosen = component == k
            moved[chosen] = means[k] + truncation * along[chosen] @ factors[k].T
        return (exact(self.centre) + moved @ basis.T + truncation * outside).float()

    def log_density(self, points: Tensor) -> Tensor:
        """Log density at points [N, D], in nats: [N] in float64, on the CPU."""
        basis = exact(self.basis)
        size, directions = basis.shape
        away = exact(points) - exact(self.centre)
        along = away @ basis
        outside = (away - along @ basis.T).square().sum(1)
        means, factors = exact(self.means), exact(self.factors)
        whitened = torch.linalg.solve_triangular(factors, along.T - means[:, :, None], upper=False)
        inside = exact(self.shares).log()[:, None] + _log_normal(
            whitened.square().sum(1), factors.diagonal(dim1=1, dim2=2).log().sum(1)[:, None], directions
        )
        residual, rest = exact(self.residual), size - directions
        return inside.logsumexp(0) + _log_normal(outside / residual**2, rest * residual.log(), rest)


def fit(samples: Tensor, components: int, directions: int, seed: int = 0) -> GaussianMixture:
    """Fits a mixture to samples by expectation maximisation (Dempster et al. 1977).

    samples: latents [N, D]. components: maximum K. directions: maximum R. seed: of the initial centres; the same
    samples and seed give the same mixture.

    Few samples reduce the number of components: each needs 8 samples and twice as many as directions, and a distinct
    sample. There are at most D and at most N - 1 directions.

    Raises InputError for samples that are not finite, for fewer than two of them, and for no components or directions.
    """
    if samples.ndim != 2 or len(samples) < 2 or not samples.shape[1]:
        raise InputError(f"A mixture needs at least two latents, [N, D] (got {list(samples.shape)}).")
    if components < 1 or directions < 1:
        raise InputError(f"A mixture needs at least 1 component and 1 direction (got {components} and {directions}).")
    stream = np.random.RandomState(seed)
    if not bool(samples.isfinite().all()):
        raise InputError("Some latents are not finite, so no mixture can be fitted to them: the encoder has diverged.")
    count, size = samples.shape
    directions = min(directions, size, count - 1)
    components = max(1, min(components, count // max(SAMPLES_OF_A_COMPONENT, 2 * directions)))

    away = samples.detach().to("cpu", torch.float64, copy=True)
    centre = away.mean(0)
    away -= centre
    basis = _principal_directions(away, directions, stream)
    along = away @ basis
    # A floor that is not zero if all samples are equal.
    total = float(torch.linalg.vector_norm(away) ** 2)
    floor = MIN_VARIANCE * total / away.numel() + torch.finfo(torch.float32).tiny
    rest = (total - float(along.square().sum())) / (count * max(1, size - directions))
    shares, means, factors = _maximised(along, _nearest(along, _apart(along, components, stream)), floor)

    mixture = GaussianMixture(size, len(shares), directions)
    found = {"shares": shares, "centre": centre, "basis": basis, "means": means, "factors": factors}
    for name, value in (found | {"residual": torch.tensor(max(rest, floor)).sqrt()}).items():
        getattr(mixture, name).copy_(value)
    return mixture


def _principal_directions(away: Tensor, directions: int, stream: np.random.RandomState) -> Tensor:
    """Principal directions of centred samples [N, D], orthonormal columns [D, R]."""
    count, size = away.shape
    if size <= MAX_FOR_DIRECTIONS:
        vectors = torch.linalg.eigh(away.T @ away).eigenvectors[:, -directions:]
    else:
        limit = max(directions, MAX_FOR_DIRECTIONS)
        some = away if count <= limit else away[torch.from_numpy(np.sort(stream.permutation(count)[:limit]))]
        # S^T S is D x D, S S^T only N x N; S^T maps the eigenvectors of the latter to those of the former.
        vectors = some.T @ torch.linalg.eigh(some @ some.T).eigenvectors[:, -directions:]
    # Orthonormal even if the samples vary in fewer directions.
    vectors = torch.linalg.qr(vectors.flip(1)).Q
    # The sign of an eigenvector is arbitrary: it is fixed, so that libraries agree.
    largest = vectors.abs().argmax(0)
    return vectors * vectors.gather(0, largest[None]).sign()


def _apart(along: Tensor, components: int, stream: np.random.RandomState) -> Tensor:
    """Initial centres [K, R] among the samples; fewer if there are fewer distinct samples.

    k-means++ (Arthur & Vassilvitskii 2007): each is drawn with a probability proportional to its squared distance from
    the earlier ones; the best of CANDIDATES is chosen.
    """
    chosen = along[stream.randint(len(along), size=1)]
    # Computed from differences, so that equal samples have distance 0; products would leave rounding errors.
    distances = (chosen - along).square().sum(1)
    while len(chosen) < components and float(distances.max()) > 0:
        drawn = along[stream.choice(len(along), size=CANDIDATES, p=(distances / distances.sum()).numpy())]
        left = torch.minimum(distances, (drawn[:, None] - along).square().sum(2))
        best = left.sum(1).argmin()
        chosen, distances = torch.cat([chosen, drawn[best, None]]), left[best]
    return chosen


def _nearest(along: Tensor, centres: Tensor) -> Tensor:
    """Responsibilities [N, K], 0 or 1, after k-means from initial centres [K, R]."""
    for _ in range(ROUNDS_OF_K_MEANS):
        members = nn.functional.one_hot(torch.cdist(along, centres).argmin(1), len(centres)).to(along)
        sizes = members.sum(0)[:, None]
        centres = torch.where(sizes > 0, members.T @ along / sizes.clamp_min(1), centres)
    return members


def _maximised(along: Tensor, responsibilities: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and factors from expectation maximisation, from initial responsibilities [N, K]."""
    directions = along.shape[1]
    before = -math.inf
    for _ in range(MAX_ROUNDS):
        # M step (Bishop 2006, eq. 9.24 to 9.26).
        sizes = responsibilities.sum(0).clamp_min(torch.finfo(torch.float64).tiny)
        means = responsibilities.T @ along / sizes[:, None]
        squares = [(along * of_one[:, None]).T @ along for of_one in responsibilities.T]
        covariances = torch.stack(squares) / sizes[:, None, None] - means[:, :, None] * means[:, None]
        # Among covariances with variances above the floor, the most likely one has the same axes: the likelihood still
        # never decreases.
        variances, axes = torch.linalg.eigh(covariances)
        variances = variances.clamp_min(floor)
        # E step (eq. 9.23).
        whitenings = axes / variances.sqrt()[:, None]
        distances = [
            torch.addmm(-mean[None] @ whitening, along, whitening).square().sum(1)
            for mean, whitening in zip(means, whitenings, strict=True)
        ]
        log_densities = (sizes / len(along)).log() + _log_normal(
            torch.stack(distances, 1), variances.log().sum(1) / 2, directions
        )
        log_density = log_densities.logsumexp(1, keepdim=True)
        responsibilities = (log_densities - log_density).exp()
        after = float(log_density.mean())
        if after - before < ENOUGH:
            break
        before = after
    factors = torch.linalg.cholesky(axes * variances[:, None] @ axes.mT)
    return sizes / len(along), means, factors


def _log_normal(squares: Tensor, log_deviations: Tensor, size: int) -> Tensor:
    """Log density of a normal distribution, from squared standardised distances and the sum of log deviations."""
    return -squares / 2 - log_deviations - size / 2 * math.log(2 * math.pi)
