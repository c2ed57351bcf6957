"""The losses say what their papers say, and survive logits of any size."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_core.losses.adversarial import OBJECTIVES, hinge, lecam, log_loss, relativistic, wasserstein
from gan_core.losses.gradient_penalties import (
    finite_difference_penalty,
    gradient_penalty,
    image_gradients,
    interpolate,
    wgan_gp_penalty,
)

# Beyond 15 the paper's own formula loses digits in 1 - D, which is why ours is written otherwise.
LOGITS = st.lists(st.tuples(st.floats(-15, 15), st.floats(-15, 15)), min_size=1, max_size=32)
EVERY_OBJECTIVE = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


@given(LOGITS)
def test_wasserstein_is_the_difference_of_the_means(pairs):
    real, fake = split(pairs)
    loss = wasserstein(torch.from_numpy(real), torch.from_numpy(fake))
    assert loss.discriminator.item() == pytest.approx(np.mean(fake) - np.mean(real), rel=1e-9, abs=1e-9)
    assert loss.generator.item() == pytest.approx(-np.mean(fake), rel=1e-9, abs=1e-9)


@EVERY_OBJECTIVE
def test_an_objective_is_anchored_where_a_number_added_to_all_logits_changes_the_loss(objective):
    real, fake = torch.tensor([0.3, -0.2]), torch.tensor([-0.4, 0.1])
    before, after = (objective.loss(real + moved, fake + moved).discriminator.item() for moved in (0.0, 2.0))
    assert objective.anchored == (after != pytest.approx(before))


@EVERY_OBJECTIVE
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_the_gradient_of_a_loss_is_that_of_finite_differences(objective, player):
    logits = [torch.randn(6, generator=stream(), dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda real, fake: getattr(objective.loss(real, fake), player), logits)


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


def test_gradient_penalty_of_a_linear_discriminator_is_its_squared_gradient():
    weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = torch.ones(5, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    logits = (weight * images).sum(dim=(1, 2, 3))
    assert gradient_penalty(image_gradients(logits, images)).item() == pytest.approx(weight.square().sum().item())


def test_gradient_penalty_of_a_quadratic_discriminator_is_the_mean_over_images():
    images = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images.requires_grad_()
    logits = images.square().sum(dim=(1, 2, 3))  # whose gradient is 2 x
    expected = 4 * images.detach().square().sum(dim=(1, 2, 3)).mean()
    assert gradient_penalty(image_gradients(logits, images)).item() == pytest.approx(expected.item())


def test_gradient_penalty_reduces_the_discriminators_gradient():
    weight = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    images = torch.ones(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    gradient_penalty(image_gradients((weight * images).sum(dim=(1, 2, 3)), images)).backward()
    # The penalty is 4 pixels times the squared weight.
    assert weight.grad.item() == pytest.approx(2 * 4 * 3.0)


# Penalties of a smooth discriminator of little images, in float64.

IMAGES = torch.randn(3, 2, 2, 2, generator=stream(1), dtype=torch.float64)
LAYER = torch.randn(8, 5, generator=stream(2), dtype=torch.float64)
HEAD = torch.randn(5, generator=stream(3), dtype=torch.float64)


def discriminator(images: torch.Tensor, layer: torch.Tensor = LAYER) -> torch.Tensor:
    return (images.flatten(1) @ layer).tanh() @ HEAD


def numeric_gradients(images: torch.Tensor, step: float = 1e-6) -> np.ndarray:
    """Each image's gradient by central differences, [N, pixels]."""
    columns = []
    for pixel in range(images[0].numel()):
        move = torch.zeros(images[0].numel(), dtype=torch.float64)
        move[pixel] = step
        move = move.view(images[0].shape)
        columns.append((discriminator(images + move) - discriminator(images - move)) / (2 * step))
    return torch.stack(columns, dim=1).numpy()


def test_gradient_penalty_is_that_of_finite_differences():
    images = IMAGES.clone().requires_grad_()
    expected = np.mean(np.sum(numeric_gradients(IMAGES) ** 2, axis=1))
    assert gradient_penalty(image_gradients(discriminator(images), images)).item() == pytest.approx(expected, rel=1e-6)


