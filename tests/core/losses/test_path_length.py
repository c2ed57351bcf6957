"""Path length against Jacobians that are known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_core.losses import path_length
from gan_core.losses.path_length import path_lengths


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(count: int, layers: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images [N, 2, H, W] that are a matrix times all styles of the layers, those styles, and the matrix."""
    jacobian = torch.randn(2 * height * width, layers * 3, generator=stream(1), dtype=torch.float64)
    styles = torch.randn(count, layers, 3, generator=stream(2), dtype=torch.float64, requires_grad=True)
    images = (styles.flatten(1) @ jacobian.T).unflatten(1, (2, height, width))
    return images, styles, jacobian


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_a_length_is_that_of_the_jacobian_times_a_random_direction(
    count: int, layers: int, height: int, width: int
) -> None:
    images, styles, jacobian = linear(count, layers, height, width)
    direction = torch.randn(images.shape, generator=stream(3), dtype=torch.float64) / math.sqrt(height * width)
    expected = (direction.flatten(1) @ jacobian).square().sum(dim=1).div(layers).sqrt()
    torch.testing.assert_close(path_lengths(images, styles, stream(3)), expected, rtol=1e-12, atol=0)


def test_on_average_it_is_the_size_of_the_jacobian() -> None:
    images, styles, jacobian = linear(20000, 2, 2, 3)
    expected = jacobian.square().sum() / (2 * 3) / 2  # pixels, layers
    lengths = path_lengths(images, styles, stream())
    assert lengths.square().mean().item() == pytest.approx(expected.item(), rel=0.02)


def test_the_penalty_is_the_spread_about_the_running_mean() -> None:
    cost, mean = path_length.penalty(torch.tensor([1.0, 3.0]), torch.tensor(4.0))
    assert mean.item() == pytest.approx(3.98)
    assert cost.item() == pytest.approx(((1 - 3.98) ** 2 + (3 - 3.98) ** 2) / 2)
    for _ in range(1000):
        cost, mean = path_length.penalty(torch.tensor([2.0, 2.0]), mean)
    assert mean.item() == pytest.approx(2, abs=1e-3) and cost.item() < 1e-5


def test_its_gradient_is_that_of_the_function() -> None:
    weight = torch.randn(8, 3, generator=stream(1), dtype=torch.float64, requires_grad=True)
    styles = torch.randn(2, 1, 3, generator=stream(2), dtype=torch.float64, requires_grad=True)

    def cost(weight: torch.Tensor) -> torch.Tensor:
        images = (styles.flatten(1) @ weight.T).tanh().unflatten(1, (2, 2, 2))
        lengths = path_lengths(images, styles, stream(3))
        return path_length.penalty(lengths, torch.tensor(0.5, dtype=torch.float64))[0]

    # The running mean is held fixed in the gradient; its share of 0.01 is all that a difference sees of it.
    analytic = torch.autograd.grad(cost(weight), weight)[0]
    with torch.no_grad():
        step = 1e-6
        for place in ((0, 0), (3, 1), (7, 2)):
            moved = weight.detach().clone()
            moved[place] += step
            with torch.enable_grad():
                numeric = (cost(moved) - cost(weight)) / step
            assert numeric.item() == pytest.approx(analytic[place].item(), rel=0.05, abs=1e-4)
