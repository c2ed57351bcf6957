"""The losses say what their papers say, and survive logits of any size."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_core.objectives import OBJECTIVES, gradient_penalty, hinge, log_loss, relativistic

# Beyond 15 the paper's own formula loses digits in 1 - D, which is why ours is written otherwise.
LOGITS = st.lists(st.tuples(st.floats(-15, 15), st.floats(-15, 15)), min_size=1, max_size=32)
EVERY_OBJECTIVE = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def split(pairs: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    real, fake = np.array(pairs, np.float64).T
    return real, fake


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


@given(LOGITS)
def test_log_loss_of_the_discriminator_is_the_formula_of_the_first_paper(pairs):
    real, fake = split(pairs)
    expected = -np.mean(np.log(sigmoid(real))) - np.mean(np.log(1 - sigmoid(fake)))
    loss = log_loss(torch.from_numpy(real), torch.from_numpy(fake))
    assert loss.discriminator.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(LOGITS)
def test_log_loss_of_the_generator_is_the_non_saturating_formula(pairs):
    real, fake = split(pairs)
    expected = -np.mean(np.log(sigmoid(fake)))
    loss = log_loss(torch.from_numpy(real), torch.from_numpy(fake))
    assert loss.generator.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(LOGITS)
def test_hinge_is_its_formula(pairs):
    real, fake = split(pairs)
    loss = hinge(torch.from_numpy(real), torch.from_numpy(fake))
    assert loss.discriminator.item() == pytest.approx(
        np.mean(np.maximum(0, 1 - real)) + np.mean(np.maximum(0, 1 + fake)), rel=1e-9, abs=1e-9
    )
    assert loss.generator.item() == pytest.approx(-np.mean(fake), rel=1e-9, abs=1e-9)


@given(LOGITS)
def test_relativistic_judges_each_real_logit_against_its_fake_one(pairs):
    real, fake = split(pairs)
    loss = relativistic(torch.from_numpy(real), torch.from_numpy(fake))
    assert loss.discriminator.item() == pytest.approx(np.mean(np.log1p(np.exp(fake - real))), rel=1e-9, abs=1e-9)
    assert loss.generator.item() == pytest.approx(np.mean(np.log1p(np.exp(real - fake))), rel=1e-9, abs=1e-9)


@EVERY_OBJECTIVE
@pytest.mark.parametrize("real", [-1e4, 1e4])
@pytest.mark.parametrize("fake", [-1e4, 1e4])
def test_huge_logits_give_finite_losses_and_gradients(objective, real, fake):
    logits = torch.tensor([[real], [fake]], requires_grad=True)
    loss = objective.loss(logits[0], logits[1])
    for player in (loss.discriminator, loss.generator):
        (gradient,) = torch.autograd.grad(player, logits, retain_graph=True)
        assert player.isfinite()
        assert gradient.isfinite().all()


def test_log_loss_still_teaches_a_generator_that_is_found_out():
    fake = torch.tensor([-1e4], requires_grad=True)
    log_loss(torch.tensor([1e4]), fake).generator.backward()
    assert fake.grad.item() == pytest.approx(-1)


@EVERY_OBJECTIVE
def test_losses_are_scalars_however_large_the_batch(objective):
    loss = objective.loss(torch.zeros(7), torch.zeros(7))
    assert loss.discriminator.shape == loss.generator.shape == ()


@EVERY_OBJECTIVE
def test_telling_real_from_fake_costs_the_discriminator_less(objective):
    high, low = torch.full((4,), 0.5), torch.full((4,), -0.5)
    assert objective.loss(high, low).discriminator < objective.loss(low, high).discriminator


def test_a_coin_toss_costs_log_two_for_each_question():
    loss = log_loss(torch.zeros(3), torch.zeros(3))
    assert loss.discriminator.item() == pytest.approx(2 * math.log(2))
    assert loss.generator.item() == pytest.approx(math.log(2))


def test_gradient_penalty_of_a_linear_discriminator_is_its_squared_slope():
    slope = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = torch.ones(5, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    logits = (slope * images).sum(dim=(1, 2, 3))
    assert gradient_penalty(logits, images).item() == pytest.approx(slope.square().sum().item())


def test_gradient_penalty_of_a_quadratic_discriminator_is_the_mean_over_images():
    images = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images.requires_grad_()
    logits = images.square().sum(dim=(1, 2, 3))  # whose gradient is 2 x
    expected = 4 * images.detach().square().sum(dim=(1, 2, 3)).mean()
    assert gradient_penalty(logits, images).item() == pytest.approx(expected.item())


def test_gradient_penalty_teaches_the_discriminator_a_smaller_slope():
    slope = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    images = torch.ones(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    gradient_penalty((slope * images).sum(dim=(1, 2, 3)), images).backward()
    # The penalty is 4 pixels times slope squared.
    assert slope.grad.item() == pytest.approx(2 * 4 * 3.0)
