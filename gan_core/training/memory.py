"""Memory of a training on its device: how much it will take, counted before it starts, and which batch would fit.

It is counted from one step on fake tensors, which have shapes and no numbers. That takes no memory and about a second,
and calls the same operators as a step on that device.
"""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Adam
from torch.utils._pytree import tree_leaves

from ..data.dataset import Batch
from ..data.images import ImageDataset
from ..errors import OutOfMemory
from ..generator import Generator
from ..memory import Room, exhausted, in_words, is_out_of_memory, let_go, room
from .config import TrainConfig
from .context import Arrays, FromHost, Inputs, Rates, StepContext
from .distributed import World
from .methods import Method, method_for
from .optimizer import TrainedNetwork
from .run import Run
from .streams import Streams

LIBRARIES = 90_000_000
"""Bytes that CUDA's libraries take for themselves: 77 to 99 MB on one H200, the peak of six runs less what is counted
here."""

MAX_TRIES = 4
"""Smaller batches that are tried after one did not fit, each half of the one before."""

LATE = 2**40
"""Images after which all networks of a recipe take part."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Forecast:
    """Bytes that a training will take on its device."""

    weights: int
    """The networks and their EMA."""
    optimizer: int
    """Adam's moments."""
    step: int
    """What a step has at most besides: activations and gradients."""
    batch_size: int

    @property
    def total(self) -> int:
        return self.with_batch(self.batch_size)

    def with_batch(self, batch_size: int) -> int:
        """The total with a batch of another size."""
        return self.weights + self.optimizer + self.step * batch_size // self.batch_size + LIBRARIES

    def __str__(self) -> str:
        return (
            f"{in_words(self.total)} (weights {in_words(self.weights)}, optimizer {in_words(self.optimizer)}, "
            f"activations {in_words(self.step)})"
        )


def forecast(method: Method, dataset: ImageDataset, device: torch.device) -> Forecast:
    """Counts what a training by a method takes, which is left as it is."""
    networks = {name: network.module for name, network in method.networks.items()}
    trained = [weight for module in networks.values() for weight in _trained(module)]
    kept = [*networks.values(), *(networks[name] for name in method.averaged)]
    return Forecast(
        weights=sum(map(_bytes_of, kept)),
        optimizer=2 * sum(weight.nbytes for weight in trained),
        step=_peak_of_a_step(method, dataset, device),
        batch_size=method.recipe.batch_size,
    )


def remarks_on(run: Run) -> list[str]:
    """What a run will take of the memory of a GPU, in a sentence, and a smaller batch where that is too much."""
    there = room(run.device) if run.device.type != "cpu" and run.world.size == 1 else None
    if there is None:
        return []
    try:
        expected = forecast(run.method, run.dataset, run.device)
    except Exception:  # whatever torch's fake tensors cannot do, the run can
        log.info("The memory of this run cannot be forecast.", exc_info=True)
        return []
    return [in_a_sentence(expected, run.device, there)]


def in_a_sentence(expected: Forecast, device: torch.device, there: Room) -> str:
    """The forecast of a run whose weights are on the device by now, and a smaller batch where that is too much."""
    text = f"On {device} this run takes about {expected}; {there}"

    def fits(batch_size: int) -> bool:
        return expected.with_batch(batch_size) - expected.weights <= there.free

    batch = expected.batch_size
    if fits(batch):
        return f"{text}."
    while batch >= 4 and not fits(batch):
        batch //= 2
    if fits(batch):
        return f"{text}, which is too little. A batch of {batch} would fit."
    return f"{text}, which is too little for a batch of {batch} too. Choose smaller images, or a smaller preset."


def exhausted_by(
    config: TrainConfig,
    dataset: ImageDataset,
    device: torch.device,
    start: Generator | None,
    run: Run | None,
    world: World,
) -> OutOfMemory:
    """The error of a training that did not fit, with the largest batch that does, which is tried.

    run: what is left of it, which is moved to the CPU; None if it did not come so far.
    """
    if run is not None:
        _move_to_cpu(run)
    let_go(device)
    there = room(device)
    fitting = _largest_batch(config, dataset, device, start) if world.size == 1 else None
    way_out = "lower batch_size, or choose smaller images or a smaller preset"
    if fitting:
        way_out = f"a batch of {fitting} fits, so set batch_size to {fitting}"
    size, batch = f"{dataset.width}x{dataset.height}", config.recipe.batch_size
    return exhausted(f"Training {config.preset} on images of {size} in batches of {batch}", device, way_out, there)


def _move_to_cpu(run: Run) -> None:
    run.stepper.forget()
    for network in run.method.networks.values():
        network.optimizer.zero_grad()
        network.optimizer.state.clear()
        network.module.to("cpu")
    for average in run.ema.values():
        average.to("cpu")


