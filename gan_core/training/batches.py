"""The batches of a run: which examples it learns from, in which order, and which are held out."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch

from ..data.dataset import Batch, Dataset
from .context import StepContext
from .devices import to_device
from .distributed import World
from .streams import Stream, Streams

HELD_OUT_SHARE = 10
MAX_HELD_OUT = 500
"""One example in HELD_OUT_SHARE, and at most MAX_HELD_OUT, is not learned from but measured with."""

MAX_COMPARED = 256
"""Examples that samples are compared with."""


def held_out_count(examples: int, batch_size: int, min_examples: int) -> int:
    """Number of examples that a new run holds out.

    min_examples: of fewer, none is held out; nor where fewer than a batch would be left.
    """
    count = min(MAX_HELD_OUT, examples // HELD_OUT_SHARE)
    return 0 if examples < min_examples or examples - count < batch_size else count


class Batches:
    """The examples of a data set as batches on the device, in an order that the seed decides."""

    def __init__(self, dataset: Dataset, batch_size: int, held_out: int, streams: Streams, world: World):
        """held_out: number of examples that are held out."""
        self.dataset, self.batch_size = dataset, batch_size
        self.streams, self.world = streams, world
        order = streams.numpy(Stream.HELD_OUT).permutation(len(dataset))
        self.held_out = np.sort(order[:held_out])
        """Indices of the examples that are held out."""
        self.shown = np.sort(order[held_out:])
        """Indices of those that are learned from."""
        count = min(MAX_COMPARED, len(self.shown))
        self.compared = streams.numpy(Stream.COMPARED).choice(self.shown, count, replace=False)
        """Indices of some of those, always the same, that samples are compared with."""
        self._given: list[str] = []  # which fields of a Batch the data set has
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def shown_at(self, context: StepContext) -> Batch:
        """The batch that is shown at that moment: this process's part of it."""

        def drawn(now: StepContext) -> list[np.ndarray]:
            first = now.images + now.substep * self.batch_size
            indices = self.world.shard(self.indices(first, self.batch_size))
            batch = self.dataset.draw(indices, now.numpy(Stream.MIRROR))
            self._given = [each.name for each in fields(Batch) if getattr(batch, each.name) is not None]
            return [getattr(batch, name).numpy() for name in self._given]

        tensors = context.tensors(drawn)
        batch = Batch(**dict(zip(self._given, tensors, strict=True)))
        return replace(batch, target=self.dataset.medium.normalise(batch.target))

    def at(self, indices: np.ndarray) -> Batch:
        """The examples at these indices, unflipped."""
        return self._on_device(self.dataset.draw(indices))

    def indices(self, first: int, count: int) -> np.ndarray:
        """Indices of the examples shown at positions first, first + 1, ...: every epoch has an order of its own."""
        positions = np.arange(first, first + count)
        epochs, places = positions // len(self.shown), positions % len(self.shown)
        indices = np.empty(count, np.int64)
        for epoch in np.unique(epochs):
            if epoch != self._epoch:
                self._epoch = int(epoch)
                self._order = self.streams.numpy(Stream.ORDER, self._epoch).permutation(len(self.shown))
            indices[epochs == epoch] = self._order[places[epochs == epoch]]
        return self.shown[indices]

    def _on_device(self, batch: Batch) -> Batch:
        device = self.streams.device

        def moved(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else to_device(tensor, device)

        target = self.dataset.medium.normalise(to_device(batch.target, device))
        return replace(batch, target=target, labels=moved(batch.labels), condition=moved(batch.condition))
