"""The training loop, as an iterator that its caller pulls."""

from __future__ import annotations

import atexit
import time
from collections.abc import Generator as Steps
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from ..data.advice import advice_on
from ..data.images import ImageDataset
from ..errors import TrainingDiverged
from ..generator import Generator
from ..locks import Owner, own
from ..memory import is_out_of_memory
from . import memory
from .config import TrainConfig
from .devices import best_device, cpu_threads, usable
from .distributed import World
from .film import Film
from .history import Charts, Record
from .monitor.monitor import Monitor
from .monitor.policy import Policy
from .monitor.verdict import Verdict
from .probe import settled
from .run import Requests, Run
from .run_files import RunFiles
from .snapshot import Snapshot


def train(
    dataset: ImageDataset,
    config: TrainConfig,
    device: torch.device | str | None = None,
    start: Generator | None = None,
    world: World | None = None,
    owner: Owner | None = None,
) -> Training:
    """Trains a generator, one step at a time, and keeps it in the folder that the config names.

    Iterate over the result: the first Progress comes before the first step and then one after each. Closing it, or an
    exception at any point, writes a checkpoint from which `resume` goes on. On the CPU a resumed run reaches the same
    weights, bit for bit, as one that was never stopped.

    device: None for CUDA or MPS where there is one, else the CPU.
    start: the VAE that is fine-tuned, for a preset that does that. It is left as it is.
    world: the processes that train together, which all call this alike; None for this one alone. See `distributed`.
    owner: of the run's folder, for a caller who keeps more in it than the run does; None to own it during the run.

    A GAN that runs into trouble does what `config.on_trouble` says (see monitor/policy.py), which may be to end early:
    its generator is then the best that there was, and `remarks` says why.

    The first step raises InputError for settings and data that do not fit and for a folder that another run is in,
    before anything is written; the last one where what was learned cannot be kept, as on a full disk. Any step raises
    TrainingDiverged where a loss or weight is no longer finite and nothing healthy was kept to go back to; the last
    good checkpoint then stays. OutOfMemory, an InputError, says which batch would fit.
    """
    return Training(dataset, config, device, start, world or World(), owner)


