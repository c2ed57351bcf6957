"""Weights as a layer multiplies with them: scaled, and in the precision of the computation.

Real and generated images are judged by the same weights. Within `prepared_once` these are scaled and rounded for both
together, and their gradients are added before they are rounded back and scaled, as torch's autocast does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from ...platforms import autocast_dtype, constant

_MADE: ContextVar[dict[Any, tuple[Tensor, Tensor]] | None] = ContextVar("_MADE", default=None)
"""Within `prepared_once`, parameters and what was made of them."""


@contextmanager
def prepared_once() -> Iterator[None]:
    """Within the block, `prepared` makes the same of a parameter once.

    No parameter may change within the block. All gradients of what is computed there must be taken together, or with
    `retain_graph`.
    """
    # Nothing outlives the block. A version counter would not tell when weights change: torch's fused Adam leaves it as
    # it was, and so does a CUDA graph.
    before = _MADE.set({})
    try:
        yield
    finally:
        _MADE.reset(before)


def prepared(parameter: Tensor, dtype: torch.dtype, gain: float = 1.0) -> Tensor:
    """The parameter times `gain`, in a dtype. Differentiable."""
    made = _MADE.get()
    if made is None or (parameter.dtype == dtype and gain == 1.0):
        return converted(scaled(parameter, gain), dtype)
    tracked = parameter.requires_grad and torch.is_grad_enabled()
    key = id(parameter), dtype, gain, tracked
    if key not in made:
        made[key] = parameter, converted(scaled(parameter, gain), dtype)  # a parameter that is kept keeps its id
    return made[key][1]


def computed_in(x: Tensor) -> torch.dtype:
    """Dtype in which torch convolves x, also under autocast."""
    if x.dtype == torch.float64:
        return x.dtype
    return autocast_dtype(x.device) or x.dtype


def scaled(x: Tensor, factor: float) -> Tensor:
    """x * factor. At each multiplication with a number torch would make a tensor of it, and again for the gradient."""
    return x if factor == 1.0 else x * _number(x.device, x.dtype, factor)


def converted(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x in a dtype. torch's own `to` is an operation even where there is nothing to do."""
    return x if x.dtype == dtype else x.to(dtype)


@constant
def _number(device: torch.device, dtype: torch.dtype, number: float) -> Tensor:
    return torch.full((), number, device=device, dtype=dtype)
