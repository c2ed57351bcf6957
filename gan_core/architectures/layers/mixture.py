"""A mixture of normal distributions over latents: where in its latent space a VAE has put its pictures.

Few of the points that the prior draws lie where an encoder put any, and their pictures are blurred or broken. A mixture
that is fitted to the encoded data draws from there (Ghosh et al. 2020, sec. 4).

Within a few directions, the principal components, each part of the mixture has a covariance of its own; outside of them
all share one variance. So a latent of many thousand values needs no square matrix of that size.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError

LARGEST = 2**28
"""Values in a mixture's basis, and in its factors, so that a config from a file cannot ask for more."""

SAMPLES_OF_A_COMPONENT = 8
"""At least, in `fit`, and twice as many as directions: a covariance of fewer is that of chance."""

MOST_FOR_DIRECTIONS = 1024
"""Samples or values of a latent that principal components are computed from, as the cost grows with the cube."""

CANDIDATES = 4
"""For each place where a component begins."""

ROUNDS_OF_K_MEANS = 10

MOST_ROUNDS = 100
"""Of expectation maximisation."""

ENOUGH = 1e-3
"""Nats per sample: a round that gains less is the last."""

SMALLEST_VARIANCE = 1e-6
"""Of any direction in any component, as a part of the data's variance: samples that coincide have none."""


class GaussianMixture(nn.Module):
    """A distribution over latents with size values.

    z = centre + basis (means_k + factors_k basis^T e) + residual (e - basis basis^T e), where e is standard normal and
    k the component. It is all buffers, and numbers of it come from `fit` or from a file.
    """

    shares: Tensor
    """[K], how much of the data lies in each component; they sum to 1."""
    centre: Tensor
    """[D]."""
    basis: Tensor
    """[D, R], orthonormal columns: the directions."""
    means: Tensor
    """[K, R], along the directions."""
    factors: Tensor
    """[K, R, R], lower triangular: factors_k factors_k^T is a component's covariance."""
    residual: Tensor
    """[], standard deviation of what lies outside of the directions."""

    def __init__(self, size: int, components: int, directions: int):
        """size: D, the number of values in a latent. components: K. directions: R, at most D."""
        super().__init__()
        if not (
            1 <= directions <= size and components >= 1 and max(components * directions, size) * directions <= LARGEST
        ):
            raise InputError(
                f"A mixture needs one component or more, and 1 to {size} directions for latents of {size} values; "
                f"{components} components with {directions} directions are none, or too large."
            )
        self.register_buffer("shares", torch.full((components,), 1 / components))
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(size, directions))
        self.register_buffer("means", torch.zeros(components, directions))
        self.register_buffer("factors", torch.zeros(components, directions, directions))
        self.register_buffer("residual", torch.ones(()))

    def component(self, uniform: Tensor) -> Tensor:
        """The components that numbers [N] from [0, 1) fall to, by their shares: [N], int64, on the CPU."""
        ends = _exact(self.shares).cumsum(0)
        return torch.searchsorted(ends, _exact(uniform) * ends[-1], right=True).clamp_max(len(ends) - 1)

    def points(self, normals: Tensor, component: Tensor, truncation: float = 1.0) -> Tensor:
        """Latents of these components.

        normals: e, [N, D]. component: [N], int64. truncation: psi, how far a point lies from its component's mean.

        Returns [N, D] in float32 on the CPU, wherever the weights are. It is computed in float64 and rounded once, so
        that a point does not depend on the batch that it is drawn in.
        """
        normals, component = _exact(normals), component.cpu()
        basis, means, factors = _exact(self.basis), _exact(self.means), _exact(self.factors)
        along = normals @ basis
        outside = _exact(self.residual) * (normals - along @ basis.T)
        moved = torch.empty_like(along)
        # Component by component, as a copy of its factors for every point would take much memory.
        for k in component.unique().tolist():
            chosen = component == k
            moved[chosen] = means[k] + truncation * along[chosen] @ factors[k].T
        return (_exact(self.centre) + moved @ basis.T + truncation * outside).float()

    def log_density(self, points: Tensor) -> Tensor:
        """Logarithm of the density at points [N, D], in nats: [N] in float64, on the CPU."""
        basis = _exact(self.basis)
        size, directions = basis.shape
        away = _exact(points) - _exact(self.centre)
        along = away @ basis
        outside = (away - along @ basis.T).square().sum(1)
        means, factors = _exact(self.means), _exact(self.factors)
        whitened = torch.linalg.solve_triangular(factors, along.T - means[:, :, None], upper=False)
        inside = _exact(self.shares).log()[:, None] + _log_normal(
            whitened.square().sum(1), factors.diagonal(dim1=1, dim2=2).log().sum(1)[:, None], directions
        )
        residual, rest = _exact(self.residual), size - directions
        return inside.logsumexp(0) + _log_normal(outside / residual**2, rest * residual.log(), rest)


