"""Settings that change while a run goes on, as functions of the images that were shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SHAPES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: done,
    "cosine": lambda done: (1 - math.cos(math.pi * done)) / 2,
}
"""How far a setting has gone, 0 to 1, when that share of its images is done; "cosine" starts and ends gently
(Loshchilov & Hutter 2017, eq. 5)."""


@dataclass(frozen=True)
class Schedule:
    """A number that changes from one value to another, and stays there."""

    start: float
    end: float
    kimg: float
    """Thousands of images over which it changes."""
    shape: str = "cosine"
    """One of SHAPES."""

    def __format__(self, spec: str) -> str:
        return f"{self.start:{spec}} to {self.end:{spec}}"


def at(value: float | Schedule, images: int) -> float:
    """Value of a setting after that many images. A plain number is constant."""
    if not isinstance(value, Schedule):
        return value
    done = min(1.0, images / (1000 * value.kimg))
    return value.start + (value.end - value.start) * SHAPES[value.shape](done)