def _largest_batch(
    config: TrainConfig, dataset: ImageDataset, device: torch.device, start: Generator | None
) -> int | None:
    """The first half, quarter and so on of a batch with which a step fits; None if it is not among those tried."""
    batch = config.recipe.batch_size
    for _ in range(MAX_TRIES):
        batch //= 2
        if batch < 2:
            break
        fits = _fits(config, dataset, device, start, batch)
        let_go(device)
        if fits:
            return batch
    return None


def _fits(
    config: TrainConfig, dataset: ImageDataset, device: torch.device, start: Generator | None, batch_size: int
) -> bool:
    """Whether new networks, their EMA and a step with a batch of that size fit into memory. It is tried."""
    try:
        recipe = replace(config.recipe, batch_size=batch_size)
        method = method_for(recipe, dataset, config.preset, start, device, config.seed)
        averages = [copy.deepcopy(method.networks[name].module) for name in method.averaged]
        _take_step(method, dataset, device, FromHost(device))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return bool(averages)


def _take_step(method: Method, dataset: ImageDataset, device: torch.device, inputs: Inputs) -> None:
    """The step of a run that takes the most: all networks and regularisers take part."""
    rates, streams = Rates(0.0, (0.0, 0.99)), Streams(0, device)
    contexts = [
        StepContext(0, substep, LATE, rates, streams, World(), inputs) for substep in range(method.batches_per_step)
    ]
    size = method.recipe.batch_size
    images = torch.zeros(size, dataset.channels, dataset.height, dataset.width, device=device)
    labels = torch.zeros(size, dtype=torch.int64, device=device) if dataset.classes else None
    method.step([(Batch(images, labels), context) for context in contexts])


# Counting.


class LiveBytes:
    """Bytes of the tensors that are alive, as operators make them."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def see(self, made: Any) -> None:
        """Counts the tensors in what an operator has returned. Those that share memory count once."""
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return

        def gone(_: object) -> None:
            del self._alive[key]
            self.now -= size

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


class _Shapes:
    """Inputs of a step as tensors of the right shapes. See Inputs."""

    def __init__(self, device: torch.device):
        self.device = device

    def tensors(self, context: StepContext, make: Arrays) -> list[Tensor]:
        return [self._like(array) for array in make(context)]

    def number(self, context: StepContext, make: Callable[[StepContext], float]) -> float | Tensor:
        return make(context) if self.device.type == "cpu" else torch.zeros((), device=self.device)

    def generator(self, context: StepContext, purpose: Callable[[StepContext], Sequence[int]]) -> torch.Generator:
        return _silent(self.device)

    def _like(self, array: np.ndarray) -> Tensor:
        return torch.empty(array.shape, dtype=torch.from_numpy(array).dtype, device=self.device)


def _silent(device: torch.device) -> torch.Generator:
    """A random stream that says it is on a device, where none can draw fake tensors."""
    return type("Silent", (torch.Generator,), {"device": device})()


class _Still(Adam):
    """An optimizer that moves nothing: its own memory is known."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        pass


class _Counting(FakeTensorMode):
    """Makes all tensors fake, and counts those that the outermost operators return."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.live = LiveBytes()
        self.depth = 0

    def __torch_dispatch__(self, operator: Any, types: Any, inputs: Any = (), options: Any = None) -> Any:
        self.depth += 1
        try:
            made = super().__torch_dispatch__(operator, types, inputs, options or {})
        finally:
            self.depth -= 1
        if not self.depth:
            self.live.see(made)
        return made


def _peak_of_a_step(method: Method, dataset: ImageDataset, device: torch.device) -> int:
    counting = _Counting()
    with counting:
        known = {
            id(tensor): _fake(tensor) for network in method.networks.values() for tensor in _tensors(network.module)
        }
    stand_in = _stand_in(method, known)
    counting.live.peak = before = counting.live.now
    with counting:
        _take_step(stand_in, dataset, device, _Shapes(device))
    return counting.live.peak - before


def _stand_in(method: Method, known: dict[int, Any]) -> Method:
    """A copy of a method whose optimizers move nothing. known: what stands for its tensors, by their ids."""
    start = getattr(method, "start", None)
    left_out = {id(network.optimizer): object() for network in method.networks.values()}
    copied: Any = copy.deepcopy(method, {**known, **left_out, id(start): start})
    copied.networks = {
        name: TrainedNetwork(network.module, _Still(_trained(network.module)), network.lazy_ratio)
        for name, network in copied.networks.items()
    }
    return copied


def _fake(tensor: Tensor) -> Tensor:
    made = torch.empty_like(tensor)
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in module.parameters() if weight.requires_grad]


def _bytes_of(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in _tensors(module))


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
