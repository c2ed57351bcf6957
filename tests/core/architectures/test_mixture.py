"""A mixture is fitted to latents as others fit it, and its points are drawn from the density that it says."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_core.architectures.layers import mixture
from gan_core.architectures.layers.mixture import GaussianMixture, fit
from gan_core.errors import InputError

# Of GaussianMixture(3, tol=1e-10, reg_covar=1e-12) in scikit-learn 1.9.1, fitted to three_clouds(): the mean log
# density of its points, and of each component, largest first, its share, its mean and the logarithm of its covariance's
# determinant; then the log density at 0 and at 1.
SCORE = -3.892879
SHARES = [0.50374, 0.29829, 0.19796]
MEANS = [
    [1.5073, -0.06725, -0.05831, 0.5278],
    [-1.02306, 0.97787, 0.00277, -0.53967],
    [-0.1352, -1.44736, 1.03066, -0.08139],
]
VOLUMES = [-4.89735, -7.53679, -4.34634]
DENSITIES = [-7.08117, -5.52561]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape)).float()


def three_clouds() -> torch.Tensor:
    """600 points of four values, in three clouds that overlap a little."""
    stream = np.random.RandomState(0)
    centres = np.array([[1.5, 0, 0, 0.5], [-1, 1, 0, -0.5], [0, -1.5, 1, 0]])
    spread = np.stack([np.diag([0.5, 1, 0.7, 0.3]), np.tril(np.ones((4, 4))) * 0.4, np.eye(4) * 0.6])
    which = stream.choice(3, size=600, p=[0.5, 0.3, 0.2])
    points = centres[which] + np.einsum("nij,nj->ni", spread[which], stream.randn(600, 4))
    return torch.from_numpy(points).float()


def known(size: int = 6, components: int = 3, directions: int = 2) -> GaussianMixture:
    """A mixture of numbers that were made up."""
    made = GaussianMixture(size, components, directions)
    made.shares.copy_(torch.tensor([0.5, 0.2, 0.3])[:components])
    made.centre.copy_(numbers(size, seed=1))
    made.basis.copy_(torch.linalg.qr(numbers(size, directions, seed=2)).Q)
    made.means.copy_(2 * numbers(components, directions, seed=3))
    made.factors.copy_(numbers(components, directions, directions, seed=4).tril(-1) + 0.7 * torch.eye(directions))
    made.residual.fill_(0.4)
    return made


def as_a_whole(mixed: GaussianMixture) -> torch.distributions.Distribution:
    """The same distribution by torch, with a covariance as large as a latent."""
    basis, factors = mixed.basis.double(), mixed.factors.double()
    outside = torch.eye(len(basis)).double() - basis @ basis.T
    covariances = basis @ factors @ factors.mT @ basis.T + mixed.residual.double() ** 2 * outside
    means = mixed.centre + mixed.means.double() @ basis.T
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(mixed.shares.double()),
        torch.distributions.MultivariateNormal(means, covariances),
    )


# The distribution.


def test_a_point_is_the_mean_of_its_component_and_what_the_normals_add():
    mixed, e, component = known(), numbers(5, 6, seed=9), torch.tensor([0, 2, 1, 1, 0])
    basis = mixed.basis
    for i, k in enumerate(component.tolist()):
        along, outside = basis.T @ e[i], e[i] - basis @ (basis.T @ e[i])
        expected = mixed.centre + basis @ (mixed.means[k] + mixed.factors[k] @ along) + mixed.residual * outside
        torch.testing.assert_close(mixed.points(e, component)[i], expected)


def test_truncation_draws_towards_the_mean_of_the_component():
    mixed, e, component = known(), numbers(5, 6, seed=9), torch.tensor([0, 2, 1, 1, 0])
    means = mixed.centre + mixed.means[component] @ mixed.basis.T
    torch.testing.assert_close(mixed.points(e, component, 0.0), means)
    torch.testing.assert_close(mixed.points(e, component, 0.5), means.lerp(mixed.points(e, component), 0.5))


def test_a_point_is_the_same_in_a_batch_of_any_size():
    mixed, e, component = known(), numbers(50, 6, seed=9), torch.arange(50) % 3
    alone = torch.cat([mixed.points(e[i : i + 1], component[i : i + 1]) for i in range(50)])
    assert torch.equal(alone, mixed.points(e, component))


@given(st.floats(0, 1, exclude_max=True))
def test_a_component_is_drawn_as_often_as_its_share_says(uniform):
    found = known().component(torch.tensor([uniform], dtype=torch.float64)).item()
    start, end = [0, 0.5, 0.7, 1][found : found + 2]
    assert start - 1e-7 <= uniform <= end + 1e-7


def test_a_number_that_is_rounded_up_to_1_still_has_a_component():
    assert known().component(torch.tensor([0.99999999])).item() == 2


@given(st.floats(0, 1, exclude_max=True))
def test_a_component_without_a_share_is_never_drawn(uniform):
    mixed = known()
    mixed.shares.copy_(torch.tensor([0.0, 1.0, 0.0]))
    assert mixed.component(torch.tensor([uniform], dtype=torch.float64)).item() == 1


@pytest.mark.parametrize(("size", "components", "directions"), [(6, 3, 2), (6, 3, 6), (1, 1, 1), (20, 2, 5)])
def test_the_log_density_is_that_of_the_whole_covariance(size, components, directions):
    mixed, points = known(size, components, directions), 2 * numbers(50, size, seed=9)
    mixed.shares /= mixed.shares.sum()
    torch.testing.assert_close(
        mixed.log_density(points), as_a_whole(mixed).log_prob(points.double()), rtol=1e-4, atol=1e-5
    )


def test_points_are_drawn_from_the_density():
    mixed, stream = known(), np.random.RandomState(0)
    e, uniform = torch.from_numpy(stream.randn(40_000, 6)), torch.from_numpy(stream.rand(40_000))
    points, whole = mixed.points(e, mixed.component(uniform)).double(), as_a_whole(mixed)
    torch.testing.assert_close(points.mean(0), whole.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(points.var(0), whole.variance, rtol=0.05, atol=0)


# Fitting.


def test_the_fit_is_that_of_scikit_learn():
    fitted, points = fit(three_clouds(), 3, 4), three_clouds()
    order = fitted.shares.argsort(descending=True)
    means = (fitted.centre + fitted.means @ fitted.basis.T)[order]
    assert fitted.log_density(points).mean().item() == pytest.approx(SCORE, abs=2e-3)
    torch.testing.assert_close(fitted.shares[order], torch.tensor(SHARES), rtol=0, atol=0.02)
    torch.testing.assert_close(means, torch.tensor(MEANS), rtol=0, atol=0.1)


def test_run_to_its_end_the_fit_is_exactly_that_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(mixture, "MAX_ROUNDS", 2000)
    monkeypatch.setattr(mixture, "ENOUGH", 1e-10)
    fitted, points = fit(three_clouds(), 3, 4), three_clouds()
    order = fitted.shares.argsort(descending=True)
    means = (fitted.centre + fitted.means @ fitted.basis.T)[order]
    volumes = 2 * fitted.factors.diagonal(dim1=1, dim2=2).log().sum(1)[order]
    assert fitted.log_density(points).mean().item() == pytest.approx(SCORE, abs=1e-5)
    torch.testing.assert_close(fitted.shares[order], torch.tensor(SHARES), rtol=0, atol=1e-3)
    torch.testing.assert_close(means, torch.tensor(MEANS), rtol=0, atol=1e-3)
    torch.testing.assert_close(volumes, torch.tensor(VOLUMES), rtol=0, atol=1e-2)
    at = fitted.log_density(torch.tensor([[0.0] * 4, [1.0] * 4]))
    torch.testing.assert_close(at, torch.tensor(DENSITIES, dtype=torch.float64), rtol=0, atol=1e-2)


@pytest.mark.parametrize("directions", [4, 2])
def test_no_round_makes_the_samples_less_likely(monkeypatch, directions):
    monkeypatch.setattr(mixture, "ENOUGH", -1.0)
    likely = []
    for rounds in range(1, 40):
        monkeypatch.setattr(mixture, "MAX_ROUNDS", rounds)
        likely.append(fit(three_clouds(), 5, directions).log_density(three_clouds()).mean().item())
    assert all(after >= before - 1e-6 for before, after in pairwise(likely))
    assert likely[-1] > likely[0]


def test_ten_clouds_are_found_each_by_a_component_of_its_own():
    stream = np.random.RandomState(0)
    centres, which = 1.2 * stream.randn(10, 16), stream.randint(10, size=2000)
    points = torch.from_numpy(centres[which] + 0.3 * stream.randn(2000, 16)).float()
    fitted = fit(points, 10, 16)
    means = fitted.centre + fitted.means @ fitted.basis.T
    nearest = torch.cdist(torch.from_numpy(centres).float(), means)
    assert nearest.min(1).values.max() < 0.15
    assert sorted(nearest.argmin(1).tolist()) == list(range(10))


def test_points_of_the_fit_are_as_likely_as_the_samples():
    fitted, stream = fit(three_clouds(), 3, 2), np.random.RandomState(1)
    e, uniform = torch.from_numpy(stream.randn(600, 4)), torch.from_numpy(stream.rand(600))
    points = fitted.points(e, fitted.component(uniform))
    assert fitted.log_density(points).mean().item() == pytest.approx(
        fitted.log_density(three_clouds()).mean().item(), abs=0.2
    )


def test_the_same_seed_fits_the_same_mixture():
    first, second = (fit(three_clouds(), 8, 3, seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = fit(three_clouds(), 8, 3, seed=6).state_dict()
    assert not torch.equal(first["means"], other["means"])


def test_the_samples_are_left_as_they_were():
    points = three_clouds().double()
    fit(points, 3, 2)
    assert torch.equal(points, three_clouds().double())


def test_its_directions_are_the_principal_components():
    points = numbers(400, 8) * torch.tensor([3.0, 0.1, 0.1, 2.0, 0.1, 0.1, 0.1, 0.1])
    fitted = fit(points, 1, 2)
    assert fitted.basis[[0, 3], [0, 1]].min() > 0.99  # and their signs do not hang on the library
    torch.testing.assert_close(fitted.basis.T @ fitted.basis, torch.eye(2))
    assert fitted.residual.item() == pytest.approx(0.1, rel=0.05)


def test_a_latent_that_is_too_long_for_a_square_matrix_has_the_same_mixture(monkeypatch):
    points = numbers(150, 200) * torch.linspace(3, 0.1, 200)
    with_square = fit(points, 2, 5)
    monkeypatch.setattr(mixture, "MAX_FOR_DIRECTIONS", 150)
    without = fit(points, 2, 5)
    torch.testing.assert_close(without.basis, with_square.basis)
    torch.testing.assert_close(without.log_density(points), with_square.log_density(points), rtol=1e-5, atol=0)


def test_directions_in_which_nothing_varies_are_orthogonal_too(monkeypatch):
    monkeypatch.setattr(mixture, "MAX_FOR_DIRECTIONS", 150)
    fitted = fit(numbers(150, 2) @ numbers(2, 200, seed=1), 2, 5)
    torch.testing.assert_close(fitted.basis.T @ fitted.basis, torch.eye(5), atol=1e-5, rtol=0)


def test_many_samples_of_long_latents_need_no_square_matrix_of_either():
    points = numbers(3000, 3, seed=1) @ numbers(3, 2000, seed=2) + 0.1 * numbers(3000, 2000)
    fitted = fit(points, 2, 3)
    assert fitted.residual.item() == pytest.approx(0.1, rel=0.02)
    torch.testing.assert_close(fitted.basis.T @ fitted.basis, torch.eye(3), atol=1e-5, rtol=0)


# Files.


def test_a_mixture_comes_back_from_its_state_dict():
    fitted = fit(three_clouds(), 3, 2)
    opened = GaussianMixture(4, 3, 2)
    opened.load_state_dict(fitted.state_dict())
    assert {name: tuple(tensor.shape) for name, tensor in fitted.state_dict().items()} == {
        "shares": (3,),
        "centre": (4,),
        "basis": (4, 2),
        "means": (3, 2),
        "factors": (3, 2, 2),
        "residual": (),
    }
    assert torch.equal(opened.log_density(three_clouds()), fitted.log_density(three_clouds()))


def test_on_the_meta_device_it_takes_no_memory():
    with torch.device("meta"):
        assert GaussianMixture(2**20, 16, 128).basis.is_meta


@pytest.mark.parametrize(
    ("size", "components", "directions"),
    [(4, 0, 2), (4, 2, 0), (4, 2, 5), (0, 1, 0), (2**40, 1, 1), (2**20, 2**20, 2**20), (4, 2**40, 4), (-1, -1, -1)],
)
def test_a_mixture_that_cannot_be_is_refused(size, components, directions):
    with pytest.raises(InputError), torch.device("meta"):
        GaussianMixture(size, components, directions)


# Few samples and strange ones.


@pytest.mark.parametrize("count", [2, 3, 5, 9, 17, 33, 100])
@pytest.mark.parametrize("size", [1, 3, 40])
def test_of_few_samples_there_are_few_components(count, size):
    points = numbers(count, size)
    fitted = fit(points, 10, 16)
    components, directions = fitted.means.shape
    assert 1 <= directions <= min(16, size, count - 1)
    assert 1 <= components <= max(1, count // max(8, 2 * directions))
    assert fitted.log_density(points).isfinite().all()
    assert fitted.points(numbers(20, size), torch.zeros(20, dtype=torch.int64)).isfinite().all()


@pytest.mark.parametrize(
    "points",
    [
        torch.ones(100, 5),
        torch.zeros(100, 5),
        numbers(100, 5) * torch.tensor([1.0, 0, 0, 1, 0]),
        numbers(3, 5).repeat(50, 1),
        torch.cat([numbers(50, 5), numbers(1, 5).expand(50, 5)]),
        1e15 * numbers(100, 5),
        1e-15 * numbers(100, 5),
    ],
    ids=["ones", "zeros", "constant columns", "three different", "half the same", "huge", "tiny"],
)
@pytest.mark.parametrize("directions", [2, 5])
def test_degenerate_samples_have_a_mixture_too(points, directions):
    fitted = fit(points, 10, directions)
    assert all(tensor.isfinite().all() for tensor in fitted.state_dict().values())
    assert fitted.log_density(points).isfinite().all()
    assert fitted.shares.sum().item() == pytest.approx(1)
    drawn = fitted.points(numbers(200, 5), fitted.component(torch.linspace(0, 0.999, 200)))
    assert drawn.isfinite().all()
    # Where the samples do not go, neither do the points.
    assert (drawn.abs().amax(0) <= 6 * points.abs().amax(0) + 0.01 * points.abs().max() + 1e-18).all()


@pytest.mark.parametrize(
    ("count", "directions", "components"), [(15, 1, 1), (16, 1, 2), (31, 4, 3), (32, 4, 4), (39, 5, 3), (40, 5, 4)]
)
def test_a_component_has_eight_samples_and_twice_as_many_as_directions(count, directions, components):
    fitted = fit(numbers(count, 6), 5, directions)
    assert len(fitted.shares) == components
    assert fitted.basis.shape == (6, directions)


def test_samples_that_are_the_same_begin_no_second_component():
    different = 3 * numbers(30, 5)
    fitted = fit(different.repeat(20, 1), 40, 5)
    means = fitted.centre + fitted.means @ fitted.basis.T
    assert len(means) == 30
    assert torch.cdist(different.double(), means.double()).min(1).values.max() < 1e-3


def test_a_component_that_loses_its_samples_loses_its_share(monkeypatch):
    far = torch.tensor([[0.0, 0.0], [1e6, 1e6]], dtype=torch.float64)
    monkeypatch.setattr(mixture, "_apart", lambda along, components, stream: far)
    fitted = fit(numbers(100, 2), 2, 2)
    assert fitted.shares.tolist() == [1, 0]
    assert fitted.log_density(numbers(100, 2)).mean().item() == pytest.approx(-2.8, abs=0.2)
    assert fitted.component(torch.tensor([0.9999])).item() == 0


@pytest.mark.parametrize(
    ("points", "components", "directions"),
    [
        (torch.zeros(0, 4), 2, 2),
        (torch.zeros(1, 4), 2, 2),
        (torch.zeros(10, 0), 2, 2),
        (torch.zeros(10, 4, 1, 1), 2, 2),
        (torch.full((10, 4), math.nan), 2, 2),
        (torch.full((10, 4), math.inf), 2, 2),
        (torch.zeros(10, 4), 0, 2),
        (torch.zeros(10, 4), 2, 0),
    ],
)
def test_what_no_mixture_can_be_fitted_to_is_refused(points, components, directions):
    with pytest.raises(InputError):
        fit(points, components, directions)
