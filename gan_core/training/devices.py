"""Where a training computes, and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures.layers.weights import prepared_once
from ..errors import InputError
from ..platforms import home_of_float64, memory_format, placed


def usable(device: torch.device | str) -> torch.device:
    """The device of that name. Raises InputError where this machine or this torch has none."""
    try:
        return torch.empty(1, device=device).device
    except (RuntimeError, AssertionError, ImportError):  # torch has one for each kind of absence
        raise InputError(
            f'There is no device "{device}" here. Devices are cpu, cuda, cuda:1, mps and the like, where this machine '
            "and its torch have them."
        ) from None


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Limits torch to this number of threads within the context; None keeps the present number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def best_device() -> torch.device:
    """CUDA or MPS where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def bf16_is_faster(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware. Unmeasured on CUDA."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # A torch without this function is taken for a CPU without bfloat16.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, or on the CPU if it is of float64 and the device has none; a copy to CUDA does not wait
    for the device."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return placed(tensor, home_of_float64(device) if tensor.dtype == torch.float64 else device)


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """The precision of a step: bfloat16 where it is "auto" and the device is faster with it, else float32.

    Weights are converted once within the context: see `prepared_once`.
    """
    reduced = precision == "auto" and bf16_is_faster(device)
    with prepared_once(), torch.autocast(device.type, torch.bfloat16) if reduced else nullcontext():
        yield


def placed_for_training(module: nn.Module, device: torch.device) -> nn.Module:
    """The module on the device, in the memory format that is fastest there."""
    return in_memory_format(module.to(device), memory_format(device))


def in_memory_format(module: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """The module, with its images' axes in that order in memory."""
    order: dict[str, Any] = {"memory_format": memory_format}  # some of torch's stubs have it as positional
    return module.to(**order)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch.nn draws weights from the global generator: it is lent for the moment, and given back as it was."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
