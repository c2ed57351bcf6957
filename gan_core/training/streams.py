"""Random numbers of a run, as functions of its seed, their purpose and the step: resuming needs no state of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Generator


class Stream(IntEnum):
    """What random numbers are drawn for. The numbers are part of what a seed means, and never change."""

    NOISE = 0
    """z."""
    ORDER = 1
    """The order of the images in an epoch."""
    MIRROR = 2
    """Which images are flipped."""
    HELD_OUT = 3
    """Which images are held out."""
    FIT = 4
    """The points that a VAE's mixture is fitted to."""
    AUGMENT = 5
    """Augmentation of what the discriminator sees."""
    NETWORK = 6
    """What a generator draws by itself while it trains, such as noise maps."""
    PENALTY = 7
    """Interpolation and directions of gradient penalties."""
    SUPERVISION = 8
    """Self-supervision of the discriminator."""
    PATH_LENGTH = 9
    """Path length regularisation."""
    COMPARED = 10
    """The real images that samples are compared with."""
    QUALITY = 11
    """The real images of KID."""


class Place(IntEnum):
    """Which images of a step are augmented: each place has changes of its own. The numbers never change."""

    REAL = 0
    FAKE = 1
    GENERATOR_FAKE = 2
    GENERATOR_REAL = 3
    INTERPOLATED = 4


@dataclass(frozen=True)
class Streams:
    """The random streams of a run."""

    seed: int
    device: torch.device
    """Where torch's streams draw."""

    def numpy(self, *purpose: int) -> np.random.Generator:
        """A stream on the CPU for a purpose: a Stream, and what else tells it from others."""
        return np.random.default_rng([self.seed, *purpose])

    def torch(self, *purpose: int) -> Generator:
        """A stream on the device for a purpose."""
        return torch.Generator(self.device).manual_seed(self.seed_of(*purpose))

    def seed_of(self, *purpose: int) -> int:
        """The seed of that stream."""
        return int(self.numpy(*purpose).integers(2**63))
