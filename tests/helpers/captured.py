"""A GPU whose work becomes a CUDA graph, but for its numbers: nothing is computed, and what a graph could not replay is
refused. That is reading a value, a shape that depends on values, and any tensor of the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from gan_core import platforms

GPU = torch.device("meta")
"""What it is called: a torch without CUDA does not index tensors of "cuda"."""


class Refused(AssertionError):
    """A graph could not replay this."""


@contextmanager
def captured() -> Iterator[torch.device]:
    """The device, which has all operators, while its work is captured."""
    with mock.patch.object(platforms, "KNOWN", (*platforms.KNOWN, GPU.type)), FakeTensorMode(), _Capture():
        yield GPU


class _Capture(TorchDispatchMode):
    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        try:
            result = operation(*arguments, **(options or {}))
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise Refused(f"{operation} needs a value") from error
        tensors: list[Tensor] = []
        tree_map_only(Tensor, tensors.append, (arguments, options, result))
        if any(tensor.device != GPU for tensor in tensors):
            raise Refused(f"{operation} has to do with the host")
        return result
