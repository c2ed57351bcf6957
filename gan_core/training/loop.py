"""The training loop, as an iterator that its caller pulls."""

from __future__ import annotations

import atexit
import time
from collections import abc
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.images import ImageDataset
from ..files import clean
from ..generator import Generator
from ..locks import Owner, own
from .devices import best_device, cpu_threads, usable
from .distributed import World
from .history import Panels, Record
from .methods.adversarial import AdversarialRun
from .methods.variational import VariationalRun
from .monitor.verdict import Verdict
from .presets import AdversarialRecipe, TrainConfig
from .probe import settled
from .run import SAMPLES_FOLDER, Run


def train(
    dataset: ImageDataset,
    config: TrainConfig,
    device: torch.device | str | None = None,
    start: Generator | None = None,
    world: World | None = None,
    owner: Owner | None = None,
) -> Steps:
    """Trains a generator, one step at a time, and keeps it in the folder that the config names.

    The first value comes before the first step and then one after each; the last one holds the finished generator.
    Closing the iterator, or an exception at any point, writes a checkpoint from which `resume` goes on. On the CPU a
    resumed run reaches the same weights, bit for bit, as one that was never stopped.

    device: None for CUDA or MPS where there is one, else the CPU.
    start: the VAE that is gone on from, for a preset that tunes one. It is left as it is.
    world: the processes that train together, which all call this alike; None for this one alone. See `distributed`.
    owner: of the run's folder, for who keeps more in it than the run does; None to own it as long as the run lasts.

    A GAN that runs into trouble does what `config.on_trouble` says (see WatchedRun), which may be to end early: the
    last value then holds the best generator that there was, and `remarks` says why.

    Raises InputError for settings and data that do not fit and for a folder that another run is in, before anything is
    written, and where what was learned last cannot be kept, as on a full disk. Raises TrainingDiverged where a
    loss or weight is no longer finite and nothing sound was kept to go back to; the last good checkpoint then stays.
    """
    config.check()
    world = world or World()
    device = device or world.device
    chosen = usable(device) if device is not None else best_device()
    with own(config.folder) if owner is None and world.leads else nullcontext(owner) as owned:
        yield from _steps(dataset, config, chosen, start, world, owned)


def _steps(
    dataset: ImageDataset,
    config: TrainConfig,
    device: torch.device,
    start: Generator | None,
    world: World,
    owner: Owner | None,
) -> Steps:
    def settle() -> tuple[str, int | None, list[str]]:
        whole, remarks = settled(config, dataset, device)
        return whole.preset, whole.batch_size, remarks

    preset, batch_size, remarks = world.first(settle)
    config = replace(config, preset=preset, batch_size=batch_size)
    kind = AdversarialRun if isinstance(config.recipe, AdversarialRecipe) else VariationalRun
    run = kind(dataset, config, device, start, world)
    run.owner = owner
    if owner is not None:
        for folder in (run.folder, run.folder / SAMPLES_FOLDER):
            clean(folder)
    if owner is not None and owner.folder != owner.wanted:
        remarks.append(f"The name {owner.wanted.name} is taken: this run is kept in {owner.folder.name}.")
    if config.resume and not run.images:
        remarks.append(f"There is no run in {run.folder.name} to go on with: this is a new one.")
    if config.kimg is not None and run.images >= 1000 * config.kimg:
        at = f"{run.images / 1000:g} kimg"
        remarks.append(f"{run.folder.name} is already at {at}, and asked for are {config.kimg:g}: raise kimg to go on.")
    run.remarks[:0] = remarks
    # A script may end without closing the iterator. Python would do it later, when torch is already half gone.
    atexit.register(run.close)
    with world.listening():
        try:
            yield Progress.of(run)
            run.started = time.monotonic()  # so that any budget of minutes is enough for one step
            while not world.any(run.finished):
                with cpu_threads(run.recipe.cpu_threads):
                    run.advance()
                yield Progress.of(run)
        finally:
            atexit.unregister(run.close)
            run.close()


@dataclass(frozen=True)
class Progress:
    """Where a run stands. Cheap to make; samples and the generator are computed when asked for."""

    run: Run
    images: int
    """Real images shown so far."""
    fraction: float
    """Share of the budget that is spent, 0 to 1."""
    images_per_second: float
    record: Record | None
    """The latest losses and what else is measured."""

    @classmethod
    def of(cls, run: Run) -> Progress:
        return cls(run, run.images, run.fraction, run.images_per_second, run.history[-1] if run.history else None)

    def samples(self) -> Tensor:
        """Images [64, C, H, W] in [-1, 1] of the averaged generator as it is now, always of the same latents."""
        return self.run.samples()

    def preview(self) -> tuple[Tensor, int | None]:
        """Images [N, C, H, W] in [-1, 1] that show how far it is, and how many stand in a row (None: about as many as
        rows): samples of a GAN; for a VAE, rows of originals, and below each what it makes of them."""
        return self.run.preview()

    @property
    def generator(self) -> Generator:
        """A copy, on the CPU, of the averaged generator as it is now."""
        return self.run.generator_now()

    @property
    def history(self) -> list[Record]:
        """All records of the run, oldest first."""
        return self.run.history

    @property
    def verdict(self) -> Verdict | None:
        """What is wrong with the run as it stands, for a GAN; None where nothing is."""
        return self.run.verdict

    @property
    def remarks(self) -> list[str]:
        """What happened that a person should know, one sentence or two each, oldest first."""
        return self.run.remarks

    @property
    def panels(self) -> Panels:
        """What a chart of the history shows."""
        return self.run.panels

    @property
    def trouble(self) -> str:
        """What is wrong with the run as it stands, or why it ended early; empty where nothing is."""
        return self.run.trouble

    @property
    def failed(self) -> bool:
        """Whether the run ended early because training went wrong. Its generator is then the best that there was."""
        return self.run.failed

    @property
    def figures(self) -> str:
        """One line for people: how far it is, how fast, and what was measured."""
        text = f"{self.images / 1000:.1f} kimg, {self.images_per_second:.0f} images/s"
        return f"{text}, {self.run.in_words(self.record)}" if self.record else text

    def __str__(self) -> str:
        return f"{self.figures}. {self.trouble}" if self.record and self.trouble else self.figures


Steps = abc.Generator[Progress, None, None]
"""What train returns: an iterator that can be closed."""
