"""What lets a program that insists on CUDA run on a CPU; its computations stay as they are."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import torch


@contextlib.contextmanager
def claimed() -> Iterator[None]:
    """CUDA is said to be there, for a program that asks when it is imported."""
    asked = torch.cuda.is_available
    torch.cuda.is_available = lambda: True
    try:
        yield
    finally:
        torch.cuda.is_available = asked


def stay_on_cpu() -> None:
    """Moving a tensor or a network to a GPU, or into pinned memory, leaves it where it is."""
    for kind, name in ((torch.Tensor, "cuda"), (torch.nn.Module, "cuda"), (torch.Tensor, "pin_memory")):
        setattr(kind, name, lambda self, *_args, **_settings: self)


def missing(name: str) -> None:
    """Puts an empty module instead of one that a program imports and does not need for a step."""
    sys.modules[name] = ModuleType(name)


def torchvision() -> ModuleType:
    """torchvision, also where its compiled operators are for a torch with CUDA: the plain ones are all that is needed.

    Without its library it fails where it says more of two operators that are then not there.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float limit) -> Tensor")
        return importlib.import_module("torchvision")


class TorchOnCPU:
    """torch as a module may see it in which every device is the CPU, and whose CUDA only keeps the time of none."""

    def __init__(self) -> None:
        event = SimpleNamespace(record=_nothing, synchronize=_nothing, elapsed_time=lambda *_: 0.0)
        self.cuda = SimpleNamespace(
            Event=lambda **_: event,
            current_stream=_nothing,
            max_memory_allocated=lambda *_: 0,
            max_memory_reserved=lambda *_: 0,
            reset_peak_memory_stats=_nothing,
            amp=torch.cuda.amp,
        )

    def device(self, *_wanted: object) -> torch.device:
        return torch.device("cpu")

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _nothing(*_: object) -> None:
    pass
