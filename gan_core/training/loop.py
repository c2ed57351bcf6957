"""The training loop, as an iterator that its caller pulls."""

from __future__ import annotations

import atexit
import copy
import math
import time
from collections import abc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from .. import architectures, pictures
from ..architectures import Architecture
from ..dataset import ImageDataset
from ..errors import InputError, TrainingDiverged
from ..files import check_writable
from ..generator import Generator
from ..latents import Latent, sample_noise
from ..objectives import OBJECTIVES, gradient_penalty
from . import averaging, checkpoint
from . import history as histories
from .checkpoint import Checkpoint
from .history import Record
from .recipes import Recipe, TrainConfig

RECORD_STEPS = 8
"""Steps between two records, after the first few. Reading a loss makes a GPU wait, so it is not done at every step."""

CHECKPOINT_SECONDS = 60.0
"""What a crash can cost at most."""

MAX_LOSS = 1e4
"""Beyond this a loss has exploded: healthy ones stay below a hundred."""

SAMPLES = 64
"""Images in a run's grid of samples; their seeds are 0, 1, 2, ..."""


def train(dataset: ImageDataset, config: TrainConfig, device: torch.device | str | None = None) -> Steps:
    """Trains a generator, one step at a time, and keeps it in the folder that the config names.

    The first value comes before the first step and then one after each; the last one holds the finished generator.
    Closing the iterator, or an exception at any point, writes a checkpoint from which `resume` goes on. On the CPU a
    resumed run reaches the same weights, bit for bit, as one that was never stopped.

    device: None for CUDA or MPS where there is one, else the CPU.

    Raises InputError for settings and data that do not fit, before anything is written, and TrainingDiverged where a
    loss or weight is no longer finite; the last good checkpoint then stays.
    """
    run = Run(dataset, config, usable(device) if device is not None else best_device())
    # A script may end without closing the iterator. Python would do it later, when torch is already half gone.
    atexit.register(run.close)
    try:
        yield run.progress()
        run.started = time.monotonic()  # so that any budget of minutes is enough for one step
        while not run.finished:
            with cpu_threads(run.recipe.cpu_threads):
                real, labels = run.next_batch()
                run.discriminator_step(real, labels)
                run.generator_step(real, labels)
                run.count()
            yield run.progress()
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
    """The latest losses and scores."""

    def samples(self) -> Tensor:
        """Images [SAMPLES, C, H, W] in [-1, 1] of the averaged generator as it is now, always of the same latents."""
        return self.run.samples()

    @property
    def generator(self) -> Generator:
        """A copy, on the CPU, of the averaged generator as it is now."""
        return self.run.generator_now()

    @property
    def history(self) -> list[Record]:
        """All records of the run, oldest first."""
        return self.run.history

    def __str__(self) -> str:
        text = f"{self.images / 1000:.1f} kimg, {self.images_per_second:.0f} images/s"
        if self.record:
            text += f", loss D {self.record.discriminator_loss:.2f} G {self.record.generator_loss:.2f}"
        return text


Steps = abc.Generator[Progress, None, None]
"""What train returns: an iterator that can be closed."""


