"""What a training learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from ..media.medium import Medium


@dataclass(frozen=True)
class Batch:
    """Examples that are shown together."""

    target: Tensor
    """[N, ...]: what a network is to learn to make, such as images [N, C, H, W]."""
    labels: Tensor | None = None
    """Class numbers, int64 [N]; None for a data set without classes."""
    condition: Tensor | None = None
    """[N, ...]: what a network is given to make it from; None where it is given nothing."""

    def __len__(self) -> int:
        return len(self.target)


class Dataset(Protocol):
    """Examples of one medium, numbered from 0."""

    @property
    def medium(self) -> Medium:
        """What the examples are."""

    @property
    def name(self) -> str:
        """What people call it; no path."""

    @property
    def fingerprint(self) -> str:
        """A hash of the examples and their labels, as hex."""

    @property
    def mirror(self) -> bool:
        """Whether `draw` flips examples at random."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of label 0, 1, ...; empty for a set without classes."""

    def __len__(self) -> int:
        """Number of examples."""

    def draw(self, indices: np.ndarray, random: np.random.Generator | None = None) -> Batch:
        """The examples at these indices as they are stored, on the CPU.

        random: the stream of the set's own random changes, such as flips; None for the examples as they are.
        """
