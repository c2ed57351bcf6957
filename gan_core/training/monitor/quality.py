"""How good a GAN's pictures are while it trains: KID, measured now and then with the features that can be installed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.images import ImageDataset
from ...generator import Generator
from ...latents import sample_noise
from ...media.image import to_pixels
from ...metrics.features import Extractor, efficientnet_lite0
from ...metrics.kid import KID, kid
from ...metrics.measure import looked_at
from ..devices import seeded

MADE, MOST_REAL = 500, 500
"""Images that are made for a measurement, always of the same seeds, and real ones that they are held against."""

FEWEST_HELD_OUT = 100
"""With fewer images held out than these, the generated ones are held against those that were learned from."""

FIRST_SECONDS = 120.0
"""When the first measurement falls due, whose cost nobody knows yet."""

TIMES_ITS_COST = 100
"""A measurement is made when so many times what the last one took have passed since: 1 % of the run."""


@dataclass
class Quality:
    """Measures one run's generators, always against the same real images and with the same seeds."""

    dataset: ImageDataset
    indices: np.ndarray
    """The real images, at least 4."""
    held_out: bool
    """Whether they are none of those that are learned from."""
    device: torch.device
    """Where the features are computed."""
    measure_kimg: float | None
    """Thousands of images between two measurements; None for as often as costs little; infinite for never."""
    extractor: Extractor | None = None
    """What they are features of, once it was needed."""
    real: Tensor | None = None
    """Their features, once they were needed."""
    cost: float = field(default=FIRST_SECONDS / TIMES_ITS_COST)
    """Seconds that the last measurement took."""
    ended: float = field(default_factory=time.monotonic)
    """When it ended."""

    def is_due(self, before: int, now: int) -> bool:
        """Whether a measurement fell due while the images that were shown went from one number to the other."""
        if self.measure_kimg is None:
            return time.monotonic() - self.ended >= TIMES_ITS_COST * self.cost
        if math.isinf(self.measure_kimg):
            return False
        every = max(1, round(1000 * self.measure_kimg))
        return before // every != now // every

    def prepare(self) -> Extractor:
        """Raises InputError, with the command that installs it, where there is no extractor."""
        if self.extractor is None:
            with seeded(0):  # it draws weights before it reads its own
                self.extractor = efficientnet_lite0(self.device)
        return self.extractor

    def measure(self, generator: Generator) -> KID:
        """KID of MADE pictures. Raises InputError as `prepare` does."""
        start = time.monotonic()
        extractor = self.prepare()
        if self.real is None:
            self.real = looked_at(extractor, self.indices, max(self.dataset.size), self.dataset.batch)
        labels: list[int] | None = None
        if self.dataset.labels is not None and generator.classes == self.dataset.classes:
            labels = [int(label) for label in np.resize(self.dataset.labels[self.indices], MADE)]

        def made(seeds: np.ndarray) -> Tensor:
            chosen = None if labels is None else [labels[seed] for seed in seeds]
            images = generator.decode(sample_noise(generator, seeds.tolist(), labels=chosen))
            return torch.from_numpy(to_pixels(images)).permute(0, 3, 1, 2)

        found = kid(self.real, looked_at(extractor, np.arange(MADE), max(self.dataset.size), made))
        self.ended = time.monotonic()
        self.cost = self.ended - start
        return found

    def as_metrics(self, found: KID) -> list[dict[str, Any]]:
        """What the card of the generator that was measured says of it."""
        assert self.extractor
        how = {
            "extractor": self.extractor.name,
            "resolution": self.extractor.side_for(max(self.dataset.size)),
            "n": MADE,
        }
        return [
            {"name": "kid", "value": found.value, **how},
            {"name": "kid_standard_error", "value": found.standard_error, **how},
        ]

    @property
    def against(self) -> str:
        """What was measured against, for people."""
        kind = "held-out images" if self.held_out else "images that it learns from"
        return f"{len(self.indices)} {kind}"
