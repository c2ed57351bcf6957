"""What two processes that train together do and find: tests/core/training/test_distributed.py starts this file twice.

python two_processes.py FOLDER, with the environment that torchrun sets. Each process leaves what it found in FOLDER.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from training_runs import CPU, Trained

from gan_core import ImageDataset, InputError, TrainConfig, train
from gan_core.errors import ProcessLost
from gan_core.training import run as runs
from gan_core.training.distributed import World, joined
from gan_core.training.methods.adversarial import Adversarial
from gan_core.training.monitor import verdict as verdicts
from gan_core.training.monitor.verdict import Verdict
from gan_core.training.presets import GAN_PRESETS, PRESETS, VAE_PRESETS
from gan_core.training.run import Run
from gan_core.training.settings import AdversarialRecipe

BATCH = 6
"""Of both processes together; does not divide the 20 images, so that batches cross from one epoch to the next."""

STEPS = 4

DIAGNOSED = 96
"""Images of which some are held out."""

SMALL = replace(GAN_PRESETS["dcgan_small"], network={"width": 8, "latent_size": 8, "refine": 1})
PRESETS["small"] = SMALL
PRESETS["small_vae"] = replace(VAE_PRESETS["conv_vae"], network={"width": 8})
PRESETS["lazy"] = replace(SMALL, penalty="r1_r2", penalty_every=2, penalty_estimate="finite", learning_rate=1e-4)
PRESETS["styles"] = AdversarialRecipe(
    "stylegan2",
    {"base": 64, "largest": 8, "latent_size": 4, "w_dim": 4, "mapping_layers": 2},
    penalty_every=2,
    path_length=2.0,
)

ALIKE = {
    "relativistic": {"objective": "relativistic", "augment": "ada"},
    "log": {"objective": "log", "augment": "diffaugment"},
    "hinge": {"objective": "hinge", "lecam": 0.1},
    "wgan": {"objective": "wgan", "kimg": 2 * 5 * BATCH / 1000},
    "lazy": {"preset": "lazy"},
    "vae": {"preset": "small_vae", "adversarial_kimg": 0.0},
}
"""Trainings whose weights are compared with those of one process."""


def dataset(count: int = 20) -> ImageDataset:
    """Images of noise in colour, 16x16, in 2 classes, that may be mirrored."""
    pixels = np.random.RandomState(3).randint(0, 256, (count, 16, 16, 3), np.uint8)
    labels = np.arange(count, dtype=np.int64) % 2
    return ImageDataset(pixels, "noise", "0" * 64, labels, ("even", "odd"), mirror=True)


def config(folder: Path, steps: int = STEPS, **changes: Any) -> TrainConfig:
    settings = {"preset": "small", "batch_size": BATCH, "kimg": steps * BATCH / 1000, "precision": "fp32", "seed": 1}
    return TrainConfig.of(folder, **{**settings, **changes})


def finished(config: TrainConfig, world: World | None = None, count: int = 20) -> Trained:
    training = train(dataset(count), config, CPU, world=world)
    *_, last = training
    return Trained(training, last)


def state_of(run: Run) -> dict[str, Any]:
    """What a checkpoint keeps of a run besides its networks."""
    return {**run.standing.state(), **run.method.state()}


def features(rank: int, size: int) -> torch.Tensor:
    """A process's share of features of 8 images, whose mean is far from 0."""
    return (torch.from_numpy(np.random.RandomState(4).standard_normal((8, 3, 5, 5))).float() + 100).chunk(size)[rank]


