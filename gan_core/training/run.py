"""A run: a method at work on a data set, with its budget, records, EMA and checkpoints. It does not judge: see
monitor."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..card import Card, DataFacts
from ..data.dataset import Batch
from ..data.images import ImageDataset
from ..errors import InputError, TrainingDiverged
from ..generator import Generator
from ..latents import Latent
from ..sampling.seeds import sample_noise
from . import checkpoint, ema
from . import history as histories
from .batches import Batches, held_out_count
from .checkpoint import Checkpoint
from .config import TrainConfig
from .context import FromHost, Rates, StepContext
from .devices import in_memory_format, seeded
from .distributed import World
from .graphs import CUDARecorder, Learned, Recorder, Stepper
from .history import Pending, Record
from .methods import Method, method_for
from .methods.method import Look
from .monitor.verdict import Verdict
from .resuming import check_resumable, classes_of_generator, facts_of, remarks_on_other_data
from .schedule import at
from .settings import Recipe
from .standing import Standing
from .streams import Streams

RECORD_STEPS = 8
GPU_RECORD_STEPS = 32
"""Steps between two records, after the first few. Reading a loss ends the lead that the host has over a GPU, whose
steps take a fraction of the time; so it is not done at every step."""

DIAGNOSED_EVERY = 4000
"""Images between two diagnoses of a run's health. A record is made then, whatever the step: so what is measured depends
on the images that were shown alone, and not on a stop in between."""

SAMPLES = 64
"""Images in a run's grid of samples; their seeds are 0, 1, 2, ..."""

_FIRST_COLUMNS = ("discriminator_loss", "generator_loss", "real_score", "fake_score")
"""Columns of the history in a checkpoint from before there were VAEs, which does not name them."""


@dataclass
class Requests:
    """What is asked of a run at work, from any thread. It is done between two steps."""

    finish: bool = False
    """To end before the budget is spent."""
    checkpoint: bool = False
    """To write a checkpoint now."""


