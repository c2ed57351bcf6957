"""What every training has in common: its data, its budget, its average, its records and its checkpoints."""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from .. import architectures, weights
from ..architectures import Architecture
from ..data.images import ImageDataset
from ..errors import InputError, TrainingDiverged, some
from ..generator import Generator
from ..latents import Latent, sample_noise
from ..locks import FolderInUse, Owner
from ..media import image as pictures
from ..platforms import memory_format, placed
from . import checkpoint
from . import ema as averaging
from . import history as histories
from .checkpoint import FILE, Checkpoint
from .devices import bf16_is_faster, in_memory_format, seeded
from .distributed import World
from .history import Panels, Record
from .monitor.verdict import Verdict
from .presets import Recipe, TrainConfig
from .schedule import at

RECORD_STEPS = 8
"""Steps between two records, after the first few. Reading a loss makes a GPU wait, so it is not done at every step."""

RECORDED_EVERY = 4000
"""Images after which there is one whatever the step: what is measured then hangs on the images that were shown, and on
nothing that a stop in between would move."""

CHECKPOINT_SECONDS = 60.0
"""What a crash can cost at most."""

FIRST_CHECKPOINT_SECONDS = 5.0
"""After a start, what it can cost: there may be none that a minute of work could be gone on from."""

MAX_LOSS = 1e4
"""Beyond this a loss has exploded: healthy ones stay below a hundred."""

SAMPLES = 64
"""Images in a run's grid of samples; their seeds are 0, 1, 2, ..."""

SAMPLES_FOLDER = "samples"
"""Where in a run's folder these sheets are."""

NOISE, ORDER, MIRROR, HELD_OUT, FIT, AUGMENT, DRAWS, PENALTY, SUPERVISION, PATHS, WATCHED, QUALITY = range(12)
"""Purposes of random streams."""

HELD_OUT_SHARE = 10
MOST_HELD_OUT = 500
"""One image in so many is not learned from but measured with, and no more than so many."""

_FIRST_COLUMNS = ("discriminator_loss", "generator_loss", "real_score", "fake_score")
"""Of the history in a checkpoint that does not say, from before there were VAEs."""


@dataclass(frozen=True)
class Player:
    """A network that learns, and what moves it."""

    module: nn.Module
    optimizer: Adam
    share: float = 1.0
    """k / (k + 1) for one that takes a step more after every k, for a regulariser alone, and else 1. By so much its
    steps are shorter and its moments' memories longer, so that all in all it moves as without (Karras et al. 2020,
    appendix B)."""


