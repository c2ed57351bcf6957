"""Steps of a training as CUDA graphs.

A step of a small network is hundreds of short kernels, and Python launches them more slowly than a GPU computes them. A
CUDA graph launches all of a step at once. It repeats what was captured, with the same memory: a step's inputs are
written into that memory before each replay, and whatever a step changes, it changes in place.

Each kind of step has a graph of its own, captured after a few eager steps and compared with one. Where a capture fails
or a replay does something else, the run goes on eagerly.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from .context import Arrays, Inputs, StepContext

EAGER_STEPS = 3
"""Steps of each kind that are taken before one is captured, so that all that is made once is there."""

MAX_DEVIATION = 0.3
"""How far a replayed step may end from the same step taken eagerly, as a share of the way. The order of sums changes
between two runs of some kernels, and Adam makes steps of equal size of small gradients whatever their sign. Stale
inputs lead somewhere else, by a share above 1."""

ALIGNMENT = 512
"""Bytes, as of what torch's allocators give out: kernels are chosen, and their sums ordered, by it too."""

log = logging.getLogger(__name__)


class Learned(NamedTuple):
    """What a step returns for the record."""

    names: list[str]
    values: Tensor
    """float32 [len(names)]."""


Learn = Callable[[Sequence[StepContext]], Learned]
"""Takes a whole step, given the context of each of its batches."""


Work = Callable[[], Learned]


class Recorder(Protocol):
    """What can repeat work on a device."""

    def eagerly(self, work: Work) -> Learned:
        """Does the work once."""

    def record(self, work: Work, generators: Sequence[Generator]) -> tuple[Learned, Callable[[], None]]:
        """Captures the work, which draws from these generators, without doing it. Returns what it will return, and what
        does it. Raises RuntimeError where that is not possible."""


class Stepper:
    """Takes the steps of a run, by replays where it can."""

    def __init__(
        self,
        learn: Learn,
        written: Callable[[], list[list[Tensor]]],
        weights: Callable[[], list[Tensor]],
        recorder: Recorder | None,
    ):
        """written: all tensors that a step changes, in groups that are compared as a whole. weights: those that get
        gradients. recorder: None to take all steps eagerly."""
        self.learn, self.written, self.weights, self.recorder = learn, written, weights, recorder
        self._eager: dict[Hashable, int] = {}
        self._captured: dict[Hashable, _Captured] = {}

    def forget(self) -> None:
        """Drops all graphs: tensors have been replaced, or the recipe."""
        self._eager.clear()
        self._captured.clear()

    def take(self, kind: Hashable, contexts: Sequence[StepContext]) -> Learned:
        """One step of that kind."""
        recorder = self.recorder
        if recorder is None:
            return self.learn(contexts)
        if kind in self._captured:
            return recorder.eagerly(lambda: self._captured[kind].replay(contexts))
        self._eager[kind] = self._eager.get(kind, 0) + 1
        if self._eager[kind] <= EAGER_STEPS:
            return recorder.eagerly(lambda: self.learn(contexts))
        return recorder.eagerly(lambda: self._capture(recorder, kind, contexts))

    def _capture(self, recorder: Recorder, kind: Hashable, contexts: Sequence[StepContext]) -> Learned:
        """Takes the step eagerly and captures it; keeps the graph if its replay does the same."""
        written = self.written()
        before = _copies(written)
        noted = _Noted(contexts[0].inputs)
        learned = self.learn([replace(context, inputs=noted) for context in contexts])
        learned = Learned(learned.names, learned.values.clone())
        after = _copies(written)
        for weight in self.weights():
            weight.grad = None  # a captured step makes its own
        try:
            captured = _Captured(recorder, self.learn, self.weights(), noted, contexts)
            _write(written, before)
            replayed = captured.replay(contexts)
            deviation = _deviation(written, before, after)
            if replayed.names != learned.names or not deviation <= MAX_DEVIATION:
                raise RuntimeError(f"a replayed step ended {100 * deviation:.0f} % of the way from the same step")
        except RuntimeError as error:
            log.info("Steps are not captured as CUDA graphs, and go on eagerly: %s", str(error).split("\n")[0])
            self.recorder = None
            self.forget()
        else:
            self._captured[kind] = captured
        _write(written, after)
        return learned


class _Captured:
    """A captured step, which can be taken again with other inputs."""

    def __init__(
        self, recorder: Recorder, learn: Learn, weights: list[Tensor], noted: _Noted, contexts: Sequence[StepContext]
    ):
        self.inputs = _Static(noted, contexts)
        given = [replace(context, inputs=self.inputs) for context in contexts]
        self.learned, self._repeat = recorder.record(lambda: learn(given), self.inputs.generators)
        self.weights = weights
        self.gradients = [weight.grad for weight in weights]  # kept, as other graphs would take their memory

    def replay(self, contexts: Sequence[StepContext]) -> Learned:
        self.inputs.load(contexts)
        self._repeat()
        for weight, gradient in zip(self.weights, self.gradients, strict=True):
            weight.grad = gradient
        return Learned(self.learned.names, self.learned.values.clone())


class _Form(NamedTuple):
    """How an array lies in memory."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    axes: tuple[int, ...]
    """Those of the array, from the outermost in memory to the innermost."""

    @classmethod
    def of(cls, tensor: Tensor) -> _Form:
        strides = tensor.stride()
        return cls(
            tuple(tensor.shape), tensor.dtype, tuple(sorted(range(tensor.ndim), key=lambda axis: -strides[axis]))
        )

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def bytes_of(self, array: np.ndarray) -> np.ndarray:
        """The array's numbers in that order, uint8 [size]; no copy of one that lies so."""
        return np.ascontiguousarray(array.transpose(self.axes)).reshape(-1).view(np.uint8)

    def view(self, memory: Tensor) -> Tensor:
        """The inverse: a tensor over that memory."""
        inside = memory.view(self.dtype).view([self.shape[axis] for axis in self.axes])
        return inside.permute([self.axes.index(axis) for axis in range(len(self.axes))])


