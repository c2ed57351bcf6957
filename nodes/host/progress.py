"""Progress bar, preview images and texts of a running node. The stop button takes effect at every call."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import comfy.model_management
import comfy.utils
import torch
from comfy_execution.utils import get_executing_context

from ...gan_core import Generator, Latent, Progress, Training
from ...gan_core.errors import TrainingDiverged
from ...gan_core.generator import NOISES
from ...gan_core.media.image import grid
from ...gan_core.metrics import Measuring
from ...gan_core.metrics.compare import Comparing
from ...gan_core.pacing import Pace
from ...gan_core.sampling.projection import Projecting
from ...gan_core.training import checkpoint
from . import device
from .live import LiveRun
from .paths import shown_path
from .previews import enlarged
from .texts import log, once, say


class NodeProgress:
    """Progress bar, preview images and texts of a node. The stop button takes effect at every call."""

    def __init__(self, node_id: str | None = None):
        """node_id: None for the running node."""
        context = get_executing_context()
        self.node_id = node_id or (context.node_id if context else "")
        self.bar = comfy.utils.ProgressBar(1000, self.node_id)
        self.pace = Pace()
        self.progress: Progress | None = None  # of a training
        self.logged = 0  # of its remarks

    def reading(self, done: int, total: int, of: str = "") -> None:
        """Shows progress. of: what is counted, such as "images read"; empty for no text."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, total)
        if of and self.pace.text_is_due(time.monotonic()):
            self.say(f"{done:,} of {total:,} {of}")

    def receiving(self, done: int, total: int, of: str) -> None:
        """Shows progress in bytes."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, max(1, total))
        if total and self.pace.text_is_due(time.monotonic()):
            self.say(f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB {of}")

    def training(self, live: LiveRun, progress: Progress) -> None:
        """Shows how far a training is, and now and then its samples or reconstructions, always of the same latents or
        images. Waits here while it is paused."""
        for remark in once(progress.remarks[self.logged :]):
            log(remark)
        self.progress, self.logged = progress, len(progress.remarks)
        comfy.model_management.throw_exception_if_processing_interrupted()
        if live.paused:
            self.say(f"paused\n{_lines(progress)}")
        live.step()
        began, ends = time.monotonic(), progress.fraction >= 1
        # The web page keeps the last text on the node, so that the end is always shown.
        if self.pace.text_is_due(began) or ends:
            self.say(_lines(progress))
        self.bar.update_absolute(int(1000 * progress.fraction), 1000)
        if self.pace.preview_is_due(began) or ends:
            live.add_sheet(progress.images, live.training.sheet())
            self.pace.preview_made(began, time.monotonic())

    @contextlib.contextmanager
    def until_stopped(self, folder: Path) -> Iterator[None]:
        """Says, where a training in the block is stopped, what is kept of it and how it goes on."""
        try:
            yield
        except comfy.model_management.InterruptProcessingException:
            said = "stopped before anything was learned"
            if (folder / checkpoint.FILE).is_file():
                said = (
                    f"stopped, and kept in {shown_path(folder)}: to go on, set run_name to {folder.name}, turn on "
                    "resume, and press Run"
                )
            self.say("\n".join([said, *([self.progress.figures] if self.progress else [])]))
            raise

    def ended(self, training: Training, progress: Progress, folder: Path) -> None:
        """Says how a training ended, and where it is kept. Raises TrainingDiverged for one that went wrong."""
        early = "finished early, " if training.finished_early else ""
        kept = f"{early}kept in {shown_path(folder)}"
        if progress.failed:
            file = f"{shown_path(folder)}/generator.safetensors"
            raise TrainingDiverged(f"{progress.trouble} It is kept in {file}, for Load Generator.")
        # Closing it may have made remarks too.
        self.say(_lines(replace(progress, remarks=tuple(training.remarks)), kept))

    def projecting(self, step: Projecting) -> None:
        """Shows the progress of a projection: the targets, and the reconstructions below them."""

        def preview() -> tuple[torch.Tensor, int]:
            return torch.cat([step.targets[: len(step.images)], step.images]), len(step.images)

        self._at(step.fraction, preview, lambda: str(step))

    def measuring(self, step: Measuring) -> None:
        """Shows the progress of a measurement: the latest generated images; at the end the metrics, and the generated
        images closest to real ones, above these."""

        def preview() -> tuple[torch.Tensor, int | None]:
            return (torch.cat(step.nearest), len(step.nearest[0])) if step.nearest else (step.images, None)

        if len(step.images):
            self._at(step.fraction, preview, lambda: str(step))
        else:
            self._at(step.done / max(1, step.total), None, lambda: str(step))

    def comparing(self, step: Comparing) -> None:
        """Shows the progress of a comparison of generators."""
        self._at(step.fraction, None, lambda: str(step))

    def _at(
        self,
        fraction: float,
        preview: Callable[[], tuple[torch.Tensor, int | None]] | None,
        text: Callable[[], str],
    ) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        done, began = int(1000 * fraction), time.monotonic()
        # The web page keeps the last text and image on the node, so that the end is always shown.
        if self.pace.text_is_due(began) or fraction >= 1:
            self.say(text())
        if preview is None or (fraction < 1 and not self.pace.preview_is_due(began)):
            self.bar.update_absolute(done, 1000)
            return
        image = enlarged(grid(*preview()))
        self.bar.update_absolute(done, 1000, ("JPEG", image, max(image.size)))
        self.pace.preview_made(began, time.monotonic())

    def say(self, text: str) -> None:
        """Shows a text of one or more lines on the node."""
        say(text, self.node_id)


def decoded(
    generator: Generator,
    latent: Latent,
    noise: str = NOISES[0],
    noise_seed: int = 0,
    transform: torch.Tensor | None = None,
) -> torch.Tensor:
    """Images [B, C, H, W] of generator.decode, to be handed on. Shows progress; the stop button works."""
    generator.check(latent)
    shown = NodeProgress()
    images: torch.Tensor | None = None
    for part in generator.passes(latent):
        shown.reading(part.start, len(latent), "images generated" if part.start else "")
        matrices = transform if transform is None or len(transform) == 1 else transform[part]
        decoded_part = device.between_nodes(generator.decode(latent[part], noise, noise_seed + part.start, matrices))
        if images is None:
            # One buffer for all images: concatenating them at the end would take twice the memory.
            whole = len(decoded_part) == len(latent)
            images = decoded_part if whole else decoded_part.new_empty(len(latent), *decoded_part.shape[1:])
        if images is not decoded_part:
            images[part] = decoded_part
    assert images is not None
    shown.reading(len(latent), len(latent))
    return images


def _lines(progress: Progress, kept: str | None = None) -> str:
    """Text about a training: the worst first, and each sentence once."""
    lines = [progress.trouble, progress.figures, kept, *progress.remarks]
    return "\n".join(once([line for line in lines if line]))
