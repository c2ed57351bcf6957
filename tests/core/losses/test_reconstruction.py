"""The losses of a VAE are what their papers say, in nats, and their gradients are those of their values."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from gan_core.losses.reconstruction import (
    LIKELIHOODS,
    LOSSES,
    MIN_SCALE,
    active_units,
    adaptive_weight,
    bernoulli,
    free_bits,
    gaussian,
    kl,
    laplace,
    multiscale,
    multiscale_l1,
    warm_up,
)

VALUES = st.lists(st.tuples(st.floats(-30, 30), st.floats(-1, 1)), min_size=1, max_size=32)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape))


def images(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, shape))


# Likelihoods.


@given(VALUES)
def test_bernoulli_is_the_cross_entropy_of_every_pixel_summed(pairs):
    logits, pixels = np.array(pairs, np.float64).T
    white = (pixels + 1) / 2
    expected = (white * np.logaddexp(0, -logits) + (1 - white) * np.logaddexp(0, logits)).sum()
    loss = bernoulli(torch.from_numpy(logits).view(1, 1, 1, -1), torch.from_numpy(pixels).view(1, 1, 1, -1))
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_bernoulli_is_the_likelihood_of_the_probability_that_the_output_shows():
    logits, black_and_white = numbers(3, 1, 4, 4), images(3, 1, 4, 4).sign()
    shown = (torch.tanh(logits / 2) + 1) / 2
    likelihood = torch.where(black_and_white > 0, shown, 1 - shown)
    assert bernoulli(logits, black_and_white).item() == pytest.approx(-likelihood.log().sum().item() / 3)


def test_grey_costs_what_the_images_drawn_from_it_cost_on_average():
    logits, grey = numbers(1, 1, 1, 3), images(1, 1, 1, 3)
    white = (grey + 1) / 2
    expected = 0.0
    for drawn in range(8):
        pixels = torch.tensor([drawn >> place & 1 for place in range(3)], dtype=torch.float64).view(1, 1, 1, 3)
        expected += (torch.where(pixels > 0, white, 1 - white).prod() * bernoulli(logits, 2 * pixels - 1)).item()
    assert bernoulli(logits, grey).item() == pytest.approx(expected)


def test_an_undecided_pixel_costs_log_two():
    assert bernoulli(torch.zeros(5, 1, 4, 4), torch.ones(5, 1, 4, 4)).item() == pytest.approx(16 * math.log(2))


def test_huge_logits_cost_what_they_are_wrong_by():
    assert bernoulli(torch.tensor([[[[1e4, -1e4]]]]), -torch.ones(1, 1, 1, 2)).item() == pytest.approx(1e4)


def test_gaussian_at_its_best_scale_is_the_formula_of_sigma_vae():
    output, real = images(4, 3, 5, 6), images(4, 3, 5, 6, seed=2)
    mse = (output - real).square().mean().item()
    assert gaussian(output, real).item() == pytest.approx(90 / 2 * math.log(2 * math.pi * math.e * mse))


def test_laplace_at_its_best_scale_is_its_formula():
    output, real = images(4, 3, 5, 6), images(4, 3, 5, 6, seed=2)
    mae = (output - real).abs().mean().item()
    assert laplace(output, real).item() == pytest.approx(90 * math.log(2 * math.e * mae))


@pytest.mark.parametrize(
    ("loss", "distribution"),
    [(gaussian, torch.distributions.Normal), (laplace, torch.distributions.Laplace)],
    ids=["gaussian", "laplace"],
)
def test_a_given_scale_is_that_of_the_distribution(loss, distribution):
    output, real = images(4, 3, 5, 6), images(4, 3, 5, 6, seed=2)
    expected = -distribution(output, 0.3).log_prob(real).sum() / 4
    assert loss(output, real, 0.3).item() == pytest.approx(expected.item())
    assert loss(output, real, torch.tensor(0.3)).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("loss", [gaussian, laplace])
@given(scale=st.floats(0.01, 10))
def test_no_other_scale_is_better_for_the_batch(loss, scale):
    output, real = images(4, 3, 5, 6), images(4, 3, 5, 6, seed=2)
    assert loss(output, real) <= loss(output, real, scale) + 1e-9


@pytest.mark.parametrize("loss", [gaussian, laplace, multiscale])
def test_perfect_images_cost_no_less_than_their_grey_levels_allow(loss):
    """Otherwise the likelihood of a reproduced image would be infinite, and so would its gradient."""
    real = images(2, 1, 4, 4).requires_grad_()
    value = loss(real, real.detach())
    value.backward()
    assert value.item() / 16 > -math.log(127.5) - 1e-9  # the probability of a grey level is not above 1
    assert real.grad.isfinite().all()


def test_perfect_images_cost_what_half_a_grey_level_of_noise_would():
    real = images(2, 1, 4, 4)
    assert gaussian(real, real).item() == pytest.approx(16 * (math.log(1 / 255) + math.log(2 * math.pi) / 2))
    assert laplace(real, real).item() == multiscale(real, real).item() == pytest.approx(16 * math.log(2 / 255))


@pytest.mark.parametrize("loss", [gaussian, laplace, multiscale])
def test_below_the_smallest_scale_an_error_still_has_a_gradient(loss):
    output = torch.full((2, 1, 4, 4), MIN_SCALE / 10, requires_grad=True)
    loss(output, torch.zeros(2, 1, 4, 4)).backward()
    assert (output.grad > 0).all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_losses_are_summed_over_the_image_and_averaged_over_the_batch(loss):
    output, real = images(1, 2, 8, 8), images(1, 2, 8, 8, seed=2)
    alone = loss(output, real)
    assert loss(output.expand(5, -1, -1, -1), real.expand(5, -1, -1, -1)).item() == pytest.approx(alone.item())
    # Copies of the image below it, in which no window of a coarser scale meets two.
    assert loss(output.repeat(1, 1, 9, 1), real.repeat(1, 1, 9, 1)).item() == pytest.approx(9 * alone.item())


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_likelihood_of_each_image_is_its_own(name):
    output, real = images(3, 2, 4, 4), images(3, 2, 4, 4, seed=2)
    of_each = LIKELIHOODS[name].of_each(output, real, 0.5)
    alone = [LIKELIHOODS[name].of_each(output[i : i + 1], real[i : i + 1], 0.5) for i in range(3)]
    torch.testing.assert_close(of_each, torch.cat(alone))


@pytest.mark.parametrize("loss", [*LOSSES.values(), multiscale_l1])
def test_gradients_are_those_of_the_values(loss):
    output, real = images(2, 2, 3, 5).requires_grad_(), images(2, 2, 3, 5, seed=2)
    assert gradcheck(lambda output: loss(output, real), output)


@pytest.mark.parametrize("loss", [*LOSSES.values(), multiscale_l1])
def test_half_precision_is_left_before_anything_is_added_up(loss):
    output, real = images(2, 3, 32, 32).bfloat16(), images(2, 3, 32, 32, seed=2).bfloat16()
    value = loss(output, real)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(output.double(), real.double()).item(), rel=1e-5)


# The KL divergence.


@given(st.floats(-5, 5), st.floats(-8, 3))
def test_kl_is_that_of_the_two_distributions(mean, log_variance):
    mean, log_variance = torch.tensor([[mean]]).double(), torch.tensor([[log_variance]]).double()
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    assert kl(mean, log_variance).item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)


def test_kl_of_a_spatial_latent_has_a_row_for_each_image():
    mean, log_variance = numbers(2, 3, 4, 5), numbers(2, 3, 4, 5, seed=1)
    rows = kl(mean, log_variance)
    assert rows.shape == (2, 60)
    torch.testing.assert_close(rows[1], kl(mean[1].view(1, -1), log_variance[1].view(1, -1))[0])


def test_kl_of_a_nearly_collapsed_unit_keeps_its_digits():
    # To second order it is v^2 / 4; taken from exp(v) - 1 - v in float32 nothing would be left of it.
    value = kl(torch.zeros(1, 1), torch.full((1, 1), 1e-3))
    assert value.item() == pytest.approx(1e-6 / 4, rel=0.01)


def test_gradients_of_the_kl_are_those_of_its_values():
    mean, log_variance = numbers(3, 4).requires_grad_(), numbers(3, 4, seed=1).requires_grad_()
    assert gradcheck(kl, (mean, log_variance))
    assert gradcheck(lambda mean, log_variance: free_bits(kl(mean, log_variance), 0.5), (mean, log_variance))


def test_without_free_bits_the_kl_is_the_sum():
    rows = kl(numbers(3, 4), numbers(3, 4, seed=1))
    assert free_bits(rows, 0).item() == pytest.approx(rows.sum().item() / 3)


def test_free_bits_are_counted_on_the_average_of_the_batch_and_for_each_dimension():
    rows = torch.tensor([[0.0, 3.0, 0.1], [1.2, 5.0, 0.1]], requires_grad=True)
    value = free_bits(rows, 0.5)
    assert value.item() == pytest.approx(0.6 + 4.0 + 0.5)
    value.backward()
    assert rows.grad.tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0]]


def test_the_kl_is_warmed_up_from_nothing_to_all():
    assert [warm_up(images, 1000) for images in (0, 250, 1000, 10**9)] == [0, 0.25, 1, 1]
    assert warm_up(0, 0) == 1


# Perceptual terms.


def test_multiscale_l1_is_the_mean_over_the_scales():
    difference = torch.zeros(1, 1, 4, 4)
    difference[0, 0, :2, :2] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])  # which a pixel of half the size does not see
    difference[0, 0, 2:, 2:] = 1
    expected = (8 / 16 + 1 / 4 + 1 / 4) / 3
    assert multiscale_l1(difference, torch.zeros(1, 1, 4, 4), scales=3).item() == pytest.approx(expected)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6))
def test_multiscale_l1_of_a_constant_difference_is_that_difference_at_any_size(height, width, scales):
    value = multiscale_l1(torch.full((1, 1, height, width), 0.75), torch.full((1, 1, height, width), 0.25), scales)
    assert value.item() == pytest.approx(0.5)


def test_multiscale_l1_of_one_scale_is_l1():
    output, real = images(2, 3, 7, 9), images(2, 3, 7, 9, seed=2)
    assert multiscale_l1(output, real, scales=1).item() == pytest.approx((output - real).abs().mean().item())


def test_multiscale_is_as_large_as_laplace_and_sees_what_lies_beside():
    constant, none = torch.full((2, 3, 16, 16), 0.2).double(), torch.zeros(2, 3, 16, 16)
    assert multiscale(constant, none).item() == pytest.approx(laplace(constant, none).item())
    pattern = 0.2 * (-1.0) ** torch.arange(16.0).expand(2, 3, 16, 16)  # whose halves are all the same
    assert multiscale(pattern, none).item() == pytest.approx(3 * 256 * math.log(2 * math.e * 0.2 / 4), rel=1e-5)


def test_the_adaptive_weight_makes_both_gradients_equally_long():
    reconstruction, adversarial = numbers(3, 4, 3, 3), 1e-2 * numbers(3, 4, 3, 3, seed=1)
    weight = adaptive_weight(reconstruction, adversarial)
    assert (weight * adversarial).norm().item() == pytest.approx(reconstruction.norm().item(), rel=1e-4)
    assert not adaptive_weight(reconstruction.requires_grad_(), adversarial).requires_grad


def test_the_adaptive_weight_is_bounded_and_never_undefined():
    assert adaptive_weight(torch.ones(3), torch.zeros(3)).item() == 1e4
    assert adaptive_weight(torch.zeros(3), torch.zeros(3)).item() == 0


# Collapse.


def test_units_that_do_not_follow_the_data_are_not_active():
    means = torch.cat([numbers(1000, 3) * torch.tensor([1.0, 0.11, 0.09]), torch.full((1000, 1), 7.0)], dim=1)
    assert active_units(means).tolist() == [True, True, False, False]


def test_units_of_a_spatial_latent_are_counted_one_by_one():
    assert active_units(numbers(50, 4, 2, 3)).shape == (24,)


def test_the_variance_is_that_of_the_images_themselves():
    assert active_units(torch.tensor([[0.09, 0.11], [-0.09, -0.11]])).tolist() == [False, True]
    assert not active_units(numbers(1, 8)).any()


def test_warm_up_never_falls():
    assert all(before <= after for before, after in pairwise(warm_up(images, 777) for images in range(1000)))
