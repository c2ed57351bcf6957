"""The low-pass filter: equal to a depthwise convolution at every order, in groups of any size."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gan_core.architectures.layers import resampling
from gan_core.architectures.layers.resampling import blurred, doubled, halved, low_pass, smoothed

SIDE = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
FILTER = SIDE[:, None] * SIDE


def depthwise(x: Tensor, gain: float, stride: int, padding: int) -> Tensor:
    weight = (gain * FILTER).expand(x.shape[1], 1, 4, 4)
    return functional.conv2d(x, weight, stride=stride, padding=padding, groups=x.shape[1])


def depthwise_doubled(x: Tensor) -> Tensor:
    weight = (4 * FILTER).expand(x.shape[1], 1, 4, 4)
    return functional.conv_transpose2d(x, weight, stride=2, padding=1, groups=x.shape[1])


class Pair(NamedTuple):
    """A function of ours, and what torch makes of it feature by feature."""

    ours: Callable[[Tensor], Tensor]
    torchs: Callable[[Tensor], Tensor]


PAIRS = {
    "smoothed": Pair(lambda x: smoothed(x, None), lambda x: depthwise(x, 4, 1, 1)),
    "doubled": Pair(doubled, depthwise_doubled),
    "halved": Pair(halved, lambda x: depthwise(x, 1, 2, 1)),
    "blurred": Pair(lambda x: blurred(x, padding=2), lambda x: depthwise(x, 1, 1, 2)),
}


@pytest.fixture(params=["feature by feature", "in groups"])
def grouped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether features are filtered in groups, as they are on CUDA in bfloat16."""
    in_groups = request.param == "in groups"
    if in_groups:
        monkeypatch.setattr(resampling, "slow_by_feature", lambda x: True)
    return in_groups


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("channels", [3, 8, 16, 24, 48])
@pytest.mark.parametrize("size", [(5, 4), (7, 9)])
def test_values_and_derivatives_up_to_the_third_are_torchs(
    name: str, channels: int, size: tuple[int, int], grouped: bool
) -> None:
    random = torch.Generator().manual_seed(channels)
    x = torch.randn(2, channels, *size, generator=random, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last).requires_grad_()

    def derivatives(filtered: Callable[[Tensor], Tensor]) -> list[Tensor]:
        found = [filtered(x)]
        for _ in range(3):
            found += torch.autograd.grad(found[-1].pow(3).sum(), x, create_graph=True)
        return found

    for one, other in zip(derivatives(PAIRS[name].ours), derivatives(PAIRS[name].torchs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.detach().abs().max() + 1))


@pytest.mark.parametrize(("channels", "group"), [(1, 1), (3, 1), (8, 8), (16, 16), (24, 8), (48, 16)])
def test_groups_are_as_large_as_divides_the_features(
    channels: int, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "slow_by_feature", lambda x: True)
    seen, convolution = [], resampling.convolution

    def watched(x: Tensor, weight: Tensor, *of: object) -> Tensor:
        seen.append((tuple(weight.shape), of[-1], weight.requires_grad))
        return convolution(x, weight, *of)

    monkeypatch.setattr(resampling, "convolution", watched)
    halved(torch.ones(1, channels, 4, 4, requires_grad=True))
    assert seen == [((channels, group, 4, 4), channels // group, False)]


def test_features_are_filtered_one_by_one_on_the_cpu() -> None:
    assert not any(
        resampling.slow_by_feature(torch.ones(1, 16, 4, 4, dtype=of)) for of in (torch.float32, torch.bfloat16)
    )


@pytest.mark.parametrize("name", PAIRS)
def test_in_bfloat16_groups_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of small whole numbers all sums are exact, whatever their order.
    x = torch.randint(-4, 5, (1, 32, 6, 6), generator=torch.Generator().manual_seed(0)).bfloat16()
    alone = PAIRS[name].ours(x)
    monkeypatch.setattr(resampling, "slow_by_feature", lambda x: True)
    assert torch.equal(PAIRS[name].ours(x), alone)


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_the_taps_are_exact_in_bfloat16(gain: float) -> None:
    assert torch.equal(low_pass(gain, dtype=torch.bfloat16).double(), gain * FILTER)


@pytest.mark.parametrize("name", PAIRS)
def test_features_in_half_precision_come_back_so(name: str) -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert PAIRS[name].ours(x).dtype == torch.float32
        assert PAIRS[name].ours(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("resampled", [doubled, halved])
def test_features_in_half_precision_are_resampled_in_full_on_the_cpu(resampled: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resampled(x), resampled(x.float()).bfloat16())


@pytest.mark.parametrize("name", PAIRS)
def test_the_filter_has_no_gradient_of_its_own(name: str, grouped: bool) -> None:
    """A convolution forward, one back, and one forward again for the second derivative: none for a weight."""
    x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    PAIRS[name].ours(x)  # so that the filter exists
    with torch.profiler.profile() as profile:
        (slope,) = torch.autograd.grad(PAIRS[name].ours(x).pow(2).sum(), x, create_graph=True)
        slope.square().sum().backward()
    counts = {event.key: event.count for event in profile.key_averages()}
    found = counts.get("aten::convolution", 0), counts.get("aten::convolution_backward", 0)
    assert sorted(found) == [2, 2]
    assert "aten::new_zeros" not in counts and "aten::slice" not in counts


def test_the_filter_can_be_used_in_training_after_inference() -> None:
    x = torch.ones(1, 5, 8, 8)
    with torch.inference_mode():
        doubled(x)
    (slope,) = torch.autograd.grad(doubled(x.requires_grad_()).sum(), x)
    assert slope.any()


def test_a_bias_is_added_and_learns(grouped: bool) -> None:
    random = torch.Generator().manual_seed(0)
    x, bias = (torch.randn(*of, generator=random, dtype=torch.float64) for of in ((2, 8, 5, 5), (8,)))
    bias.requires_grad_()
    made = smoothed(x, bias)
    torch.testing.assert_close(made, depthwise(x, 4, 1, 1) + bias[:, None, None])
    made.sum().backward()
    assert bias.grad is not None and torch.equal(bias.grad, torch.full_like(bias, 2 * 4 * 4))
