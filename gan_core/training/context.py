"""What a step depends on besides the networks: its place in the run, and what the host gives it.

A step asks its context for batches, noise, random streams and numbers that follow a schedule, and computes everything
else on the device. So a GPU never waits within a step, and a step that was captured can be given the inputs of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from .devices import to_device
from .distributed import World
from .streams import Stream, Streams


@dataclass(frozen=True)
class Rates:
    """Adam's settings at one step."""

    learning_rate: float
    betas: tuple[float, float]


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
    inputs: Inputs
    """Where what the host makes comes from."""

    def tensors(self, make: Arrays) -> list[Tensor]:
        """Arrays that the host makes, on the device: see Arrays."""
        return self.inputs.tensors(self, make)

    def number(self, make: Callable[[StepContext], float]) -> float | Tensor:
        """A number that may change from step to step, made in the same way; on a GPU a scalar there."""
        return self.inputs.number(self, make)

    @property
    def moment(self) -> tuple[int, ...]:
        """The step and the batch, as part of a stream's purpose."""
        return (self.step, self.substep) if self.substep else (self.step,)

    def numpy(self, stream: Stream, *place: int) -> np.random.Generator:
        """A stream on the CPU that draws for this process's images."""
        return self.world.shard_stream(self.streams.numpy(stream, *self.moment, *place))

    def torch(self, stream: Stream, *place: int) -> Generator:
        """A stream on the device that is the same in all processes."""
        return self.inputs.generator(self, lambda now: (stream, *now.moment, *place))

    def own(self, stream: Stream) -> Generator:
        """A stream on the device for what a network draws by itself for its images: another one for each process."""
        rank = self.world.rank
        return self.inputs.generator(
            self, lambda now: (stream, *((now.step, now.substep, rank) if rank else now.moment))
        )

    def noise(self, *shape: int) -> Tensor:
        """Standard normal numbers on the device. The first axis counts the images of this process."""
        whole = shape[0] * self.world.size, *shape[1:]

        def drawn(now: StepContext) -> list[np.ndarray]:
            stream = now.streams.numpy(Stream.NOISE, *now.moment)
            return [now.world.shard(stream.standard_normal(whole, np.float32))]

        return self.tensors(drawn)[0]

    def signs(self, place: int, *shape: int) -> Tensor:
        """Independent numbers -1 or +1 on the device, with equal odds. The first axis counts this process's images."""
        whole = shape[0] * self.world.size, *shape[1:]
        device = self.streams.device
        generator = self.torch(Stream.PENALTY, place)
        coins = torch.randint(0, 2, whole, generator=generator, device=device, dtype=torch.float32)
        return 2 * self.world.shard(coins) - 1


Arrays = Callable[[StepContext], Sequence[np.ndarray]]
"""Makes arrays on the host. They depend on the context that it is given alone, which may be that of a later step, and
have the same shapes and types at every step."""


class Inputs(Protocol):
    """Where a step's inputs come from."""

    def tensors(self, context: StepContext, make: Arrays) -> list[Tensor]:
        """The arrays, on the device."""

    def number(self, context: StepContext, make: Callable[[StepContext], float]) -> float | Tensor:
        """The number; on a GPU a float32 scalar there."""

    def generator(self, context: StepContext, purpose: Callable[[StepContext], tuple[int, ...]]) -> Generator:
        """A random stream on the device for the purpose that the context has then."""


class FromHost:
    """Makes inputs as they are asked for, and copies each. See Inputs."""

    def __init__(self, device: torch.device):
        self.device = device

    def tensors(self, context: StepContext, make: Arrays) -> list[Tensor]:
        return [to_device(torch.from_numpy(array), self.device) for array in make(context)]

    def number(self, context: StepContext, make: Callable[[StepContext], float]) -> float | Tensor:
        return make(context) if self.device.type == "cpu" else to_device(torch.tensor(make(context)), self.device)

    def generator(self, context: StepContext, purpose: Callable[[StepContext], tuple[int, ...]]) -> Generator:
        return context.streams.torch(*purpose(context))