def normalised(norm: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a batch norm makes of features, the gradients of some function of that, and what it keeps."""
    norm.zero_grad()
    x = x.requires_grad_()
    y = norm(x)
    torch.linspace(-1, 1, y[0].numel()).view(y.shape[1:]).mul(y).sin().mean().backward()
    assert x.grad is not None
    gradients = {f"{name}.grad": weight.grad for name, weight in norm.named_parameters()}
    found = {"y": y.detach(), "x.grad": x.grad, **gradients, **norm.state_dict()}
    return {name: tensor.clone() for name, tensor in found.items()}


def _networks(run: Run) -> dict[str, torch.Tensor]:
    """All weights and statistics of a run, and the last gradients."""
    found = {}
    for name, network in run.method.networks.items():
        module = network.module
        found |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        found |= {f"{name}.{key}.grad": w.grad for key, w in module.named_parameters() if w.grad is not None}
    found |= {f"average.{key}": value for key, value in run.ema["generator"].state_dict().items()}
    return {key: value.clone().contiguous() for key, value in found.items()}


@contextmanager
def patched() -> Iterator[None]:
    """Diagnoses a run after every 2 steps, and finds what there is to be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "DIAGNOSED_EVERY", 2 * BATCH)
        patch.setattr(Adversarial, "min_images_to_hold_out", DIAGNOSED)
        collapse = Verdict("collapse", "Samples are all alike.")
        patch.setattr(verdicts, "healthy", lambda history: True)
        patch.setattr(verdicts, "verdict", lambda history, shown: collapse if history[-1].images >= 4 * BATCH else None)
        yield


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except InputError as error:
        return str(error)
    return ""


def main(folder: Path, world: World) -> None:
    found: dict[str, Any] = {}
    # Only the main process is on a machine that has the runs.
    here = folder if world.is_main else folder / "elsewhere"

    def same(name: str, count: int = 20, **changes: Any) -> None:
        training, _ = finished(config(here / name, **changes), world, count)
        save_file(_networks(training.run), folder / f"{name}.{world.rank}.safetensors")
        found[name] = {"history": [[r.images, r.values] for r in training.history], "state": state_of(training.run)}

    for name, changes in ALIKE.items():
        same(name, **changes)
    same("styles", preset="styles")  # whose networks draw noise by themselves, other numbers than one process

    # Norms of one process, and of both.
    norms = nn.Sequential(nn.BatchNorm2d(3))
    world.synchronise_batch_norm(norms)
    save_file(normalised(norms, features(world.rank, world.size)), folder / f"norm.{world.rank}.safetensors")

    found["batch"] = _refusal(lambda: finished(config(here / "odd", batch_size=5), world))
    other = replace(dataset(), fingerprint=str(world.rank) * 64)
    found["data"] = _refusal(lambda: next(train(other, config(here / "other"), "cpu", world=world)))
    found["seed"] = _refusal(lambda: finished(config(here / "other", seed=world.rank), world))
    found["there"] = _refusal(lambda: finished(config(here / "log"), world))

    # From two processes to one, and back to two.
    finished(config(here / "resumed", steps=2), world)
    if world.is_main:
        finished(config(here / "resumed", steps=4, resume=True))
    same("resumed", steps=6, resume=True)

    # The clock of the main process begins before that of the second.
    with closing(train(dataset(), config(here / "clock", kimg=None, minutes=0.01), "cpu", world=world)) as steps:
        next(steps)
        time.sleep(0.3 * world.rank)
        found["clock"] = [progress.images for progress in steps][-1]

    # One that is found to have collapsed, each time after 4 steps, and goes back to its last healthy state, after 2.
    with patched():
        same("rolled back", count=DIAGNOSED, steps=100, on_trouble="rollback")

    # One is asked to stop, and both do.
    try:
        for progress in train(dataset(), config(here / "stopped", steps=1000), "cpu", world=world):
            found["stopped"] = progress.images
            if progress.images == 2 * BATCH and not world.is_main:
                os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        found["interrupted"] = True

    # One fails, and the other finds out.
    try:
        for progress in train(dataset(), config(here / "lost", steps=1000), "cpu", world=world):
            if progress.images == 2 * BATCH and not world.is_main:
                break
    except ProcessLost as error:
        found["lost"] = str(error)
    found["speaks"] = world.speaks()
    (folder / f"found{world.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined("cpu") as together:
        main(Path(sys.argv[1]), together)
        os._exit(0)  # as a process ends that has failed, which says goodbye to nobody
