"""What a step depends on besides its batches and the networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from .devices import to_device
from .distributed import World
from .optimizer import Rates
from .streams import Stream, Streams


@dataclass(frozen=True)
class StepContext:
    """Where a run stands when one batch of a step is shown, and the random streams of that batch.

    Where several processes train together, all draw the numbers of the whole batch, and each keeps those of its own
    images: see gan_core.training.distributed.
    """

    step: int
    """Steps before this one."""
    substep: int
    """Which of the step's batches it is, from 0."""
    images: int
    """Real images that were shown before the step."""
    rates: Rates
    """Adam's settings at this step."""
    streams: Streams
    """Those of the run."""
    world: World

    @property
    def moment(self) -> tuple[int, ...]:
        """The step and the batch, as part of a stream's purpose."""
        return (self.step, self.substep) if self.substep else (self.step,)

    def numpy(self, stream: Stream, *place: int) -> np.random.Generator:
        """A stream on the CPU that draws for this process's images."""
        return self.world.shard_stream(self.streams.numpy(stream, *self.moment, *place))

    def torch(self, stream: Stream, *place: int) -> Generator:
        """A stream on the device that is the same in all processes."""
        return self.streams.torch(stream, *self.moment, *place)

    def own(self, stream: Stream) -> Generator:
        """A stream on the device for what a network draws by itself for its images: another one for each process."""
        rank = self.world.rank
        return self.streams.torch(stream, *((self.step, self.substep, rank) if rank else self.moment))

    def noise(self, *shape: int) -> Tensor:
        """Standard normal numbers on the device. The first axis counts the images of this process."""
        whole = shape[0] * self.world.size, *shape[1:]
        noise = self.streams.numpy(Stream.NOISE, *self.moment).standard_normal(whole, np.float32)
        return to_device(torch.from_numpy(self.world.shard(noise)), self.streams.device)

    def signs(self, place: int, *shape: int) -> Tensor:
        """Independent numbers -1 or +1 on the device, with equal odds. The first axis counts this process's images."""
        whole = shape[0] * self.world.size, *shape[1:]
        device = self.streams.device
        generator = self.torch(Stream.PENALTY, place)
        coins = torch.randint(0, 2, whole, generator=generator, device=device, dtype=torch.float32)
        return 2 * self.world.shard(coins) - 1
