"""GPUs that are none: they compute on the CPU.

`plugged_in` refuses what GPUs of Apple cannot do, or do wrong. Nobody here has one. What PyTorch's sources and issues
say of them stands below as rules. Code that keeps to the rules is not proved to work there, but code that breaks one is
proved not to. `complete` can do everything, as CUDA, but for operations on tensors of two devices.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_map_only

from gan_core import platforms

GPU = torch.device("meta")
"""What it is called: autograd accepts no device that this torch was not built for, and this one has nothing behind it.
autocast does not know it, as torch 2.4 does not know mps."""

MISSING = {
    "grid_sampler_2d": "reflection is not there in every version",
    "grid_sampler_2d_backward": "not before torch 2.12",
    "index_copy": "",
    "_upsample_bilinear2d_aa": "",
    "_upsample_bilinear2d_aa_backward": "",
    "_pdist_forward": "",
    "_linalg_eigh": "",
    "_linalg_svd": "",
    "linalg_qr": "",
    "linalg_cholesky_ex": "",
    "_fused_adam": "",
    "_pin_memory": "",
}
"""Operations that a version of torch which we support lacks there."""

WITHOUT = (torch.float64, torch.complex128)
"""Numbers that it does not have."""

IN_ORDER = {"native_batch_norm", "native_batch_norm_backward", "convolution", "convolution_backward"}
"""Operations that are given images with their channels apart in memory: or batch norm's gradient is wrong."""


class Refused(AssertionError):
    """The device was asked for what it cannot do."""


class OnGPU(Tensor):
    """A tensor on that device; its numbers are in a tensor of the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> OnGPU:
        if numbers.dtype in WITHOUT:
            raise Refused(f"{numbers.dtype}: the device has no such numbers")
        self = Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=GPU,
        )
        self.numbers = numbers
        return self

    def __repr__(self) -> str:
        return f"OnGPU({self.numbers})"

    def tolist(self) -> Any:
        return self.numbers.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return _computed(operation, arguments, options or {})


class _Driver(TorchDispatchMode):
    """Takes what is made on the device, or sent there."""

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return _computed(operation, arguments, options or {})


class _Generator(torch.Generator):
    """Random numbers on the device."""

    device = GPU

    def __new__(cls, device: Any = "cpu") -> torch.Generator:
        if torch.device(device) != GPU:
            return torch._C.Generator(device)
        return super().__new__(cls, "cpu")


@contextmanager
def plugged_in() -> Iterator[torch.device]:
    """The device, while it is there."""
    tensor = torch.tensor

    def sent(data: Any, device: Any = None, **options: Any) -> Tensor:  # torch knows that meta needs no numbers
        made = tensor(data, **options)
        return made if device is None else made.to(device)

    with mock.patch.multiple(torch, Generator=_Generator, tensor=sent), _Driver():
        yield GPU


@contextmanager
def complete() -> Iterator[torch.device]:
    """A device that has every operation and number, as CUDA does, while it is there."""
    with (
        mock.patch.multiple(sys.modules[__name__], MISSING={}, IN_ORDER=set(), WITHOUT=()),
        mock.patch.object(platforms, "KNOWN", (*platforms.KNOWN, GPU.type)),
        plugged_in() as device,
    ):
        yield device


def _computed(operation: Any, arguments: Any, options: dict[str, Any]) -> Any:
    tensors: list[Tensor] = []
    tree_map_only(Tensor, tensors.append, (arguments, options))
    given = [tensor.numbers for tensor in tensors if isinstance(tensor, OnGPU)]
    name = operation._schema.name.partition("::")[2]
    if given and name not in ("_to_copy", "copy_"):
        elsewhere = [tensor for tensor in tensors if not isinstance(tensor, OnGPU) and tensor.dim()]
        if elsewhere:
            raise Refused(f"{name}: one tensor is on the device, and another on {elsewhere[0].device}")
        _check(name, given, arguments)
    device = options.get("device")
    to_gpu = bool(given) if device is None else torch.device(device) == GPU
    if name == "copy_":
        to_gpu = isinstance(arguments[0], OnGPU)
    inside = {**options, "device": torch.device("cpu")} if device is not None else options
    plain, inside = tree_map_only(OnGPU, lambda tensor: tensor.numbers, (arguments, inside))
    result = operation(*plain, **inside)
    if not to_gpu:
        return result
    result = tree_map_only(Tensor, OnGPU, result)
    return return_and_correct_aliasing(operation, arguments, options, result) if given else result


def _check(name: str, tensors: list[Tensor], arguments: Any) -> None:
    plain = name.rstrip("_")
    if plain in MISSING:
        raise Refused(f"{plain} is missing on this device {MISSING[plain]}")
    if plain == "_adaptive_avg_pool2d" and any(
        side % new for side, new in zip(arguments[0].shape[-2:], arguments[1], strict=True)
    ):
        raise Refused("adaptive_avg_pool2d to a side that does not divide the old one")
    if plain in IN_ORDER and any(
        tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
        for tensor in tensors
        if tensor.dim() == 4
    ):
        raise Refused(f"{plain} of images whose channels lie together")