class Run:
    """One training: a method, the batches it is shown, and how far it has come."""

    def __init__(
        self,
        dataset: ImageDataset,
        config: TrainConfig,
        device: torch.device,
        start: Generator | None = None,
        world: World | None = None,
    ):
        """Starts or resumes, as the config says. Raises InputError where that is not possible."""
        self.dataset, self.config, self.device = dataset, config, device
        self.world = world or World()
        self.folder = Path(config.folder)
        found = checkpoint.shared(self.folder, self.world)
        state = found.state if found else {}
        self.seed: int = state.get("seed", config.seed)
        self.images: int = state.get("images", 0)
        self.steps: int = state.get("steps", 0)
        self.streams = Streams(self.seed, device)
        self.method: Method = method_for(config.recipe, dataset, config.preset, start, device, self.seed)
        self._check_data()
        if found:
            if not config.resume:
                raise InputError(
                    f"{self.folder} already holds a run: resume it, or choose another name for the new one."
                )
            begun_with = state.get("class_names") or self.world.broadcast(lambda: classes_of_generator(self.folder))
            check_resumable(self.folder, state, self.method, dataset, begun_with)
        self.batches = Batches(dataset, self.recipe.batch_size, self._held_out(found), self.streams, self.world)
        networks = self.method.networks
        self.ema: dict[str, Any] = {
            name: copy.deepcopy(networks[name].module).eval().requires_grad_(False) for name in self.method.averaged
        }
        self.stepper = Stepper(self.learn, self.written, self._weights, self._recorder())
        self.standing = Standing()
        self.history: list[Record] = []
        self.pending = Pending()
        if found:
            self.restore(found)
        self._check_alike()
        for network in networks.values():
            self.world.synchronise_batch_norm(network.module)

        self.remarks: list[str] = remarks_on_other_data(state, dataset)
        self.diverged = ""
        """Why its numbers are broken; empty while they are not."""
        self.verdict: Verdict | None = None
        self.requests = Requests()
        self.ended = ""
        """Why it ended before its budget was spent; empty while it has not, and where it was asked to."""
        self.failed = False
        """Whether it ended early because training went wrong."""
        self.chosen: Generator | None = None
        """The best generator, once the run has ended early and there is one."""
        self.latents: Latent | None = None
        self.images_at_start, self.started = self.images, time.monotonic()

    @property
    def recipe(self) -> Recipe:
        return self.method.recipe

    # One step.

    def step(self) -> None:
        """One step of the method, and of the EMA of its networks."""
        contexts = self.contexts()
        names, values = self.stepper.take(self.method.kind(contexts), contexts)
        if self.pending.values and names != self.pending.names:  # a network has joined
            self.record({})
        self.pending.add(names, self.world.mean(values))
        self.steps += 1
        self.images += self.images_per_step

    def learn(self, contexts: Sequence[StepContext]) -> Learned:
        """All that a step computes on the device."""
        values = self.method.step(self.shown(contexts)).values
        last, shown, kimg = contexts[-1], self.images_per_step, self.recipe.ema_kimg

        def share_of(now: StepContext) -> float:
            images = now.images + shown
            return ema.share_of(shown, images, 1000 * at(kimg, images))

        for name, average in self.ema.items():
            ema.update(average, self.method.networks[name].module, last.number(share_of))
        return Learned(list(values), torch.stack([value.float() for value in values.values()]))

    def written(self) -> list[list[Tensor]]:
        """All tensors that a step changes: of each network its weights, its buffers and Adam's state."""
        groups = [[tensor] for tensor in self.method.moving]
        for network in self.method.networks.values():
            states = network.optimizer.state.values()
            groups += [[*network.module.parameters()], [*network.module.buffers()]]
            groups += [[state[name] for state in states] for name in checkpoint.MOMENTS]
        for average in self.ema.values():
            groups += [[*average.parameters()], [*average.buffers()]]
        return groups

    def contexts(self) -> list[StepContext]:
        """What the batches of the next step depend on."""
        recipe, images = self.recipe, self.images
        rates = Rates(at(recipe.learning_rate, images), (at(recipe.betas[0], images), at(recipe.betas[1], images)))
        return [
            StepContext(self.steps, substep, images, rates, self.streams, self.world, FromHost(self.device))
            for substep in range(self.method.batches_per_step)
        ]

    def shown(self, contexts: Sequence[StepContext] | None = None) -> list[tuple[Batch, StepContext]]:
        """The batches of a step, the next one by default, each with what it depends on."""
        return [(self.batches.shown_at(context), context) for context in contexts or self.contexts()]

    @property
    def images_per_step(self) -> int:
        return self.method.batches_per_step * self.recipe.batch_size

    @property
    def record_is_due(self) -> bool:
        """Now and then, at each of the first few steps, with a diagnosis, and at the end of a budget of kimg."""
        last = self.config.kimg is not None and self.images >= 1000 * self.config.kimg
        interval = RECORD_STEPS if self.device.type == "cpu" else GPU_RECORD_STEPS
        return self.steps % interval == 0 or self.steps < RECORD_STEPS or self.diagnosis_is_due or last

    @property
    def diagnosis_is_due(self) -> bool:
        """Whether the last step has passed a multiple of DIAGNOSED_EVERY images."""
        return self.images // DIAGNOSED_EVERY != (self.images - self.images_per_step) // DIAGNOSED_EVERY

    def record(self, measured: Mapping[str, float]) -> None:
        """Adds the means of all steps since the last record, and what was measured, to the history.

        Raises TrainingDiverged where a loss has exploded.
        """
        if not self.pending.values:
            return
        values = self.pending.take()
        self.history.append(Record(self.images, values | dict(measured)))
        losses = {name: values[name] for name in self.method.losses if name in values}
        worst = max(losses, key=lambda name: abs(losses[name]) if math.isfinite(losses[name]) else math.inf)
        if not abs(losses[worst]) <= self.method.max_loss:
            raise self.divergence(f"{self.method.losses[worst]} is {losses[worst]:.3g}")

    def divergence(self, what: str) -> TrainingDiverged:
        """The error that ends a run whose numbers are broken."""
        kept = self.world.broadcast(lambda: (found := checkpoint.read(self.folder)) and found.state["images"])
        left = (
            f"Its last good checkpoint, at {kept / 1000:.1f} kimg, is in {self.folder.name}: resume it"
            if kept
            else "There was no checkpoint yet: start it again"
        )
        self.diverged = (
            f"Training {self.title} was stopped at {self.images / 1000:.1f} kimg, because {what}. {left} with a lower "
            f"learning rate, such as {at(self.recipe.learning_rate, self.images) / 4:.1g}, or another objective."
        )
        return TrainingDiverged(self.diverged)

    # The budget.

    @property
    def finished(self) -> bool:
        # A run that is asked to end takes a step first: there would be nothing to keep.
        return bool(self.ended) or self.fraction >= 1 or (self.requests.finish and self.images > 0)

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent, 0 to 1: of kimg or of minutes, whichever is nearer its end."""
        shares = [0.0]
        if self.config.kimg is not None:
            shares.append(self.images / (1000 * self.config.kimg))
        if self.config.minutes is not None:
            shares.append((time.monotonic() - self.started) / (60 * self.config.minutes))
        return min(1.0, max(shares))

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the seconds until the budget is spent; None before the first step, and without a budget."""
        estimates = []
        if self.config.kimg is not None and self.images_per_second > 0:
            estimates.append((1000 * self.config.kimg - self.images) / self.images_per_second)
        if self.config.minutes is not None and self.images > self.images_at_start:
            estimates.append(60 * self.config.minutes - (time.monotonic() - self.started))
        return max(0.0, min(estimates)) if estimates else None

    def discount(self, seconds: float) -> None:
        """Leaves time out of the budget of minutes and of the speed: that of a pause."""
        self.started += seconds

    @property
    def images_per_second(self) -> float:
        return (self.images - self.images_at_start) / max(1e-9, time.monotonic() - self.started)

    # What can be seen of it.

    @property
    def title(self) -> str:
        return self.config.title or self.folder.name

    def look(self, since: int = 0) -> Look:
        """What the method is measured and shown by. since: images that were shown at the look before."""
        return Look(
            since=since,
            images=self.images,
            due=self.diagnosis_is_due,
            generator=self._current(),
            samples=self.samples,
            sample_labels=self._sample_latents().labels,
            batches=self.batches,
        )

    def samples(self) -> Tensor:
        """SAMPLES images of the generator, always of the same latents."""
        if self.chosen is not None:
            latents = sample_noise(self.chosen, range(SAMPLES), labels=self.sample_labels)
            return self.chosen.decode(latents).to(self.device)
        return self._current().decode(self._sample_latents())

    @property
    def sample_labels(self) -> list[int] | None:
        classes = self.method.config.classes
        return [i % classes for i in range(SAMPLES)] if classes else None

    def preview(self) -> tuple[Tensor, int | None]:
        """Examples that show how far it is, and how many stand in a row; None for as many as rows."""
        return self.method.preview(self.look())

    def generator(self) -> Generator:
        """A copy, on the CPU, of the EMA of the generator as it is now; the best one, once the run has ended early."""
        if self.chosen is not None:
            return self.chosen
        current = self._current()
        module = in_memory_format(copy.deepcopy(current.module).cpu(), torch.contiguous_format)
        return self.method.finished(replace(current, module=module, card=self._card()), self.look())

    def _current(self) -> Generator:
        method = self.method
        return Generator(method.architecture, method.config, self.ema[method.averaged[0]], Card(title=self.title))

    def _sample_latents(self) -> Latent:
        if self.latents is None:
            self.latents = sample_noise(self._current(), range(SAMPLES), labels=self.sample_labels)
        return self.latents

    def _card(self) -> Card:
        return Card(
            title=self.title,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            class_names=tuple(self.dataset.class_names) if self.method.config.classes else (),
            data=DataFacts.from_json(facts_of(self.dataset)),
            training={
                "preset": self.config.preset,
                **self.method.describe(),
                "batch_size": self.recipe.batch_size,
                "learning_rate": at(self.recipe.learning_rate, 0),
                "kimg": round(self.images / 1000, 3),
                "seed": self.seed,
            },
        )

    # What is kept.

    def contents(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """A checkpoint's state and tensors. Raises TrainingDiverged where a weight is no longer finite."""
        self.record({})
        tensors: dict[str, Tensor] = {}
        for name, average in self.ema.items():
            tensors |= checkpoint.module_tensors(average, self._ema_prefix(name))
        for name, network in self.method.networks.items():
            tensors |= checkpoint.module_tensors(network.module, name)
            tensors |= checkpoint.optimizer_tensors(network.optimizer, network.module, f"{name}_optimizer")
        broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
        if broken:
            raise self.divergence(f"{broken} is no longer a finite number")
        names = histories.columns(self.history)
        state = {
            "images": self.images,
            "steps": self.steps,
            "seed": self.seed,
            "preset": self.config.preset,
            "architecture": self.method.architecture.name,
            "network": asdict(self.method.config),
            "columns": names,
            "held_out": len(self.batches.held_out),
            "class_names": list(self.dataset.class_names),
            "data": facts_of(self.dataset),
            **self.method.identity(),
            **self.standing.state(),
            **self.method.state(),
        }
        return state, {"history": histories.to_tensor(self.history, names), **tensors}

    def restore(self, found: Checkpoint) -> None:
        """Takes up what a checkpoint holds, except its counters. Raises InputError for a damaged one."""
        try:
            self.history = histories.from_tensor(found.tensors["history"], found.state.get("columns", _FIRST_COLUMNS))
            for name, average in self.ema.items():
                found.restore(average, self._ema_prefix(name))
            for name, network in self.method.networks.items():
                found.restore(network.module, name)
                found.restore_optimizer(network.optimizer, network.module, f"{name}_optimizer")
            self._restore_state(found.state)
        except (KeyError, RuntimeError, TypeError, ValueError):
            raise InputError(
                f"{self.folder / checkpoint.FILE} is damaged, or from another version of this program: it does not "
                "hold a whole run. Start a new one."
            ) from None

    def return_to(self, kept: Checkpoint | None) -> None:
        """Takes the run back to a checkpoint, or to its beginning. Images shown in vain count for the speed."""
        shown = self.images
        self.pending = Pending()
        self.diverged, self.verdict = "", None
        if kept is None:
            self.images = self.steps = 0
            self._begin_anew()
        else:
            self.images, self.steps = kept.state["images"], kept.state["steps"]
            self.restore(kept)
        self.images_at_start -= shown - self.images

    # Below: how.

    def _ema_prefix(self, name: str) -> str:
        """The first network's EMA is called "average" in checkpoints, as it was when there was one alone."""
        return "average" if name == self.method.averaged[0] else f"{name}_average"

    def _restore_state(self, state: Mapping[str, Any]) -> None:
        self.standing = Standing.of(state)
        self.apply_standing()
        self.method.restore(state)

    def apply_standing(self) -> None:
        """Lets the method go on by the recipe that trouble has left it."""
        self.method.recipe = self.standing.applied_to(self.config.recipe)
        self.stepper.forget()

    def _weights(self) -> list[Tensor]:
        return [weight for network in self.method.networks.values() for weight in network.module.parameters()]

    def _recorder(self) -> Recorder | None:
        alone = self.world.size == 1
        return CUDARecorder(self.device) if self.device.type == "cuda" and alone and not self.config.eager else None

    def _begin_anew(self) -> None:
        """Gives the networks their initial weights, and forgets what happened since."""
        with seeded(self.seed):
            initial = self.method.build()
        for name, network in self.method.networks.items():
            network.module.load_state_dict(initial[name].state_dict())
            network.optimizer.state.clear()
        for name, average in self.ema.items():
            average.load_state_dict(self.method.networks[name].module.state_dict())
        self.history.clear()
        self._restore_state({})

    def _held_out(self, found: Checkpoint | None) -> int:
        """Number of images that are held out: those of a new run, or as many as a checkpoint says."""
        method, total, batch_size = self.method, len(self.dataset), self.recipe.batch_size
        count = held_out_count(total, batch_size, method.min_images_to_hold_out)
        if found is None:
            return count
        before = found.state.get("held_out", count if method.always_held_out else 0)
        return max(0, min(before, total - batch_size))

    def _check_data(self) -> None:
        count, batch_size = len(self.dataset), self.recipe.batch_size
        if count < batch_size:
            raise InputError(
                f"{self.dataset.name} has {count} images, fewer than a batch of {batch_size}: add images"
                + (f", or set the batch size to {count} or less." if count > 1 else ".")
            )
        self.world.check_batch(batch_size)

    def _check_alike(self) -> None:
        """Raises InputError unless all processes begin with the same."""
        networks = [*self.ema.values(), *(network.module for network in self.method.networks.values())]
        self.world.check_alike(
            {
                "images": [self.dataset.fingerprint.encode()],
                "settings": [repr((self.recipe, self.dataset.mirror, replace(self.config, folder=""))).encode()],
                "weights": (
                    tensor.cpu().contiguous().numpy().tobytes()
                    for network in networks
                    for tensor in network.state_dict().values()
                ),
            }
        )
