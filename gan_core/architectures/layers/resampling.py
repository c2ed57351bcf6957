"""Resampling with the separable filter [1, 3, 3, 1] of StyleGAN2 and R3GAN.

Each feature is filtered by itself. In bfloat16 and channels-last memory cuDNN is slow at such depthwise convolutions:
on an H200 one of [32, 256, 64, 64] took 2.65 ms, where a copy takes 0.035 ms. Convolutions with 16 features in a group
are nearly as fast as a copy there, so a group is filtered by a weight that is zero off its diagonal. The taps are exact
in bfloat16, and the zeros add nothing.
"""

import torch
from torch import Tensor

from ...platforms import constant, full_precision, memory_format
from .convolution import Pair, convolution, transposed_convolution
from .weights import computed_in

TAPS = (1.0, 3.0, 3.0, 1.0)
"""Filter along one side, up to a gain."""

GROUPS = (16, 8)
"""Features in a group where depthwise convolutions are slow; the first that divides the number of features."""


def smoothed(x: Tensor, bias: Tensor | None) -> Tensor:
    """Filters x [N, C, H + 1, W + 1] along both sides with a gain of 4, to [N, C, H, W]: features that were upsampled
    by inserted zeros."""
    return _filtered(x, 4.0, (1, 1), (1, 1), bias)


def doubled(x: Tensor) -> Tensor:
    """Upsamples by 2, bilinearly, with zero padding: [N, C, H, W] -> [N, C, 2H, 2W]."""
    x, weight, groups = _prepared(x, 4.0)
    size = 2 * x.shape[2], 2 * x.shape[3]
    with full_precision(x.device):
        return transposed_convolution(x, weight, size, (2, 2), (1, 1), groups)


def halved(x: Tensor) -> Tensor:
    """Downsamples by 2 without aliasing, with zero padding: [N, C, 2H, 2W] -> [N, C, H, W]."""
    return blurred(x, padding=1, stride=2)


def blurred(x: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Low-pass filter along both sides with a gain of 1, for downsampling without aliasing.

    x: [N, C, H, W]. Returns [N, C, H + 2 padding - 3, W + 2 padding - 3], or every stride-th pixel of it.
    """
    return _filtered(x, 1.0, (stride, stride), (padding, padding))


def low_pass(gain: float, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """The filter along both sides, [4, 4], whose sum is `gain`. It is computed on the device: a GPU would wait for a
    copy from the host."""
    side = torch.cat([torch.full((1,), tap / sum(TAPS), device=device, dtype=dtype) for tap in TAPS])
    return side[:, None] * side * gain


def slow_by_feature(x: Tensor) -> bool:
    """Whether a depthwise convolution of x is slower than one of groups. Unmeasured in float32 on CUDA."""
    return x.device.type == "cuda" and x.dtype in (torch.bfloat16, torch.float16)


def _filtered(x: Tensor, gain: float, stride: Pair, padding: Pair, bias: Tensor | None = None) -> Tensor:
    x, weight, groups = _prepared(x, gain)
    with full_precision(x.device):
        return convolution(x, weight, None if bias is None else bias.to(x.dtype), stride, padding, groups)


def _prepared(x: Tensor, gain: float) -> tuple[Tensor, Tensor, int]:
    """Features in the precision of their filter, its weight [C, group, 4, 4], and the number of groups.

    The precision is that of a convolution under autocast; on the CPU, where it would gain nothing, that of x.
    """
    if x.device.type != "cpu":
        x = x.to(computed_in(x))
    group = next((size for size in GROUPS if x.shape[1] % size == 0), 1) if slow_by_feature(x) else 1
    return x, _weight(x.device, x.dtype, x.shape[1], group, gain), x.shape[1] // group


@constant
def _weight(device: torch.device, dtype: torch.dtype, channels: int, group: int, gain: float) -> Tensor:
    """Weight with the filter on the diagonal of each group: [channels, group, 4, 4]."""
    diagonal = torch.eye(group, device=device, dtype=dtype).repeat(channels // group, 1)
    weight = diagonal[:, :, None, None] * low_pass(gain, device, dtype)
    return weight.contiguous(memory_format=memory_format(device))