@dataclass(frozen=True)
class Progress:
    """Where a run stood after a step: a value that stays as it is."""

    images: int
    """Real images shown so far."""
    fraction: float
    """Share of the budget that is spent, 0 to 1."""
    images_per_second: float
    seconds_left: float | None
    """Estimate of the seconds until the budget is spent; None before the first step, and without a budget."""
    record: Record | None
    """The latest losses and what else is measured."""
    figures: str
    """One line for people: how far it is, how fast, how long it will take, and what was measured; before the first step
    what it is going to do."""
    remarks: tuple[str, ...]
    """What happened that a person should know, one sentence or two each, oldest first."""
    verdict: Verdict | None
    """What is wrong with the run as it stands; None where nothing is."""
    trouble: str
    """That in a sentence, or why it ended early; empty where nothing is wrong."""
    failed: bool
    """Whether the run ended early because training went wrong. Its generator is then the best that there was."""

    def as_json(self) -> dict[str, Any]:
        """All of it as values that JSON has."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.figures}. {self.trouble}" if self.record and self.trouble else self.figures


class Training:
    """A training at work. Iterating over it trains; between two steps it can be looked at."""

    def __init__(
        self,
        dataset: ImageDataset,
        config: TrainConfig,
        device: torch.device | str | None,
        start: Generator | None,
        world: World,
        owner: Owner | None,
    ):
        """As `train`."""
        # The generator holds a list and not this object: it is then closed as soon as nobody holds the training.
        self._started: list[Session] = []
        self._requests = Requests()
        self._steps = _owned(dataset, config, device, start, world, owner, self._requests, self._started)

    def __iter__(self) -> Training:
        return self

    def __next__(self) -> Progress:
        return next(self._steps)

    def __enter__(self) -> Training:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends it, and writes a checkpoint of what was learned since the last one."""
        self._steps.close()

    def finish(self) -> None:
        """Ends it after the step that it is in, as at the end of its budget. May be called from any thread."""
        self._requests.finish = True

    @property
    def finished_early(self) -> bool:
        """Whether it ended before its budget was spent because `finish` was called."""
        return self._requests.finish and self.run.fraction < 1

    def save(self) -> None:
        """Writes a checkpoint after the step that it is in. May be called from any thread."""
        self._requests.checkpoint = True

    def wait(self, seconds: float) -> None:
        """Pauses between two steps, and writes a checkpoint that is asked for. A pause counts neither for a budget of
        minutes nor for the speed."""
        began = time.monotonic()
        if self._requests.checkpoint:
            self._started[0].files.checkpoint()
        time.sleep(seconds)
        self.run.discount(time.monotonic() - began)

    def snapshot(self) -> Snapshot | None:
        """Where it stands; None before the first step. May be called from any thread."""
        return self._started[0].files.snapshot() if self._started else None

    @property
    def film(self) -> Film:
        """The sheets of its samples, from the first step on."""
        return self._started[0].files.film

    def sheet(self) -> Image:
        """An image of `preview`."""
        return self.run.dataset.medium.sheet(*self.preview())

    @property
    def run(self) -> Run:
        """The run itself, from the first step on."""
        return self._started[0].run

    @property
    def generator(self) -> Generator:
        """A copy, on the CPU, of the EMA of the generator as it is now; the best one, once it has ended early."""
        return self.run.generator()

    @property
    def history(self) -> list[Record]:
        """All records of the run, oldest first."""
        return self.run.history

    @property
    def remarks(self) -> list[str]:
        """What happened that a person should know, oldest first; also what closing it could not write."""
        return self.run.remarks

    @property
    def charts(self) -> Charts:
        """What a chart of the history shows."""
        return self.run.method.charts

    @property
    def keeps_something(self) -> bool:
        """Whether there is a checkpoint in the run's folder."""
        return bool(self._started) and self._started[0].files.kept_images > 0

    def samples(self) -> Tensor:
        """Images [64, C, H, W] in [-1, 1] of the EMA of the generator as it is now, always of the same latents."""
        return self.run.samples()

    def preview(self) -> tuple[Tensor, int | None]:
        """Images [N, C, H, W] in [-1, 1] that show how far it is, and how many stand in a row (None: about as many as
        rows): samples of a GAN; for a VAE, rows of originals, and below each its reconstructions."""
        return self.run.preview()


def _owned(
    dataset: ImageDataset,
    config: TrainConfig,
    device: torch.device | str | None,
    start: Generator | None,
    world: World,
    owner: Owner | None,
    requests: Requests,
    started: list[Session],
) -> Steps[Progress, None, None]:
    config.check()
    device = device or world.device
    chosen = usable(device) if device is not None else best_device()
    with own(config.folder) if owner is None and world.is_main else nullcontext(owner) as owned:

        def settle() -> tuple[str, dict[str, Any], list[str]]:
            whole, remarks = settled(config, dataset, chosen)
            return whole.preset, dict(whole.settings), remarks

        preset, settings, remarks = world.broadcast(settle)
        whole = replace(config, preset=preset, settings=settings)
        try:
            run = Run(dataset, whole, chosen, start, world)
            run.requests = requests
            session = Session(run, owned)
            advice = [] if run.images else world.broadcast(lambda: advice_on(dataset))
            run.remarks[:0] = [*remarks, *advice, *_remarks_on_start(run, owned), *memory.remarks_on(run)]
            started.append(session)
            yield from _steps(session)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        # Outside of the except clause, whose error would keep the memory of the step.
        raise memory.exhausted_by(whole, dataset, chosen, start, started[0].run if started else None, world)


