"""Workarounds for devices that lack operations of PyTorch.

CPU and CUDA need none. Other devices, above all Apple's GPUs, lack some operations or compute them wrongly in versions
that are in use. This package has not been run on them: known faults are avoided, at some cost in speed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

KNOWN = ("cpu", "cuda")
"""Types of devices on which every operation exists and is correct."""


def memory_format(device: torch.device) -> torch.memory_format:
    """Memory format of images on a device: channels last, which is faster, or contiguous.

    Contiguous on Apple's GPUs, where the gradient of batch norm is wrong for channels last in many versions.
    """
    return torch.channels_last if device.type in KNOWN else torch.contiguous_format


def in_order(images: Tensor) -> Tensor:
    """Images in contiguous memory, as is their gradient, on devices other than the CPU and CUDA; unchanged on these."""
    if images.device.type in KNOWN:
        return images
    if images.requires_grad:
        images.register_hook(_apart)
    return _apart(images)


def _apart(images: Tensor) -> Tensor:
    # Images of one channel or one pixel count as both formats; results computed from them follow their strides.
    return images.contiguous().clone(memory_format=torch.contiguous_format)


def placed(images: Tensor, device: torch.device) -> Tensor:
    """Images moved to a device and put in order there, see `in_order`."""
    return in_order(images.to(device))


def known(tensor: Tensor) -> Tensor:
    """The tensor itself on the CPU and CUDA, else a differentiable copy on the CPU.

    For operations that other devices lack: the gradient of grid_sample, index_copy, antialiasing, float64, matrix
    decompositions.
    """
    return tensor if tensor.device.type in KNOWN else tensor.cpu()


def average_pooled(images: Tensor, side: int) -> Tensor:
    """Adaptive average pooling, [N, C, H, W] -> [N, C, side, side]. Windows overlap if a side is not a multiple of
    `side`."""
    if images.shape[2] % side or images.shape[3] % side:  # which Apple's GPUs refuse
        return adaptive_avg_pool2d(known(images), side).to(images.device)
    return adaptive_avg_pool2d(images, side)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Current dtype of autocast on a device; None if autocast is off, or not known to this torch for that device."""
    try:
        on = torch.is_autocast_enabled(device.type)
    except RuntimeError:
        return None
    return torch.get_autocast_dtype(device.type) if on else None


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Turns autocast off on a device inside the block. Does nothing if it is off: torch 2.4 raises an error when some
    devices are merely named."""
    return nullcontext() if autocast_dtype(device) is None else torch.autocast(device.type, enabled=False)
