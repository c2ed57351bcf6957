"""Resampling with the separable filter [1, 3, 3, 1] of StyleGAN2's networks."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from ...platforms import full_precision

SMOOTH = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
"""Filter along one side, with a gain of 2, for upsampling by inserted zeros."""


def smoothed(x: Tensor, bias: Tensor | None) -> Tensor:
    """Filters x [N, C, H + 1, W + 1] with [1, 3, 3, 1] along both sides and a gain of 4, to [N, C, H, W]."""
    return functional.conv2d(x, _kernel(x), bias, padding=1, groups=x.shape[1])


def doubled(image: Tensor) -> Tensor:
    """Upsamples images by 2: [N, C, H, W] -> [N, C, 2H, 2W]."""
    with full_precision(image.device):
        return functional.conv_transpose2d(image, _kernel(image), stride=2, padding=1, groups=image.shape[1])


def blurred(x: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Low-pass filter [1, 3, 3, 1] along both sides with a gain of 1, for downsampling without aliasing.

    x: [N, C, H, W]. Returns [N, C, H + 2 padding - 3, W + 2 padding - 3], or every stride-th pixel of it.
    """
    if stride > 1 and x.device.type == "cpu" and x.dtype == torch.bfloat16:
        x = x.float()  # in bfloat16 the gradient of such a convolution is ten times slower there
    with full_precision(x.device):
        return functional.conv2d(x, _kernel(x) / 4, stride=stride, padding=padding, groups=x.shape[1])


def _kernel(x: Tensor) -> Tensor:
    """Filter [1, 3, 3, 1] along both sides for each channel, with a gain of 4: [C, 1, 4, 4], of the type of x."""
    return _smooth(x.device, x.dtype).expand(x.shape[1], 1, 4, 4)


@cache
def _smooth(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Filter for one channel, [4, 4]. Cached, because a transfer to the GPU makes it wait."""
    # A tensor created in inference mode could not be used in training.
    with torch.inference_mode(False):
        return torch.outer(SMOOTH, SMOOTH).to(device, dtype)
