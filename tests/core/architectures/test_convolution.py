"""Convolutions with fast second derivatives: equal to torch's, at every order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from gan_core.architectures.layers.convolution import Conv2d, convolution, transposed_convolution

PLANS = st.fixed_dictionaries(
    {
        "groups": st.integers(1, 3),
        "stride": st.sampled_from([(1, 1), (2, 1), (2, 2)]),
        "padding": st.sampled_from([(0, 0), (1, 0), (1, 1)]),
    }
)


def drawn(*shape: int) -> Tensor:
    random = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=random, dtype=torch.float64, requires_grad=True)


@given(PLANS, st.integers(1, 3), st.booleans())
@settings(max_examples=30)
def test_values_and_derivatives_up_to_the_third_are_torchs(plan: dict, kernel: int, channels_last: bool) -> None:
    groups = plan["groups"]
    x, weight, bias = drawn(2, 2 * groups, 5, 4), drawn(3 * groups, 2, kernel, kernel), drawn(3 * groups)
    if channels_last:
        x = x.detach().to(memory_format=torch.channels_last).requires_grad_()

    def derivatives(made: Tensor) -> list[Tensor]:
        found = [made]
        for _ in range(3):
            # Of something that is not linear in any of the three.
            (slope,) = torch.autograd.grad(found[-1].pow(3).sum(), x, create_graph=True)
            found.append(slope)
        of_all = torch.autograd.grad(found[-1].square().sum() + found[1].square().sum(), (x, weight, bias))
        return [*found, *of_all]

    ours = derivatives(convolution(x, weight, bias, **plan))
    theirs = derivatives(functional.conv2d(x, weight, bias, **plan))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.detach().abs().max() + 1))


@given(PLANS)
@settings(max_examples=15)
def test_a_transposed_one_is_its_gradient_at_the_input(plan: dict) -> None:
    groups = plan["groups"]
    x, weight = drawn(2, 2 * groups, 6, 4), drawn(3 * groups, 2, 2, 2)
    convolved = functional.conv2d(x, weight, **plan)
    slope = drawn(*convolved.shape)
    (expected,) = torch.autograd.grad(convolved, x, slope)
    assert torch.allclose(transposed_convolution(slope, weight, (6, 4), **plan), expected)
    assert torch.autograd.gradcheck(lambda *of: transposed_convolution(*of, (6, 4), **plan), (slope, weight))


def test_what_is_not_asked_for_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_core.architectures.layers.convolution import _Plan

    wanted, gradients = [], _Plan.gradients

    def counted(self: _Plan, *of: object) -> object:
        wanted.append(of[-1])
        return gradients(self, *of)

    monkeypatch.setattr(_Plan, "gradients", counted)
    x, layer = drawn(1, 2, 4, 4), Conv2d(2, 3, 3).double()
    (slope,) = torch.autograd.grad(layer(x).pow(2).sum(), x, create_graph=True)
    assert wanted == [(True, False, False)]
    wanted.clear()
    layer(x.detach()).sum().backward()
    assert wanted == [(False, True, True)]
    wanted.clear()
    slope.sum().backward()
    assert sorted(wanted) == [(False, True, False), (False, True, True), (True, False, False)]


@pytest.mark.parametrize("groups", [1, 2])
def test_autocast_is_torchs(groups: int) -> None:
    torch.manual_seed(0)
    theirs = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=groups)
    ours = Conv2d(8, 8, 3, stride=2, padding=1, groups=groups)
    ours.load_state_dict(theirs.state_dict())
    found = []
    for layer in (ours, theirs):
        x = torch.linspace(-1, 1, 2 * 8 * 64).reshape(2, 8, 8, 8).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            made = layer(x)
        (slope,) = torch.autograd.grad(made.float().pow(2).sum(), x, create_graph=True)
        slope.square().sum().backward()
        assert made.dtype == torch.bfloat16 and slope.dtype == layer.weight.grad.dtype == torch.float32
        found.append((made, slope, layer.weight.grad, layer.bias.grad, x.grad))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=0.05, atol=0.01 * float(other.abs().max()))


def test_without_gradients_and_under_inference_mode() -> None:
    layer = Conv2d(2, 3, 3, padding=1)
    x = torch.ones(1, 2, 4, 4)
    with torch.inference_mode():
        assert torch.equal(layer(x), functional.conv2d(x, layer.weight, layer.bias, padding=1))
    with torch.no_grad():
        assert not layer(x).requires_grad
