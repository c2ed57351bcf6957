"""The interface of training methods: what a run needs to know of one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ...architectures import Architecture
from ...data.dataset import Batch
from ...generator import Generator
from ..batches import Batches
from ..context import StepContext
from ..history import Charts, Record
from ..optimizer import TrainedNetwork
from ..settings import Recipe


@dataclass(frozen=True)
class StepResult:
    """What a step returns."""

    values: Mapping[str, Tensor]
    """Scalars for the record, by name, on the device. They are not read at every step, as a GPU would have to wait."""


@dataclass(frozen=True)
class Look:
    """What a method may look at when it is measured or shown."""

    since: int
    """Images that were shown at the look before."""
    images: int
    """Images that were shown by now."""
    due: bool
    """Whether the diagnostics that come at regular intervals fall due."""
    generator: Generator
    """The EMA of the generator as it is now, on the device: not a copy."""
    samples: Callable[[], Tensor]
    """Its images of the same latents as ever."""
    sample_labels: Tensor | None
    """Their class labels; None without classes."""
    batches: Batches
    """The data as batches on the device."""


class Method(Protocol):
    """One way to train: its networks, and what a step does to them."""

    recipe: Recipe
    """Its settings. A run that is in trouble replaces them by gentler ones."""
    architecture: Architecture
    """The family of the generator."""
    config: Any
    """The config of its networks."""
    networks: Mapping[str, TrainedNetwork]
    """All that learn, by their names in checkpoints; one is the "generator"."""
    averaged: tuple[str, ...]
    """The networks of which an EMA is kept, the "generator" first: it is what is sampled and saved."""
    batches_per_step: int
    losses: Mapping[str, str]
    """The values that must stay finite and at most `max_loss`, and what each is in a sentence."""
    max_loss: float
    charts: Charts
    """What a chart of the history shows."""
    meanings: Mapping[str, str]
    """What each value in the charts means, in a sentence."""
    min_images_to_hold_out: int
    """Of fewer images none is held out."""
    always_held_out: bool
    """Whether its runs held images out before their checkpoints said how many."""

    def build(self) -> dict[str, nn.Module]:
        """The networks with initial weights, by torch's global generator, on the CPU."""

    def kind(self, contexts: Sequence[StepContext]) -> Hashable:
        """Which of its kinds of steps comes then. Steps of one kind call the same operators, in the same order."""

    @property
    def moving(self) -> Sequence[Tensor]:
        """Tensors besides those of its networks that a step changes, in place."""

    def step(self, batches: Sequence[tuple[Batch, StepContext]]) -> StepResult:
        """Shows the networks `batches_per_step` batches, each with its context, and updates their weights."""

    def identity(self) -> dict[str, str]:
        """What must be the same when a run is resumed, besides the config of the networks."""

    def state(self) -> dict[str, Any]:
        """What the next step depends on besides weights and optimizers, as JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes that up from a checkpoint's state, which may be older than some of it; from an empty one, as at the
        beginning. Raises KeyError, TypeError or ValueError for a damaged one."""

    def measure(self, look: Look) -> dict[str, float]:
        """What is measured now and then, for the record."""

    def preview(self, look: Look) -> tuple[Tensor, int | None]:
        """Generated examples that show how far it is, and how many stand in a row; None for as many as rows."""

    def finished(self, generator: Generator, look: Look) -> Generator:
        """The generator as it is saved."""

    def describe(self) -> dict[str, Any]:
        """Entries of the generator's card about the training, besides those that all methods share."""

    def in_words(self, history: Sequence[Record]) -> str:
        """The latest record as part of a line for people."""
