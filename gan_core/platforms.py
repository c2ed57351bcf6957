"""What not every device can, and what is done there instead.

On the CPU and on CUDA everything is used as it is. PyTorch's other devices, Apple's GPUs first of all, lack an
operation here and there, or compute it wrongly, in versions that people have. Nobody has run this package on one: what
is known of them is avoided, at some cost in speed, and nothing more is claimed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

KNOWN = ("cpu", "cuda")
"""Types of devices on which every operation is there and right."""


def memory_format(device: torch.device) -> torch.memory_format:
    """How images lie in memory there: with their channels together, which is faster, or apart.

    Apart on Apple's GPUs, where the gradient of batch norm is wrong otherwise in many versions.
    """
    return torch.channels_last if device.type in KNOWN else torch.contiguous_format


def in_order(images: Tensor) -> Tensor:
    """The images themselves on the CPU and on CUDA. Elsewhere they, and their gradient, with their channels apart in
    memory, however they have lain."""
    if images.device.type in KNOWN:
        return images
    if images.requires_grad:
        images.register_hook(_apart)
    return _apart(images)


def _apart(images: Tensor) -> Tensor:
    # Grey images, and those of one pixel, count as being in either order. What is made of them follows their strides.
    return images.contiguous().clone(memory_format=torch.contiguous_format)


def placed(images: Tensor, device: torch.device) -> Tensor:
    """The images on a device, and there in order."""
    return in_order(images.to(device))


def known(tensor: Tensor) -> Tensor:
    """The tensor itself on the CPU and on CUDA; from another device a copy on the CPU, with its gradient: for what is
    missing there (grid_sample's gradient, index_copy, antialiasing, float64, decompositions of matrices)."""
    return tensor if tensor.device.type in KNOWN else tensor.cpu()


def average_pooled(images: Tensor, side: int) -> Tensor:
    """Mean values over parts of images: [N, C, H, W] -> [N, C, side, side], of parts that overlap where a side is no
    multiple of the new one."""
    if images.shape[2] % side or images.shape[3] % side:  # which Apple's GPUs refuse
        return adaptive_avg_pool2d(known(images), side).to(images.device)
    return adaptive_avg_pool2d(images, side)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """What autocast computes with there now; None where it is off, or unknown to this torch on such a device."""
    try:
        on = torch.is_autocast_enabled(device.type)
    except RuntimeError:
        return None
    return torch.get_autocast_dtype(device.type) if on else None


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Turns autocast off there for a while. Where it is off already nothing is done: torch 2.4 raises an error at the
    mere mention of some devices."""
    return nullcontext() if autocast_dtype(device) is None else torch.autocast(device.type, enabled=False)