class Run(ABC):
    """One training: its networks, an average of the generator, and how far they have come.

    A child says which networks there are (`networks`), what a step does (`step`), and what is to be seen of it.
    """

    panels: ClassVar[Panels]
    """What its chart shows."""
    losses: ClassVar[Mapping[str, str]]
    """The values that must stay finite and below MAX_LOSS, and what each is in a sentence."""
    fewest_to_hold_out: ClassVar[int]
    """Of fewer images none can be spared to measure with."""
    always_held_out: ClassVar[bool]
    """Whether runs of its kind held images out before their checkpoints said how many."""

    def __init__(
        self,
        dataset: ImageDataset,
        config: TrainConfig,
        device: torch.device,
        start: Generator | None,
        world: World | None = None,
    ):
        """Starts anew or resumes, as the config says. Raises InputError where either cannot be."""
        self.dataset, self.config, self.device = dataset, config, device
        self.world = world or World()
        self.recipe: Recipe = config.recipe
        self.folder = Path(config.folder)
        self.architecture, self.network = self._design(start)
        self._check_data()
        self.world.check_batch(self.recipe.batch_size)
        found = self.found()
        if found and not config.resume:
            raise InputError(f"{self.folder} already holds a run: resume it, or choose another name for the new one.")
        if found:
            self._check_resumable(found.state)

        self.seed: int = found.state["seed"] if found else config.seed
        self.images: int = found.state["images"] if found else 0
        self.steps: int = found.state["steps"] if found else 0
        self.history: list[Record] = []
        self.names: list[str] = []
        self.pending: list[Tensor] = []  # values of these names since the last record
        self.diverged = False
        self.turn = 0  # of a step
        self.verdict: Verdict | None = None
        self.remarks: list[str] = self._on_other_images(found.state) if found else []
        self.unkept: set[str] = set()  # what could not be written, which is said once
        self.owner: Owner | None = None  # of the folder
        self.shown, self.held_out = self._divided(found.state if found else None)

        with seeded(self.seed):
            networks = self.build(start)
        self.players = {
            name: self._player(name, in_memory_format(module.to(device), memory_format(device)))
            for name, module in networks.items()
        }
        self.generator: Any = self.players["generator"].module
        self.average: Any = copy.deepcopy(self.generator).eval().requires_grad_(False)
        if found:
            self.restore(found)
        self._check_alike()
        for player in self.players.values():
            self.world.unite(player.module)

        self.latents: Latent | None = None
        self.order = (-1, np.empty(0, np.int64))  # epoch, its permutation
        self.images_at_start, self.started = self.images, time.monotonic()
        self.checkpointed, self.images_kept = self.started, self.images
        self.kept_early = False

    # What a child says.

    @abstractmethod
    def build(self, start: Generator | None) -> dict[str, nn.Module]:
        """Networks with fresh weights, drawn by torch's global generator, on the CPU; one is the "generator"."""

    def regularised_every(self, name: str) -> int | None:
        """Steps after which the player of that name takes one more, for a regulariser alone; None for never."""
        return None

    @property
    def turns(self) -> int:
        """Batches that are shown in a step."""
        return 1

    @abstractmethod
    def step(self) -> dict[str, Tensor]:
        """Shows the networks one batch, and lets them learn from it. Returns scalars for the record, on the device."""

    @property
    def identity(self) -> dict[str, str]:
        """What has to be as it was when a run is resumed, besides the generator's own shape."""
        return {}

    def kept(self) -> dict[str, Any]:
        """What else the next step depends on, as JSON."""
        return {}

    def restore_kept(self, state: Mapping[str, Any]) -> None:  # noqa: B027 # most children keep nothing
        """Takes that up from a checkpoint's state, which may be of a time before there was such a thing; from an empty
        one, what it is at the beginning.

        Raises KeyError, TypeError or ValueError for a damaged one.
        """

    def measured(self) -> dict[str, float]:
        """What is measured now and then of the average, for the record."""
        return {}

    def preview(self) -> tuple[Tensor, int | None]:
        """Images [N, C, H, W] in [-1, 1] that show how far it is, and how many stand in a row; None for a square."""
        return self.samples(), None

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What its generator's card says of the training, besides what all say."""

    @abstractmethod
    def in_words(self, record: Record) -> str:
        """A record as part of a line for people."""

    @property
    def trouble(self) -> str:
        """What is wrong with it as it stands, or why it ended before its budget was spent; empty where nothing is."""
        return ""

    @property
    def failed(self) -> bool:
        """Whether it ended early because training went wrong."""
        return False

    # One step.

    def advance(self) -> None:
        """One step, and what falls due after it: the average, records and checkpoints."""
        values = self.step()
        if list(values) != self.names:  # a player has joined
            self._record()
            self.names = list(values)
        self.pending.append(self.world.mean(torch.stack([value.float() for value in values.values()])))
        self.steps += 1
        shown = self.turns * self.recipe.batch_size
        self.images += shown
        half_life = 1000 * at(self.recipe.average_kimg, self.images)
        averaging.update(self.average, self.generator, shown, self.images, half_life)
        if self.steps % RECORD_STEPS == 0 or self.steps < RECORD_STEPS or self.crossed(RECORDED_EVERY):
            self._record()
        due_after = CHECKPOINT_SECONDS if self.kept_early else min(FIRST_CHECKPOINT_SECONDS, CHECKPOINT_SECONDS)
        if self.world.any(time.monotonic() - self.checkpointed > due_after):
            self.checkpoint()

    def crossed(self, every: int) -> bool:
        """Whether the last step has led past a multiple of so many images."""
        return self.images // every != (self.images - self.turns * self.recipe.batch_size) // every

    def learn(self, player: Player, loss: Tensor) -> None:
        """Moves a player by one step against the gradient of its loss."""
        player.optimizer.zero_grad()
        loss.backward()
        self.world.average(player.module)
        for group in player.optimizer.param_groups:
            group["lr"] = at(self.recipe.learning_rate, self.images) * player.share
            group["betas"] = tuple(at(beta, self.images) ** player.share for beta in self.recipe.betas)
        player.optimizer.step()

    def next_batch(self) -> tuple[Tensor, Tensor | None]:
        """Real images [N, C, H, W] in [-1, 1] and their labels [N], on the device: this process's of the batch."""
        first = self.images + self.turn * self.recipe.batch_size
        indices = self.world.share(self._indices(first, self.recipe.batch_size))
        random = self.world.stream(self.random(MIRROR, *self.moment))
        mirrored = random.random(len(indices)) < 0.5 if self.dataset.mirror else None
        return self.images_at(indices, mirrored), self._labels_at(indices)

    def images_at(self, indices: np.ndarray, mirrored: np.ndarray | None = None) -> Tensor:
        """Images of the data set, [N, C, H, W] in [-1, 1], on the device."""
        return self.to_device(self.dataset.batch(indices, mirrored)).float().div_(127.5).sub_(1)

    def noise(self, *shape: int) -> Tensor:
        """Normal numbers of this moment. The first axis counts the images of this process."""
        shape = shape[0] * self.world.size, *shape[1:]
        noise = self.random(NOISE, *self.moment).standard_normal(shape, np.float32)
        return self.to_device(torch.from_numpy(self.world.share(noise)))

    def random(self, *purpose: int) -> np.random.Generator:
        """A stream that depends on the seed and the purpose alone: nothing has to be kept to resume it."""
        return np.random.default_rng([self.seed, *purpose])

    def torch_random(self, *purpose: int) -> torch.Generator:
        """The like on the device, for what draws there."""
        return torch.Generator(self.device).manual_seed(int(self.random(*purpose).integers(2**63)))

    @property
    def moment(self) -> tuple[int, ...]:
        """The step, and which of its batches is shown, for a stream that is another for each."""
        return (self.steps, self.turn) if self.turn else (self.steps,)

    @property
    def own_moment(self) -> tuple[int, ...]:
        """The like for what a network draws by itself for its images: another for each process too."""
        return (self.steps, self.turn, self.world.rank) if self.world.rank else self.moment

    def to_device(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return placed(tensor, self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "auto" and bf16_is_faster(self.device):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

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

    @property
    def images_per_second(self) -> float:
        return (self.images - self.images_at_start) / max(1e-9, time.monotonic() - self.started)

    def samples(self) -> Tensor:
        """SAMPLES images of the average, always of the same latents."""
        generator = Generator(self.architecture, self.network, self.average, {"title": self.title})
        if self.latents is None:
            self.latents = sample_noise(generator, range(SAMPLES), labels=self.labels_of_samples)
        return generator.decode(self.latents)

    @property
    def labels_of_samples(self) -> list[int] | None:
        classes = self.network.classes
        return [i % classes for i in range(SAMPLES)] if classes else None

    def generator_now(self) -> Generator:
        """A copy, on the CPU, of the averaged generator as it is now."""
        module = in_memory_format(copy.deepcopy(self.average).cpu(), torch.contiguous_format)
        return Generator(self.architecture, self.network, module, self._card())

    # What stays.

    def checkpoint(self) -> None:
        """Writes the run's checkpoint, its generator, its history and a grid of what it can do.

        Of several processes only the first writes. Where it cannot, a remark says so, and training goes on to the next
        checkpoint. Raises TrainingDiverged, and leaves the files as they are, where the run is no longer sound, and
        FolderInUse where the folder was removed and is another run's by now.
        """
        contents = self.contents()
        if self.world.leads:
            with self.remarking("checkpoint", "The checkpoint before stays, and the next is tried in its time"):
                self.keep(*contents)
        self.checkpointed, self.kept_early = time.monotonic(), True

    def keep(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Writes the like. Raises InputError where the checkpoint or the generator cannot be written; of what is only
        to be looked at, there is a remark."""
        if self.owner:
            self.owner.check()
        checkpoint.write(self.folder, state, tensors)
        self.generator_now().save(self.folder / "generator.safetensors")
        self.images_kept = self.images
        to_be_looked_at = "Training goes on without it"
        with self.remarking("history", to_be_looked_at):
            histories.write_csv(self.history, self.folder / "history.csv")
        with self.remarking("samples", to_be_looked_at):
            sheet = self.folder / SAMPLES_FOLDER / f"{self.images / 1000:08.1f}kimg.png"
            pictures.save_png(pictures.grid(*self.preview()), sheet)

    @contextmanager
    def remarking(self, name: str, goes_on: str) -> Iterator[None]:
        """Makes a remark of a file that cannot be written, the first time of each name, and goes on."""
        try:
            yield
        except FolderInUse:
            raise
        except InputError as error:
            if name not in self.unkept:
                self.remarks.append(f"{error} {goes_on}.")
            self.unkept.add(name)
        else:
            self.unkept.discard(name)

    def contents(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """A checkpoint's state and tensors. Raises TrainingDiverged where the run is no longer sound."""
        self._record()
        tensors = checkpoint.module_tensors(self.average, "average")
        for name, player in self.players.items():
            tensors |= checkpoint.module_tensors(player.module, name)
            tensors |= checkpoint.optimizer_tensors(player.optimizer, player.module, f"{name}_optimizer")
        broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
        if broken:
            self._diverge(f"{broken} is no longer a finite number")
        names = histories.columns(self.history)
        state = {
            "images": self.images,
            "steps": self.steps,
            "seed": self.seed,
            "preset": self.config.preset,
            "architecture": self.architecture.name,
            "network": asdict(self.network),
            "columns": names,
            "held_out": len(self.held_out),
            "class_names": list(self.dataset.class_names),
            "data": self._data(),
            **self.identity,
            **self.kept(),
        }
        return state, {"history": histories.to_tensor(self.history, names), **tensors}

    def close(self) -> None:
        """Writes the last checkpoint, unless nothing was learned since the one before or what was learned is broken.

        Raises InputError where it cannot be written.
        """
        self.world = self.world.apart()  # another process may have ended before, and will then never answer
        here = self.owner is None or self.owner.is_here
        if here and self.world.leads and self.images > self.images_kept and not self.diverged:
            self.keep(*self.contents())

    @property
    def title(self) -> str:
        return self.config.title or self.folder.name

    # Below: how.

    def _design(self, start: Generator | None) -> tuple[Architecture, Any]:
        """The family, and the config of the networks in it."""
        if self.recipe.architecture is None:
            if start is None:
                raise InputError(
                    f"The preset {self.config.preset} goes on from a VAE that there is: give it one to start from."
                )
            return start.architecture, self._fitting(start)
        if start is not None:
            raise InputError(
                f"The preset {self.config.preset} starts from nothing: it takes no generator to start from."
            )
        architecture = architectures.by_name(self.recipe.architecture)
        data: dict[str, Any] = {"side": self.dataset.side, "channels": self.dataset.channels}
        if architecture.discriminator:
            data["classes"] = self.dataset.classes
        proportioned = architectures.proportions if architecture.encodes else architectures.start_for
        data["start"] = proportioned(*self.dataset.size)
        return architecture, (architecture.design or architecture.config)(**data, **self.recipe.network)

    def _fitting(self, start: Generator) -> Any:
        """The config of a VAE whose decoder can be tuned to the data."""
        if not start.architecture.encodes:
            raise InputError(
                f"{start.title} is a {start.architecture.name} generator: it has no encoder, only VAEs do."
            )
        data, config = self.dataset, start.config
        if data.channels != config.channels or not (start.architecture.spatial or data.size == start.size):
            raise InputError(
                f"{start.title} makes images of {start.size_in_words}x{config.channels}, and {data.name} has "
                f"{data.width}x{data.height}x{data.channels}: load the images in its size and channels."
            )
        return config

    def _check_data(self) -> None:
        count, name = len(self.dataset), self.dataset.name
        if count < self.recipe.batch_size:
            raise InputError(
                f"{name} has {count} images, fewer than a batch of {self.recipe.batch_size}: add images"
                + (f", or set the batch size to {count} or less." if count > 1 else ".")
            )

    def found(self, name: str = FILE) -> Checkpoint | None:
        """The folder's checkpoint of that name. The first process reads it for all, as others may be on machines
        without it."""
        found = checkpoint.read(self.folder, name) if self.world.leads else None
        state = self.world.first(lambda: found and found.state)
        return state and Checkpoint(state, self.world.first_tensors(found.tensors if found else {}))

    def _check_alike(self) -> None:
        """Raises InputError unless all processes begin with the same."""
        networks = [self.average, *(player.module for player in self.players.values())]
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

    def _check_resumable(self, state: dict[str, Any]) -> None:
        begun_with = state.get("class_names") or self.world.first(self._classes_of_the_generator)
        if begun_with and self.network.classes and list(begun_with) != list(self.dataset.class_names):
            ours = self.dataset.class_names
            others = "another order of the classes" if sorted(begun_with) == sorted(ours) else "other classes"
            raise InputError(
                f"{self.folder.name} cannot be resumed with {others}: it was begun with {some(begun_with)}, and "
                f"{self.dataset.name} has {some(ours)}. Use the run's own images, or start anew."
            )
        wanted = {"architecture": self.architecture.name, **asdict(self.network), **self.identity}
        had = {"architecture": state["architecture"], **state["network"]}
        had |= {name: state.get(name) for name in self.identity}
        if "start" in wanted:
            had.setdefault("start", (4, 4))  # of runs from before there were others
        for name, value in had.items():
            # a config that was read from a checkpoint has lists where ours has tuples
            if wanted.get(name) != (tuple(value) if isinstance(value, list) else value):
                raise InputError(
                    f"{self.folder.name} cannot be resumed with these settings: it was begun with {name} {value}, and "
                    f"preset, objective and data now ask for {wanted.get(name)}. Use the run's own, or start anew."
                )

    def _classes_of_the_generator(self) -> list[str]:
        """The classes of a run whose checkpoint is from before these were kept there."""
        try:
            with weights.opened(self.folder / "generator.safetensors") as file:
                description = file.description
                names = description.card.get("class_names") if description else None
                return [str(name) for name in names] if isinstance(names, list) else []
        except InputError:
            return []

    def _data(self) -> dict[str, Any]:
        """What a card and a checkpoint say of the images."""
        data = self.dataset
        return {"name": data.name, "images": len(data), "fingerprint": data.fingerprint, "mirror": data.mirror}

    def _on_other_images(self, state: Mapping[str, Any]) -> list[str]:
        had, data = state.get("data"), self._data()
        if not isinstance(had, dict) or had.get("fingerprint") == data["fingerprint"]:
            return []
        return [
            f"The images are not those that this run has learned from so far: it goes on with {data['images']:,} of "
            f"{data['name']} after {had.get('images')} of {had.get('name')}."
        ]

    def restore(self, found: Checkpoint) -> None:
        """Takes up what a checkpoint holds, but for its counters. Raises InputError for a damaged one."""
        try:
            self.history = histories.from_tensor(found.tensors["history"], found.state.get("columns", _FIRST_COLUMNS))
            found.restore(self.average, "average")
            for name, player in self.players.items():
                found.restore(player.module, name)
                found.restore_optimizer(player.optimizer, player.module, f"{name}_optimizer")
            self.restore_kept(found.state)
        except (KeyError, RuntimeError, TypeError, ValueError):
            raise InputError(
                f"{self.folder / checkpoint.FILE} is damaged, or from another version of this program: it does not "
                "hold the whole of a run. Start a new one."
            ) from None

    def begin_anew(self) -> None:
        """Gives the networks the weights that they began with, and forgets what happened since."""
        with seeded(self.seed):
            networks = self.build(None)
        for name, module in networks.items():
            self.players[name].module.load_state_dict(module.state_dict())
            self.players[name].optimizer.state.clear()
        self.average.load_state_dict(self.generator.state_dict())
        self.history.clear()
        self.restore_kept({})

    def _divided(self, state: Mapping[str, Any] | None) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the images that are learned from, and of those that are held out to measure with.

        state: a checkpoint's, which says how many were held out; of a GAN's that is older than this, none were.
        """
        total = len(self.dataset)
        count = min(MOST_HELD_OUT, total // HELD_OUT_SHARE)
        if total < self.fewest_to_hold_out or total - count < self.recipe.batch_size:
            count = 0
        if state is not None:
            before = state.get("held_out", count if self.always_held_out else 0)
            count = max(0, min(before, total - self.recipe.batch_size))
        order = self.random(HELD_OUT).permutation(total)
        return np.sort(order[count:]), np.sort(order[:count])

    def _player(self, name: str, module: nn.Module) -> Player:
        fused = self.device.type in ("cpu", "cuda")
        learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        every = self.regularised_every(name)
        # Its step size and betas are set anew at each step: see learn.
        return Player(module, Adam(learning, fused=fused), every / (every + 1) if every else 1.0)

    def _labels_at(self, indices: np.ndarray) -> Tensor | None:
        labels = self.dataset.labels
        return None if labels is None else self.to_device(torch.from_numpy(labels[indices]))

    def _indices(self, first: int, count: int) -> np.ndarray:
        """The images shown at positions first, first + 1, ...: every epoch a new order, each image once."""
        positions = np.arange(first, first + count)
        epochs, places = positions // len(self.shown), positions % len(self.shown)
        indices = np.empty(count, np.int64)
        for epoch in np.unique(epochs):
            if epoch != self.order[0]:
                self.order = int(epoch), self.random(ORDER, int(epoch)).permutation(len(self.shown))
            indices[epochs == epoch] = self.order[1][places[epochs == epoch]]
        return self.shown[indices]

    def _record(self) -> None:
        if not self.pending:
            return
        means = torch.stack(self.pending).mean(dim=0).tolist()
        self.pending.clear()
        values = dict(zip(self.names, means, strict=True))
        self.history.append(Record(self.images, values | self.world.first(self.measured)))
        losses = {name: values[name] for name in self.losses if name in values}
        worst = max(losses, key=lambda name: abs(losses[name]) if math.isfinite(losses[name]) else math.inf)
        if not abs(losses[worst]) <= self.largest_loss:
            self._diverge(f"{self.losses[worst]} is {losses[worst]:.3g}")

    @property
    def largest_loss(self) -> float:
        """Beyond this a loss has exploded."""
        return MAX_LOSS

    def _diverge(self, what: str) -> None:
        self.diverged = True
        kept = self.world.first(lambda: (found := checkpoint.read(self.folder)) and found.state["images"])
        left = (
            f"Its last good checkpoint, at {kept / 1000:.1f} kimg, is in {self.folder.name}: resume it"
            if kept
            else "There was no checkpoint yet: start it again"
        )
        raise TrainingDiverged(
            f"Training {self.title} was stopped at {self.images / 1000:.1f} kimg, because {what}. {left} with a lower "
            f"learning rate, such as {at(self.recipe.learning_rate, self.images) / 4:.1g}, or another objective."
        )

    def _card(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "class_names": list(self.dataset.class_names) if self.network.classes else [],
            "data": self._data(),
            "training": {
                "preset": self.config.preset,
                **self.facts(),
                "batch_size": self.recipe.batch_size,
                "learning_rate": at(self.recipe.learning_rate, 0),
                "kimg": round(self.images / 1000, 3),
                "seed": self.seed,
            },
        }
