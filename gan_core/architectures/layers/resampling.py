"""The filter [1, 3, 3, 1] along both sides, with which StyleGAN2's networks double and halve what they compute."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from ...platforms import full_precision

SMOOTH = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
"""Along one side: what zeros between samples become is twice the neighbours' mean."""


def smoothed(x: Tensor, bias: Tensor | None) -> Tensor:
    """The filter [1, 3, 3, 1] along both sides, with a gain of 4. x: [N, C, H + 1, W + 1]. Returns [N, C, H, W]."""
    return functional.conv2d(x, _kernel(x), bias, padding=1, groups=x.shape[1])


def doubled(image: Tensor) -> Tensor:
    """An image at twice the side. [N, C, H, W] -> [N, C, 2H, 2W]."""
    with full_precision(image.device):
        return functional.conv_transpose2d(image, _kernel(image), stride=2, padding=1, groups=image.shape[1])


def blurred(x: Tensor, padding: int, stride: int = 1) -> Tensor:
    """The filter [1, 3, 3, 1] along both sides, with a gain of 1, which leaves nothing that fewer samples cannot hold.

    x: [N, C, H, W]. Returns [N, C, H + 2 padding - 3, W + 2 padding - 3], or every stride-th of it.
    """
    if stride > 1 and x.device.type == "cpu" and x.dtype == torch.bfloat16:
        x = x.float()  # the gradient of such a convolution is ten times as slow in bfloat16 there
    with full_precision(x.device):
        return functional.conv2d(x, _kernel(x) / 4, stride=stride, padding=padding, groups=x.shape[1])


def _kernel(x: Tensor) -> Tensor:
    """The filter [1, 3, 3, 1] along both sides for each channel of x, with a gain of 4: [C, 1, 4, 4], as x is."""
    return _smooth(x.device, x.dtype).expand(x.shape[1], 1, 4, 4)


@cache
def _smooth(device: torch.device, dtype: torch.dtype) -> Tensor:
    """It alone, [4, 4]. Kept, because a GPU waits whenever numbers are sent to it."""
    # One that was made where a host computes without gradients would be of no use in a training.
    with torch.inference_mode(False):
        return torch.outer(SMOOTH, SMOOTH).to(device, dtype)
