"""What differs between devices: their precision, and operations of PyTorch that some of them lack.

Of the latter the CPU and CUDA lack none. Other devices, above all Apple's GPUs, lack some or compute them wrongly in
versions that are in use. This package has not been run on them: known faults are avoided, at some cost in speed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial, wraps
from typing import Any

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

    For operations that other devices lack: the gradient of grid_sample, index_copy, pdist, antialiasing, float64,
    matrix decompositions.
    """
    return tensor if tensor.device.type in KNOWN else tensor.cpu()


def exact(tensor: Tensor) -> Tensor:
    """The tensor in float64 on the CPU, where statistics of few numbers are computed: not every device has float64."""
    return tensor.detach().cpu().double()


def home_of_float64(device: torch.device) -> torch.device:
    """Where float64 that belongs to a device is kept: there on the CPU and CUDA, else on the CPU."""
    return device if device.type in KNOWN else torch.device("cpu")


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


def constant(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorator of functions that compute a constant tensor on a device: equal arguments give the same tensor.

    make: takes the device and hashable values. It must not copy from the host, for which a GPU waits.
    """

    kept: dict[tuple[Any, ...], Tensor] = {}

    @wraps(make)
    def constant_of(device: torch.device, *values: Any) -> Tensor:
        # What is computed while a CUDA graph is captured has no value before the graph runs.
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return make(device, *values)
        key = (device, *values)
        found = kept.get(key)
        if found is None:
            # A tensor created in inference mode could not be used in training.
            with torch.inference_mode(False):
                found = make(device, *values)
            if type(found) is Tensor:  # and not one of those that stand for others, to count memory for example
                kept[key] = found
        return found

    return constant_of


@contextmanager
def all_digits_of_float32() -> Iterator[None]:
    """Computes in float32 with all of its 24 binary digits inside the block, whatever the process has allowed.

    By default torch lets CUDA's convolutions round their inputs to TF32, which has 11: an image then differs by 1e-3
    from that of the CPU, and from itself in a batch of another size. The flags belong to the whole process. They are
    restored when the last of the threads inside such a block leaves it, also by an error.
    """
    _digits.enter()
    try:
        yield
    finally:
        _digits.leave()


class _Digits:
    """Flags of torch about the precision of float32, and the blocks that have set them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.before: list[Any] = []

    def enter(self) -> None:
        with self.lock:
            if not self.inside:
                self.before = [read() for read, _, _ in _precisions()]
                for _, write, full in _precisions():
                    write(full)
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                for (_, write, _), value in zip(_precisions(), self.before, strict=True):
                    write(value)


_digits = _Digits()


_Flag = tuple[Callable[[], Any], Callable[[Any], None], Any]
"""How a flag of torch is read and written, and its value for full precision."""


def _precisions() -> list[_Flag]:
    """The flags about the precision of float32.

    torch 2.9 has new ones, and raises an error where an old one is read that the new ones contradict: only one kind may
    be used.
    """
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    if not hasattr(convolutions, "conv"):
        matrices = torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"
        return [_flag(convolutions, "allow_tf32", False), matrices]
    onednn: Any = torch.backends.mkldnn
    return [_flag(each, "fp32_precision", "ieee") for each in (convolutions.conv, products, onednn.conv, onednn.matmul)]


def _flag(holder: Any, name: str, full: Any) -> _Flag:
    return partial(getattr, holder, name), partial(setattr, holder, name), full
