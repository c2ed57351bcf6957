"""Points in latent space: how they are drawn, and what they are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .errors import InputError

if TYPE_CHECKING:
    from .generator import Generator

LAST_SEED = 2**32 - 1
"""The greatest seed: where numpy's RandomState ends."""


@dataclass(frozen=True)
class Latent:
    """A batch of points that a generator can decode."""

    samples: Tensor
    """[B, C, H, W], float32. A vector z of size n is [B, n, 1, 1]."""
    space: str = "z"
    """Which space the points lie in: "z", the noise that the generator was trained on."""
    labels: Tensor | None = None
    """[B], int64: the class of each image, for a generator with classes."""

    def __len__(self) -> int:
        return len(self.samples)


def sample_noise(
    generator: Generator,
    seeds: Iterable[int],
    truncation: float = 1.0,
    labels: int | Sequence[int] | None = None,
) -> Latent:
    """Draws one latent z for each seed.

    Image i depends on seed i alone: z is `numpy.random.RandomState(seed).randn(n)`, a stream that numpy has frozen
    (NEP 19), so that a seed means one picture on every machine, in every version and in a batch of any size.

    seeds: whole numbers from 0 to 2^32 - 1.
    truncation: psi. z is scaled by it towards 0, the average picture: below 1 trades variety for typicality.
    labels: for a generator with classes, one label for all images or one for each; None draws them, by the seeds too.

    Raises InputError for seeds or labels out of range, for a truncation that is no finite number, and for labels that
    do not fit the seeds.
    """
    seeds = list(seeds)
    if not seeds:
        raise InputError("No seeds were given: one picture is drawn for each.")
    if not math.isfinite(truncation):
        raise InputError(f"The truncation psi is an ordinary number, mostly from 0 to 1, not {truncation}.")
    bad = next((seed for seed in seeds if not 0 <= seed <= LAST_SEED), None)
    if bad is not None:
        raise InputError(f"Seed {bad} is out of range: seeds are whole numbers from 0 to {LAST_SEED}.")

    streams = [np.random.RandomState(seed) for seed in seeds]
    z = np.stack([stream.randn(generator.config.latent_size) for stream in streams]).astype(np.float32)
    # The labels' draw follows that of z in the same stream, and so never changes z.
    drawn = [int(stream.randint(generator.classes)) for stream in streams] if generator.classes else None
    return Latent(
        samples=torch.from_numpy(z)[:, :, None, None] * truncation,
        labels=_labels(generator, len(seeds), drawn if labels is None else labels),
    )


def _labels(generator: Generator, count: int, labels: int | Sequence[int] | None) -> Tensor | None:
    if labels is None:
        return None
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes: it takes no label.")
    chosen = [labels] * count if isinstance(labels, int) else list(labels)
    if len(chosen) != count:
        raise InputError(f"{len(chosen)} labels were given for {count} images: give one label, or one for each.")
    bad = next((label for label in chosen if not 0 <= label < generator.classes), None)
    if bad is not None:
        raise InputError(f"{generator.title} has classes 0 to {generator.classes - 1}, and no class {bad}.")
    return torch.tensor(chosen, dtype=torch.int64)