def test_wgan_gp_penalty_is_that_of_finite_differences():
    images = IMAGES.clone().requires_grad_()
    expected = np.mean((np.linalg.norm(numeric_gradients(IMAGES), axis=1) - 1) ** 2)
    assert wgan_gp_penalty(image_gradients(discriminator(images), images)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("penalty", [gradient_penalty, wgan_gp_penalty])
def test_the_gradient_of_a_penalty_is_that_of_finite_differences(penalty):
    def of_weights(layer: torch.Tensor) -> torch.Tensor:
        images = IMAGES.clone().requires_grad_()
        return penalty(image_gradients(discriminator(images, layer), images))

    assert torch.autograd.gradcheck(of_weights, LAYER.clone().requires_grad_())


def test_the_gradient_of_an_estimated_penalty_is_that_of_finite_differences():
    signs = torch.randint(0, 2, IMAGES.shape, generator=stream()) * 2 - 1

    def of_weights(layer: torch.Tensor) -> torch.Tensor:
        return finite_difference_penalty(
            discriminator(IMAGES, layer), discriminator(IMAGES + 0.01 * signs, layer), 0.01
        )

    assert torch.autograd.gradcheck(of_weights, LAYER.clone().requires_grad_())


def mean_estimate(step: float) -> float:
    """Mean of the estimate over all directions of +1 and -1."""
    logits, pixels = discriminator(IMAGES), IMAGES[0].numel()
    directions = [torch.tensor(signs, dtype=torch.float64) for signs in itertools.product((-1, 1), repeat=pixels)]
    estimates = [
        finite_difference_penalty(logits, discriminator(IMAGES + step * direction.view(IMAGES[0].shape)), step)
        for direction in directions
    ]
    return torch.stack(estimates).mean().item()


def test_an_estimated_penalty_is_right_on_average_but_for_the_square_of_its_step():
    images = IMAGES.clone().requires_grad_()
    exact = gradient_penalty(image_gradients(discriminator(images), images)).item()
    assert mean_estimate(1e-4) == pytest.approx(exact, rel=1e-6)
    wrong, less = (mean_estimate(step) - exact for step in (0.02, 0.01))
    assert wrong / less == pytest.approx(4, rel=0.02)


def test_a_critic_with_gradient_norm_one_is_not_penalised_and_a_flat_one_can_learn():
    weight = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    weight[..., 0, 0] = 1
    images = torch.ones(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert wgan_gp_penalty(image_gradients((weight * images).sum(dim=(1, 2, 3)), images)).item() == 0
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    flat = wgan_gp_penalty(image_gradients((scale * weight * images).sum(dim=(1, 2, 3)), images))
    assert flat.item() == 1
    flat.backward()
    assert scale.grad.isfinite()


def test_interpolated_images_lie_on_the_line_from_fake_to_real():
    real, fake = torch.full((3, 1, 2, 2), 4.0), torch.full((3, 1, 2, 2), -4.0)
    images = interpolate(real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert images[:, 0, 0, 0].tolist() == [-4, -2, 4]


@given(LOGITS, st.floats(-3, 3), st.floats(-3, 3))
def test_lecam_is_its_formula(pairs, real_mean, fake_mean):
    real, fake = split(pairs)
    expected = np.mean(np.maximum(0, real - fake_mean) ** 2) + np.mean(np.maximum(0, real_mean - fake) ** 2)
    means = (torch.tensor(mean, dtype=torch.float64) for mean in (real_mean, fake_mean))
    assert lecam(torch.from_numpy(real), torch.from_numpy(fake), *means).item() == pytest.approx(expected, abs=1e-9)


def test_lecam_pulls_large_logits_towards_the_other_kind():
    real, fake = torch.tensor([5.0], requires_grad=True), torch.tensor([-5.0], requires_grad=True)
    lecam(real, fake, torch.tensor(4.0), torch.tensor(-4.0)).backward()
    assert (real.grad.item(), fake.grad.item()) == (18, -18)