class Run:
    """One training: two networks, an average, and how far they have come."""

    def __init__(self, dataset: ImageDataset, config: TrainConfig, device: torch.device):
        """Starts anew or resumes, as the config says. Raises InputError where either cannot be."""
        config.check()
        self.dataset, self.config, self.device = dataset, config, device
        self.recipe: Recipe = config.recipe
        self.objective = OBJECTIVES[self.recipe.objective]
        self.folder = Path(config.folder)
        self.architecture = architectures.by_name(self.recipe.architecture)
        self.network = self.architecture.config(
            side=dataset.side, channels=dataset.channels, classes=dataset.classes, **self.recipe.network
        )
        if len(dataset) < self.recipe.batch_size:
            raise InputError(
                f"{dataset.name} has {len(dataset)} images, fewer than a batch of {self.recipe.batch_size}: add images"
                + (f", or set the batch size to {len(dataset)} or less." if len(dataset) > 1 else ".")
            )
        check_writable(self.folder)
        found = checkpoint.read(self.folder)
        if found and not config.resume:
            raise InputError(f"{self.folder} already holds a run: resume it, or choose another name for the new one.")
        if found:
            self._check_resumable(found.state)

        self.seed: int = found.state["seed"] if found else config.seed
        self.images: int = found.state["images"] if found else 0
        self.steps: int = found.state["steps"] if found else 0
        self.history: list[Record] = []
        self.pending: list[Tensor] = []
        self.diverged = False

        self.generator, self.discriminator = (
            _in_memory_format(module.to(device), torch.channels_last)
            for module in build(self.architecture, self.network, self.objective.normalisation, self.seed)
        )
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.generator_optimizer = self._optimizer(self.generator)
        self.discriminator_optimizer = self._optimizer(self.discriminator)
        if found:
            self._restore(found)

        self.latents: Latent | None = None
        self.order = (-1, np.empty(0, np.int64))  # epoch, its permutation
        self.images_at_start, self.started = self.images, time.monotonic()
        self.checkpointed, self.images_kept = self.started, self.images

    # One step.

    def next_batch(self) -> tuple[Tensor, Tensor | None]:
        """Real images [N, C, H, W] in [-1, 1] and their labels [N], on the device."""
        indices = self._indices(self.images, self.recipe.batch_size)
        mirrored = self._random(_MIRROR, self.steps).random(len(indices)) < 0.5 if self.dataset.mirror else None
        pixels = self._to_device(self.dataset.batch(indices, mirrored))
        real = pixels.float().div_(127.5).sub_(1)
        labels = self.dataset.labels
        return real, None if labels is None else self._to_device(torch.from_numpy(labels[indices]))

    @torch.enable_grad()
    def discriminator_step(self, real: Tensor, labels: Tensor | None) -> None:
        """Teaches D to tell x from G(z); G(z) is kept for the generator's step."""
        self.discriminator.requires_grad_(True)
        with self._autocast():
            self.fake = self.generator(self._noise(len(real)), labels)
            fake = self.fake.detach().float()
            if self.objective.penalised:
                real, fake = real.requires_grad_(), fake.requires_grad_()
            real_logits, fake_logits = self.discriminator(real, labels), self.discriminator(fake, labels)
            loss = self.objective.loss(real_logits, fake_logits).discriminator
        penalty: Tensor | float = 0.0
        if self.objective.penalised:
            penalty = self._gamma / 2 * (gradient_penalty(real_logits, real) + gradient_penalty(fake_logits, fake))
        self.discriminator_optimizer.zero_grad()
        (loss + penalty).backward()
        self.discriminator_optimizer.step()
        self.real_logits = real_logits.detach()
        self.discriminator_loss, self.scores = loss.detach(), (real_logits.detach().mean(), fake_logits.detach().mean())

    @torch.enable_grad()
    def generator_step(self, real: Tensor, labels: Tensor | None) -> None:
        """Teaches G to make what D takes for real."""
        # D's own weights need no gradient here, which saves a third of its backward pass.
        self.discriminator.requires_grad_(False)
        with self._autocast():
            fake_logits = self.discriminator(self.fake, labels)
            if self.objective.relativistic:
                with torch.no_grad():
                    self.real_logits = self.discriminator(real, labels)
            loss = self.objective.loss(self.real_logits, fake_logits).generator
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()
        self.pending.append(torch.stack([self.discriminator_loss, loss.detach(), *self.scores]))
        del self.fake, self.real_logits

    def count(self) -> None:
        """Counts the step, averages the weights, and keeps records and checkpoints as they fall due."""
        self.steps += 1
        self.images += self.recipe.batch_size
        half_life = 1000 * self.recipe.average_kimg
        averaging.update(self.average, self.generator, self.recipe.batch_size, self.images, half_life)
        if self.steps % RECORD_STEPS == 0 or self.steps < RECORD_STEPS:
            self._record()
        if time.monotonic() - self.checkpointed > CHECKPOINT_SECONDS:
            self.checkpoint()

    # What the caller sees.

    @property
    def finished(self) -> bool:
        return self.fraction >= 1

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent, 0 to 1: of kimg or of minutes, whichever is nearer its end."""
        shares = [0.0]
        if self.config.kimg is not None:
            shares.append(self.images / (1000 * self.config.kimg))
        if self.config.minutes is not None:
            shares.append((time.monotonic() - self.started) / (60 * self.config.minutes))
        return min(1.0, max(shares))

    def progress(self) -> Progress:
        elapsed = max(1e-9, time.monotonic() - self.started)
        speed = (self.images - self.images_at_start) / elapsed
        return Progress(self, self.images, self.fraction, speed, self.history[-1] if self.history else None)

    def samples(self) -> Tensor:
        generator = Generator(self.architecture, self.network, self.average, {"title": self._title})
        if self.latents is None:
            classes = self.network.classes
            labels = [i % classes for i in range(SAMPLES)] if classes else None
            self.latents = sample_noise(generator, range(SAMPLES), labels=labels)
        return generator.decode(self.latents)

    def generator_now(self) -> Generator:
        module = _in_memory_format(copy.deepcopy(self.average).cpu(), torch.contiguous_format)
        return Generator(self.architecture, self.network, module, self._card())

    # What stays.

    def checkpoint(self) -> None:
        """Writes the run's checkpoint, its generator, its history and a grid of samples.

        Raises TrainingDiverged, and leaves the files as they are, where the run is no longer sound.
        """
        self._record()
        tensors = {
            "history": histories.to_tensor(self.history),
            **checkpoint.module_tensors(self.generator, "generator"),
            **checkpoint.module_tensors(self.discriminator, "discriminator"),
            **checkpoint.module_tensors(self.average, "average"),
            **checkpoint.optimizer_tensors(self.generator_optimizer, self.generator, "generator_optimizer"),
            **checkpoint.optimizer_tensors(self.discriminator_optimizer, self.discriminator, "discriminator_optimizer"),
        }
        broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
        if broken:
            self._diverge(f"{broken} is no longer a finite number")
        state = {
            "images": self.images,
            "steps": self.steps,
            "seed": self.seed,
            "architecture": self.architecture.name,
            "network": asdict(self.network),
            "normalisation": self.objective.normalisation,
        }
        checkpoint.write(self.folder, state, tensors)
        self.generator_now().save(self.folder / "generator.safetensors")
        histories.write_csv(self.history, self.folder / "history.csv")
        samples = self.folder / "samples" / f"{self.images / 1000:08.1f}kimg.png"
        pictures.save_png(pictures.grid(self.samples()), samples)
        self.checkpointed, self.images_kept = time.monotonic(), self.images

    def close(self) -> None:
        """Writes the last checkpoint, unless nothing was learned since the one before or what was learned is broken."""
        if self.images > self.images_kept and not self.diverged:
            self.checkpoint()

    # Below: how.

    def _check_resumable(self, state: dict[str, Any]) -> None:
        wanted = {
            "architecture": self.architecture.name,
            **asdict(self.network),
            "normalisation": self.objective.normalisation,
        }
        had = {"architecture": state["architecture"], **state["network"], "normalisation": state["normalisation"]}
        for name, value in had.items():
            if wanted.get(name) != value:
                raise InputError(
                    f"{self.folder.name} cannot be resumed with these settings: it was begun with {name} {value}, and "
                    f"preset, objective and data now ask for {wanted.get(name)}. Use the run's own, or start anew."
                )

    def _restore(self, found: Checkpoint) -> None:
        try:
            self.history = histories.from_tensor(found.tensors["history"])
            found.restore(self.generator, "generator")
            found.restore(self.discriminator, "discriminator")
            found.restore(self.average, "average")
            found.restore_optimizer(self.generator_optimizer, self.generator, "generator_optimizer")
            found.restore_optimizer(self.discriminator_optimizer, self.discriminator, "discriminator_optimizer")
        except (KeyError, RuntimeError, TypeError, ValueError):
            raise InputError(
                f"{self.folder / checkpoint.FILE} is damaged: it does not hold the whole of a run. Start a new one."
            ) from None

    def _optimizer(self, module: nn.Module) -> Adam:
        fused = self.device.type in ("cpu", "cuda")
        return Adam(module.parameters(), self.recipe.learning_rate, self.recipe.betas, fused=fused)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "auto" and bf16_is_faster(self.device):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    @property
    def _gamma(self) -> float:
        # A gradient summed over pixels grows with their number (Karras et al. 2020, appendix: gamma ~ pixels).
        return self.recipe.gamma * (self.network.side / 64) ** 2

    def _random(self, *purpose: int) -> np.random.Generator:
        """A stream that depends on the seed and the purpose alone: nothing has to be kept to resume it."""
        return np.random.default_rng([self.seed, *purpose])

    def _noise(self, count: int) -> Tensor:
        size = (count, self.network.latent_size)
        noise = self._random(_NOISE, self.steps).standard_normal(size, np.float32)
        return self._to_device(torch.from_numpy(noise))

    def _indices(self, first: int, count: int) -> np.ndarray:
        """The images shown at positions first, first + 1, ...: every epoch a new order, each image once."""
        positions = np.arange(first, first + count)
        epochs, places = positions // len(self.dataset), positions % len(self.dataset)
        indices = np.empty(count, np.int64)
        for epoch in np.unique(epochs):
            if epoch != self.order[0]:
                self.order = int(epoch), self._random(_ORDER, int(epoch)).permutation(len(self.dataset))
            indices[epochs == epoch] = self.order[1][places[epochs == epoch]]
        return indices

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _record(self) -> None:
        if not self.pending:
            return
        losses = torch.stack(self.pending).mean(dim=0).tolist()
        self.pending.clear()
        self.history.append(Record(self.images, *losses))
        worst = max(losses[:2], key=lambda loss: abs(loss) if math.isfinite(loss) else math.inf)
        if not abs(worst) <= MAX_LOSS:
            player = "discriminator" if worst is losses[0] else "generator"
            self._diverge(f"the {player}'s loss is {worst:.3g}")

    def _diverge(self, what: str) -> None:
        self.diverged = True
        kept = checkpoint.read(self.folder)
        left = (
            f"Its last good checkpoint, at {kept.state['images'] / 1000:.1f} kimg, is in {self.folder.name}: resume it"
            if kept
            else "There was no checkpoint yet: start it again"
        )
        raise TrainingDiverged(
            f"Training {self._title} was stopped at {self.images / 1000:.1f} kimg, because {what}. {left} with a lower "
            f"learning rate, such as {self.recipe.learning_rate / 4:.1g}, or another objective."
        )

    @property
    def _title(self) -> str:
        return self.config.title or self.folder.name

    def _card(self) -> dict[str, Any]:
        data = self.dataset
        return {
            "title": self._title,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "class_names": list(data.class_names),
            "data": {"name": data.name, "images": len(data), "fingerprint": data.fingerprint, "mirror": data.mirror},
            "training": {
                "preset": self.config.preset,
                "objective": self.recipe.objective,
                "batch_size": self.recipe.batch_size,
                "learning_rate": self.recipe.learning_rate,
                "kimg": round(self.images / 1000, 3),
                "seed": self.seed,
            },
        }


_NOISE, _ORDER, _MIRROR = range(3)
"""Purposes of random streams."""


def build(architecture: Architecture, config: Any, normalisation: str, seed: int) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator with fresh weights that depend on the seed alone, on the CPU."""
    assert architecture.discriminator, f"{architecture.name} cannot be trained"
    with _seeded(seed):
        return architecture.generator(config), architecture.discriminator(config, normalisation)


def _in_memory_format(module: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    return module.to(memory_format=memory_format)  # type: ignore[call-overload] # torch's stub has it as positional


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch.nn draws weights from the global generator: it is lent for the moment, and given back as it was."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def usable(device: torch.device | str) -> torch.device:
    """The device of that name. Raises InputError where this machine or this torch has none."""
    try:
        return torch.empty(1, device=device).device
    except (RuntimeError, AssertionError, ImportError):  # torch has one for each kind of absence
        raise InputError(
            f'There is no device "{device}" here. Devices are cpu, cuda, cuda:1, mps and the like, where this machine '
            "and its torch have them."
        ) from None


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Lets torch work with so many threads for a while; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def best_device() -> torch.device:
    """CUDA or MPS where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def bf16_is_faster(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware. Unmeasured on CUDA."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # A torch without this function is taken for a CPU without bfloat16.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