def fit(samples: Tensor, components: int, directions: int, seed: int = 0) -> GaussianMixture:
    """The mixture under which the samples are likely, by expectation maximisation (Dempster et al. 1977).

    samples: latents [N, D]. components: K at most. directions: R at most.

    There are fewer components where the samples are few, namely one for every 8 samples and for twice as many samples
    as directions, and where fewer samples than components differ; and no more directions than values in a latent, nor
    than samples less one. Same samples, same seed: same mixture.

    Raises InputError for samples that are no finite latents, for fewer than two of them, and for no components or
    directions.
    """
    if samples.ndim != 2 or len(samples) < 2 or not samples.shape[1]:
        raise InputError(f"A mixture is fitted to two latents or more, [N, D], not to {list(samples.shape)}.")
    if components < 1 or directions < 1:
        raise InputError(f"A mixture needs a component and a direction at least, not {components} and {directions}.")
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
    # A floor that is not zero where all samples are the same.
    total = float(torch.linalg.vector_norm(away) ** 2)
    floor = SMALLEST_VARIANCE * total / away.numel() + torch.finfo(torch.float32).tiny
    rest = (total - float(along.square().sum())) / (count * max(1, size - directions))
    shares, means, factors = _maximised(along, _nearest(along, _apart(along, components, stream)), floor)

    mixture = GaussianMixture(size, len(shares), directions)
    found = {"shares": shares, "centre": centre, "basis": basis, "means": means, "factors": factors}
    for name, value in (found | {"residual": torch.tensor(max(rest, floor)).sqrt()}).items():
        getattr(mixture, name).copy_(value)
    return mixture


def _principal_directions(away: Tensor, directions: int, stream: np.random.RandomState) -> Tensor:
    """[D, R], orthonormal, of centred samples [N, D]: the directions in which they vary most."""
    count, size = away.shape
    if size <= MOST_FOR_DIRECTIONS:
        vectors = torch.linalg.eigh(away.T @ away).eigenvectors[:, -directions:]
    else:
        most = max(directions, MOST_FOR_DIRECTIONS)
        some = away if count <= most else away[torch.from_numpy(np.sort(stream.permutation(count)[:most]))]
        # Of S^T S, which is as large as a latent, and S S^T, as large as the samples are many, S^T leads the
        # eigenvectors of one to those of the other.
        vectors = some.T @ torch.linalg.eigh(some @ some.T).eigenvectors[:, -directions:]
    # Orthonormal even where the samples do not vary in so many directions.
    vectors = torch.linalg.qr(vectors.flip(1)).Q
    # An eigenvector may as well point the other way: fixed, so that libraries agree.
    largest = vectors.abs().argmax(0)
    return vectors * vectors.gather(0, largest[None]).sign()


def _apart(along: Tensor, components: int, stream: np.random.RandomState) -> Tensor:
    """Samples [K, R] that lie apart; fewer where fewer samples differ.

    Each is drawn in proportion to its squared distance from those before (k-means++: Arthur & Vassilvitskii 2007), of
    several so drawn the one that leaves the least distance.
    """
    chosen = along[stream.randint(len(along), size=1)]
    # From differences, so that samples that are the same are 0 apart, which from products they are not.
    distances = (chosen - along).square().sum(1)
    while len(chosen) < components and float(distances.max()) > 0:
        drawn = along[stream.choice(len(along), size=CANDIDATES, p=(distances / distances.sum()).numpy())]
        left = torch.minimum(distances, (drawn[:, None] - along).square().sum(2))
        best = left.sum(1).argmin()
        chosen, distances = torch.cat([chosen, drawn[best, None]]), left[best]
    return chosen


def _nearest(along: Tensor, centres: Tensor) -> Tensor:
    """Responsibilities [N, K], 0 or 1, of centres that have moved to the middle of their samples: k-means."""
    for _ in range(ROUNDS_OF_K_MEANS):
        members = nn.functional.one_hot(torch.cdist(along, centres).argmin(1), len(centres)).to(along)
        sizes = members.sum(0)[:, None]
        centres = torch.where(sizes > 0, members.T @ along / sizes.clamp_min(1), centres)
    return members


def _maximised(along: Tensor, responsibilities: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Shares, means and factors that fit the samples best, from a start that says whose sample is whose."""
    directions = along.shape[1]
    before = -math.inf
    for _ in range(MOST_ROUNDS):
        # What is likeliest for these responsibilities (Bishop 2006, eq. 9.24 to 9.26) ...
        sizes = responsibilities.sum(0).clamp_min(torch.finfo(torch.float64).tiny)
        means = responsibilities.T @ along / sizes[:, None]
        squares = [(along * of_one[:, None]).T @ along for of_one in responsibilities.T]
        covariances = torch.stack(squares) / sizes[:, None, None] - means[:, :, None] * means[:, None]
        # Of the covariances whose variances all reach the floor, the likeliest has the same axes: the likelihood still
        # never falls.
        variances, axes = torch.linalg.eigh(covariances)
        variances = variances.clamp_min(floor)
        # ... and the responsibilities for that (eq. 9.23).
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
    """Log density of a normal distribution, from squared distances in deviations and the sum of their logarithms."""
    return -squares / 2 - log_deviations - size / 2 * math.log(2 * math.pi)


def _exact(tensor: Tensor) -> Tensor:
    # First to the CPU: not every device knows float64.
    return tensor.detach().cpu().double()