@dataclass(frozen=True)
class _Asked:
    """An input that a step has asked for."""

    substep: int
    """Of the context that was asked."""
    make: Arrays
    forms: list[_Form]


class _Noted:
    """Inputs as another makes them; what was asked for is noted. See Inputs."""

    def __init__(self, inputs: Inputs):
        self.inputs = inputs
        self.arrays: list[_Asked] = []
        self.purposes: list[tuple[int, Callable[[StepContext], tuple[int, ...]]]] = []

    def tensors(self, context: StepContext, make: Arrays) -> list[Tensor]:
        made = self.inputs.tensors(context, make)
        self.arrays.append(_Asked(context.substep, make, [_Form.of(each) for each in made]))
        return made

    def number(self, context: StepContext, make: Callable[[StepContext], float]) -> float | Tensor:
        scalar = _Form((), torch.float32, ())
        self.arrays.append(_Asked(context.substep, lambda now: [np.array(make(now), np.float32)], [scalar]))
        return self.inputs.number(context, make)

    def generator(self, context: StepContext, purpose: Callable[[StepContext], tuple[int, ...]]) -> Generator:
        self.purposes.append((context.substep, purpose))
        return self.inputs.generator(context, purpose)


class _Static:
    """Inputs in memory that stays where it is, filled for each step by one copy. See Inputs.

    They are asked for in the order that was noted.
    """

    def __init__(self, noted: _Noted, contexts: Sequence[StepContext]):
        device = contexts[0].streams.device
        self.noted = noted
        self.generators = [Generator(device) for _ in noted.purposes]
        self._places: list[list[slice]] = []  # in memory, of the arrays of each question
        size = 0
        for asked in noted.arrays:
            places = []
            for form in asked.forms:
                places.append(slice(size, size + form.size))
                size = -(-(size + form.size) // ALIGNMENT) * ALIGNMENT
            self._places.append(places)
        self._memory = torch.empty(size, dtype=torch.uint8, device=device)
        self.load(contexts)

    def load(self, contexts: Sequence[StepContext]) -> None:
        """Makes the inputs of a step, and copies them to the device without waiting for it."""
        self._questions, self._purposes = 0, 0
        # The allocator of pinned memory gives it out again when the copy is done.
        host = torch.empty(len(self._memory), dtype=torch.uint8, pin_memory=self._memory.is_cuda)
        raw = host.numpy()
        for asked, places in zip(self.noted.arrays, self._places, strict=True):
            made = asked.make(contexts[asked.substep])
            for place, form, array in zip(places, asked.forms, made, strict=True):
                raw[place] = form.bytes_of(array)
        self._memory.copy_(host, non_blocking=True)
        for generator, (substep, purpose) in zip(self.generators, self.noted.purposes, strict=True):
            generator.manual_seed(contexts[substep].streams.seed_of(*purpose(contexts[substep])))

    def tensors(self, context: StepContext, make: Arrays) -> list[Tensor]:
        number, self._questions = self._questions, self._questions + 1
        forms = self.noted.arrays[number].forms
        return [form.view(self._memory[place]) for form, place in zip(forms, self._places[number], strict=True)]

    def number(self, context: StepContext, make: Callable[[StepContext], float]) -> float | Tensor:
        return self.tensors(context, lambda now: [])[0]

    def generator(self, context: StepContext, purpose: Callable[[StepContext], tuple[int, ...]]) -> Generator:
        number, self._purposes = self._purposes, self._purposes + 1
        return self.generators[number]


class CUDARecorder:
    """CUDA graphs of one device, which share their memory, as one is replayed at a time. See Recorder."""

    def __init__(self, device: torch.device):
        self.device = device
        # Work is captured on a stream that is not the default one, and autograd binds a network's weights to the stream
        # on which they were first used: so all steps are taken there.
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def eagerly(self, work: Work) -> Learned:
        with self._aside():
            return work()

    def record(self, work: Work, generators: Sequence[Generator]) -> tuple[Learned, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        # Other threads of the process, such as those of ComfyUI, may use the device meanwhile.
        with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
            learned = work()
        return learned, graph.replay

    @contextmanager
    def _aside(self) -> Iterator[None]:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)


def _copies(groups: list[list[Tensor]]) -> list[list[Tensor]]:
    """Copies on the CPU: the device's memory may be full at a moment like this."""
    return [[tensor.detach().to("cpu", copy=True) for tensor in group] for group in groups]


@torch.no_grad()
def _write(groups: list[list[Tensor]], values: list[list[Tensor]]) -> None:
    for group, new in zip(groups, values, strict=True):
        for tensor, value in zip(group, new, strict=True):
            tensor.copy_(value)


@torch.no_grad()
def _deviation(groups: list[list[Tensor]], before: list[list[Tensor]], after: list[list[Tensor]]) -> float:
    """How far the groups are from `after`, as a share of its distance from `before`: the largest of all groups'."""
    worst = 0.0
    for here, start, end in zip(groups, before, after, strict=True):
        apart, way, size = _distance(here, end), _distance(start, end), _distance(end, [0.0] * len(end))
        if not math.isfinite(apart):
            return math.inf
        worst = max(worst, apart / (way + 1e-6 * size) if apart else 0.0)
    return worst


def _distance(some: Sequence[Tensor], others: Sequence[Tensor | float]) -> float:
    return math.sqrt(sum(float((a.cpu().double() - b).square().sum()) for a, b in zip(some, others, strict=True)))