class Session:
    """A run with its files, and with what watches over it."""

    def __init__(self, run: Run, owner: Owner | None = None):
        """Raises InputError where early stopping by KID was asked for and KID cannot be measured."""
        self.run = run
        self.files = RunFiles(run, owner)
        self.monitor, self.policy = Monitor(run, self.files), Policy(run, self.files)

    def advance(self) -> None:
        """One step, and what falls due after it: a record, a diagnosis, a checkpoint.

        Raises TrainingDiverged where numbers are broken and the policy has nothing to go back to.
        """
        run, monitor = self.run, self.monitor
        try:
            run.step()
            if run.record_is_due:
                measured = run.world.broadcast(monitor.measure)
                run.standing.measured_images = run.images  # in all processes alike
                run.record(measured)
            if run.diagnosis_is_due:
                self.policy.respond(monitor.verdict())
            if self.files.checkpoint_is_due:
                self.files.checkpoint()
        except TrainingDiverged as error:
            self.policy.recover(error)


def _steps(session: Session) -> Steps[Progress, None, None]:
    run, files = session.run, session.files
    words = _Words(run)
    # A script may end without closing the iterator. Python would do it later, when torch is already half gone.
    atexit.register(files.close)
    with run.world.listening():
        try:
            yield words.progress()
            run.started = time.monotonic()  # so that any budget of minutes is enough for one step
            while not run.world.any_rank(run.finished):
                with cpu_threads(run.recipe.cpu_threads):
                    session.advance()
                yield words.progress()
        finally:
            atexit.unregister(files.close)
            files.close()


def _remarks_on_start(run: Run, owner: Owner | None) -> list[str]:
    remarks = []
    if owner is not None and owner.folder != owner.wanted:
        remarks.append(f"The name {owner.wanted.name} is taken: this run is kept in {owner.folder.name}.")
    kimg = run.config.kimg
    if run.config.resume and not run.images:
        remarks.append(f"There is no run in {run.folder.name} to resume: this is a new one.")
    if kimg is not None and run.images >= 1000 * kimg:
        remarks.append(
            f"{run.folder.name} is already at {run.images / 1000:g} kimg, and the budget is {kimg:g}: raise kimg to "
            "continue."
        )
    return remarks


SPEED_STEPS = 16
"""Steps after which the time that is left is told: the first ones are slower."""


class _Words:
    """Makes the Progress of a run. What its records say is put into words once a record, not once a step."""

    def __init__(self, run: Run):
        self.run = run
        self.record: Record | None = None
        self.text = ""

    def progress(self) -> Progress:
        run = self.run
        record = run.history[-1] if run.history else None
        if record is not self.record:
            self.record, self.text = record, f", {run.method.in_words(run.history)}" if record else ""
        fraction, speed, left = run.fraction, run.images_per_second, run.seconds_left
        return Progress(
            run.images,
            fraction,
            speed,
            left,
            record,
            f"{_plan(run) if run.images == run.images_at_start else _course(run, fraction, speed, left)}{self.text}",
            tuple(run.remarks),
            run.verdict,
            run.ended or str(run.verdict or ""),
            run.failed,
        )


def _course(run: Run, fraction: float, speed: float, left: float | None) -> str:
    """How far a run has come, how fast, and how long it will take. The rest as in Progress."""
    known = run.images - run.images_at_start >= SPEED_STEPS * run.images_per_step
    how_long = f", about {_in_words(left)} left" if left and known and fraction < 1 else ""
    return f"{run.images / 1000:.1f} kimg, {speed:.0f} images/s{how_long}"


def _plan(run: Run) -> str:
    """What a run is going to do: with which images and preset, and how long."""
    data, config = run.dataset, run.config
    budgets = {"minutes": config.minutes, "kimg": config.kimg}
    until = " or ".join(f"{budget:g} {unit}" for unit, budget in budgets.items() if budget is not None)
    begun = f" from {run.images / 1000:.1f} kimg on" if run.images else ""
    return (
        f"{len(data):,} images of {data.width}x{data.height}x{data.channels}, preset {config.preset}, batches of "
        f"{run.recipe.batch_size}, {until}{begun}"
    )


def _in_words(seconds: float) -> str:
    """A duration for people, in the unit that suits it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"
