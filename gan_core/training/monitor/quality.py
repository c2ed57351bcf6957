"""How good a GAN's images are while it trains: KID, measured now and then, if a feature extractor is installed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...card import Metric
from ...data.images import ImageDataset
from ...generator import Generator
from ...media.image import to_pixels
from ...metrics.features import Extractor, efficientnet_lite0
from ...metrics.kid import KID, kid
from ...metrics.measure import looked_at
from ...sampling.seeds import sample_noise
from ..devices import seeded

GENERATED, MAX_REAL = 500, 500
"""Images generated for a measurement, always of the same seeds, and real ones that they are compared with."""

MIN_HELD_OUT = 100
"""With fewer images held out, the generated ones are compared with those that were learned from."""

FIRST_SECONDS = 120.0
"""When the first measurement falls due, in seconds after the start: its cost is not known before."""

COST_FACTOR = 100
"""A measurement falls due once this many times the duration of the last one have passed: it costs 1 % of the run."""


@dataclass
class Quality:
    """Measures one run's generators, always against the same real images and with the same seeds."""

    dataset: ImageDataset
    indices: np.ndarray
    """The real images, at least 4."""
    held_out: bool
    """Whether they are held out, and not learned from."""
    device: torch.device
    """Where the features are computed."""
    measure_kimg: float | None
    """Thousands of images between two measurements; None for as often as costs 1 % of the time; infinite for never."""
    extractor: Extractor | None = None
    """The feature extractor, once it was needed."""
    real: Tensor | None = None
    """Features of the real images, once they were needed."""
    cost: float = field(default=FIRST_SECONDS / COST_FACTOR)
    """Duration of the last measurement, in seconds."""
    ended: float = field(default_factory=time.monotonic)
    """End of the last measurement, by time.monotonic."""

    def is_due(self, before: int, now: int) -> bool:
        """Whether a measurement has fallen due between two numbers of images shown."""
        if self.measure_kimg is None:
            return time.monotonic() - self.ended >= COST_FACTOR * self.cost
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
        """KID of GENERATED samples. Raises InputError as `prepare` does."""
        start = time.monotonic()
        extractor = self.prepare()
        if self.real is None:
            self.real = looked_at(extractor, self.indices, max(self.dataset.size), self.dataset.batch)
        labels: list[int] | None = None
        if self.dataset.labels is not None and generator.classes == self.dataset.classes:
            labels = [int(label) for label in np.resize(self.dataset.labels[self.indices], GENERATED)]

        def generated(seeds: np.ndarray) -> Tensor:
            chosen = None if labels is None else [labels[seed] for seed in seeds]
            images = generator.decode(sample_noise(generator, seeds.tolist(), labels=chosen))
            return torch.from_numpy(to_pixels(images)).permute(0, 3, 1, 2)

        found = kid(self.real, looked_at(extractor, np.arange(GENERATED), max(self.dataset.size), generated))
        self.ended = time.monotonic()
        self.cost = self.ended - start
        return found

    def as_metrics(self, found: KID) -> tuple[Metric, ...]:
        """The entries of a generator's card for that KID."""
        assert self.extractor
        how = self.extractor.name, self.extractor.side_for(max(self.dataset.size)), GENERATED
        return Metric("kid", found.value, *how), Metric("kid_standard_error", found.standard_error, *how)

    @property
    def against(self) -> str:
        """What the samples are compared with, for people."""
        kind = "held-out images" if self.held_out else "images that it learns from"
        return f"{len(self.indices)} {kind}"
