"""What a run leaves in its folder, and when."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..files import clean
from ..locks import FolderInUse, Owner
from . import checkpoint, film, snapshot
from . import history as histories
from .film import Film
from .run import Run
from .snapshot import Snapshot

CHECKPOINT_SECONDS = 60.0
"""Seconds of work that a crash can cost at most."""

FIRST_CHECKPOINT_SECONDS = 5.0
"""The same, shortly after a start, when there may be no checkpoint yet."""

SAMPLES_FOLDER = "samples"
"""Folder in the run's own for its grids of samples."""

GENERATOR, BEST, HEALTHY = "generator.safetensors", "best.safetensors", "good.safetensors"
"""Files in the run's folder: its generator, the best one by KID, and a checkpoint of its last healthy state."""


class RunFiles:
    """Writes a run's checkpoints, and what people look at."""

    def __init__(self, run: Run, owner: Owner | None = None):
        """owner: of the run's folder; None where it is not locked."""
        self.run, self.owner = run, owner
        self.unwritten: set[str] = set()  # files of which a remark says so
        self.checkpointed, self.kept_early = time.monotonic(), False
        self.kept_images = run.images
        self.film = Film(run.folder)
        self.closed_at = -1  # images that were shown by then
        if owner is not None:
            for folder in (run.folder, run.folder / SAMPLES_FOLDER, run.folder / film.FOLDER):
                clean(folder)
            self.film.cut(run.images)

    @property
    def checkpoint_is_due(self) -> bool:
        due_after = CHECKPOINT_SECONDS if self.kept_early else min(FIRST_CHECKPOINT_SECONDS, CHECKPOINT_SECONDS)
        asked = self.run.requests.checkpoint
        return self.run.world.any_rank(asked or time.monotonic() - self.checkpointed > due_after)

    def checkpoint(self) -> None:
        """Writes the run's checkpoint, its generator, its history, a grid of samples and a snapshot.

        Of several processes only the main one writes. Where it cannot, a remark says so, and training goes on to the
        next checkpoint. Raises TrainingDiverged, and leaves the files as they are, where a weight is no longer finite,
        and FolderInUse where the folder was removed and is another run's by now.
        """
        self.run.requests.checkpoint = False
        contents = self.run.contents()
        if self.run.world.is_main:
            with self.remarking("checkpoint", "The checkpoint before stays, and the next is tried in its time"):
                self.keep(*contents)
        self.checkpointed, self.kept_early = time.monotonic(), True

    def keep(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Writes them. Raises InputError where the checkpoint or the generator cannot be written; of what is only to be
        looked at, there is a remark."""
        run = self.run
        if self.owner:
            self.owner.check()
        checkpoint.write(run.folder, state, tensors)
        run.generator().save(run.folder / GENERATOR)
        self.kept_images = run.images
        for_people = "Training continues without it"
        with self.remarking("history", for_people):
            histories.write_csv(run.history, run.folder / snapshot.HISTORY)
        with self.remarking("samples", for_people):
            path, medium = run.folder / SAMPLES_FOLDER / f"{run.images / 1000:08.1f}kimg", run.dataset.medium
            samples = run.preview()
            medium.save_sheet(*samples, path)
            self.film.add(run.images, medium.sheet(*samples))
        with self.remarking("snapshot", for_people):
            snapshot.write(self.snapshot(), run.folder)

    def snapshot(self, over: bool = False) -> Snapshot:
        """Where the run stands. over: whether it takes no more steps."""
        return snapshot.of_run(self.run, self.film.sheets, over)

    @contextmanager
    def remarking(self, name: str, goes_on: str) -> Iterator[None]:
        """Makes a remark of a file that cannot be written, the first time of each name, and goes on."""
        try:
            yield
        except FolderInUse:
            raise
        except InputError as error:
            if name not in self.unwritten:
                self.run.remarks.append(f"{error} {goes_on}.")
            self.unwritten.add(name)
        else:
            self.unwritten.discard(name)

    def close(self) -> None:
        """Writes the last checkpoint, unless nothing was learned since the one before, or what was learned is broken;
        and how the run ended, unless it took no step or left nothing.

        Raises InputError where it cannot be written.
        """
        run = self.run
        run.world = run.world.alone()  # another process may have ended before, and will then never answer
        here = self.owner is None or self.owner.is_here
        if self.closed_at == run.images or not here or not run.world.is_main:
            return
        self.closed_at = run.images
        if run.images > self.kept_images and not run.diverged:
            self.keep(*run.contents())
        if run.images > run.images_at_start and self.kept_images > 0 and run.folder.is_dir():
            with self.remarking("snapshot", "The run itself is kept"):
                snapshot.write(self.snapshot(over=True), run.folder)
