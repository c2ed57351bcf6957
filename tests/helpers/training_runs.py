"""How tests train: a run that goes to its end, one that is stopped on the way, and one that they lead by the hand."""

import itertools
from contextlib import closing
from typing import NamedTuple

import torch

from gan_core import Generator, ImageDataset, Progress, TrainConfig, train
from gan_core.training.distributed import World
from gan_core.training.loop import Session, Training
from gan_core.training.run import Run

CPU = torch.device("cpu")


class Trained(NamedTuple):
    """A training that has ended, and what it said last."""

    training: Training
    last: Progress


def happened(progress: Progress) -> tuple[str, ...]:
    """The remarks of a run without the advice on its few images."""
    return tuple(remark for remark in progress.remarks if not remark.startswith("There are only "))


def finish(dataset: ImageDataset, config: TrainConfig, start: Generator | None = None) -> Trained:
    """Trains to the end, on the CPU."""
    training = train(dataset, config, CPU, start)
    *_, last = training
    return Trained(training, last)


def steps_of(dataset: ImageDataset, config: TrainConfig, count: int, start: Generator | None = None) -> Trained:
    """Trains for so many steps, on the CPU, and stops there."""
    with closing(train(dataset, config, CPU, start)) as training:
        return Trained(training, next(itertools.islice(training, count, None)))


def begun(
    dataset: ImageDataset, config: TrainConfig, start: Generator | None = None, world: World | None = None
) -> Session:
    """A session on the CPU that has not taken a step. Each `advance` takes one; its folder is not locked."""
    return Session(Run(dataset, config, CPU, start, world))
