"""Latents: points in the latent space of a generator, and the noise maps that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LAST_SEED = 2**32 - 1
"""Largest seed, that of numpy's RandomState."""


@dataclass(frozen=True)
class Latent:
    """A batch of points that a generator can decode."""

    samples: Tensor
    """[B, C, H, W], float32. A vector z of size n is [B, n, 1, 1]."""
    space: str = "z"
    """Latent space of the points: "z", the input noise; for a style-based generator also "w", one style for all layers,
    and "w+", a style for each layer. In both, samples are [B, w_dim, num_ws, 1]."""
    labels: Tensor | None = None
    """Class labels of points in z, for a generator with classes: int64 [B], or class weights [B, classes]."""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, part: slice) -> Latent:
        return Latent(self.samples[part], self.space, None if self.labels is None else self.labels[part])


def noise_maps(sizes: Sequence[tuple[int, int]], seeds: Sequence[int]) -> list[Tensor]:
    """Noise maps for the layers of a style-based generator: [N, 1, h, w] of standard normal noise for each size.

    sizes: height and width of each map. seeds: one for each image; its maps depend on that seed alone. Without seeds
    the maps are zeros that broadcast to any number of images.
    """
    if not seeds:
        return [torch.zeros(1, 1, 1, 1) for _ in sizes]
    streams = [np.random.RandomState(seed) for seed in seeds]
    drawn = [[stream.randn(1, *size).astype(np.float32) for size in sizes] for stream in streams]
    return [torch.from_numpy(np.stack(maps)) for maps in zip(*drawn, strict=True)]
