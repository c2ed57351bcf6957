"""A run that is looked at while it learns, and that does something about what is seen.

Every RECORDED_EVERY images its health is measured and judged; now and then, how good its pictures are. All of it hangs
on the images shown and on the run's seed, but for KID: that is measured by the clock where nobody says how often, and
therefore decides on no step of a run, only on when it ends and on which generator is the best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.images import ImageDataset
from ...errors import InputError, TrainingDiverged
from ...generator import Generator, load
from ...latents import sample_noise
from .. import checkpoint
from .. import history as histories
from ..checkpoint import Checkpoint
from ..distributed import World
from ..history import Record
from ..presets import AdversarialRecipe, TrainConfig
from ..run import QUALITY, RECORDED_EVERY, SAMPLES, WATCHED, Run
from ..schedule import Schedule, at
from . import diagnostics
from . import verdict as watch
from .quality import FEWEST_HELD_OUT, MADE, MOST_REAL, Quality
from .verdict import Verdict

COMPARED = 256
"""Real images that samples are compared with."""

GOOD, BEST = "good.safetensors", "best.safetensors"
"""Files in the run's folder: a checkpoint of its last sound state, and the best generator by KID."""

GROWTH = 1.25
"""A sound state is kept when so many times as many images were shown as at the one before: rarely, and by the images
alone, so that a run which was stopped and resumed has kept the same ones."""

SOFTER = 1 / 4
MOST_SOFTENED = 3
"""Of a learning rate, at each of so many times: in the end it is 1/64. Few that are too high are so by a little."""


class WatchedRun(Run):
    """What it does about trouble is `TrainConfig.on_trouble`:

    - "stop": A run that collapses or diverges ends there, with the files of its last sound state and the best generator
      that there is. One whose discriminator learns by heart goes on with a warning, as its pictures may be good all the
      same, and ends only where KID says that they have become worse.
    - "soften": It goes back to its last sound state, or to its beginning, and on from there with a quarter of the
      learning rate and with ada where nothing was augmented, three times at most; then it stops as above. Learning by
      heart is answered with ada alone, from where it is.
    - "ignore": It is only said.

    A loss or a weight that is no longer a finite number is a divergence that nothing can go on with: such a run ends as
    above where it has a sound state, and raises TrainingDiverged where it has none, or is to ignore trouble.
    """

    recipe: AdversarialRecipe
    fewest_to_hold_out = 500
    always_held_out = False

    def __init__(
        self,
        dataset: ImageDataset,
        config: TrainConfig,
        device: torch.device,
        start: Generator | None = None,
        world: World | None = None,
    ):
        self.ended, self.went_wrong = "", False
        self.softened, self.with_ada = 0, False
        self.best: dict[str, Any] | None = None
        self.good = 0  # images that were shown when the last sound state was kept
        self.chosen: Generator | None = None
        super().__init__(dataset, config, device, start, world)
        stream = self.random(WATCHED)
        count = min(COMPARED, len(self.shown))
        self.compared = stream.choice(self.shown, count, replace=False)
        self.quality: Quality | None = self._quality()
        if config.patience_kimg is not None and self.world.leads:
            self.quality.prepare()  # what was asked for and cannot be had is said at once

    def _quality(self) -> Quality:
        spared = len(self.held_out) >= FEWEST_HELD_OUT
        there = self.held_out if spared else self.shown
        chosen = np.sort(self.random(QUALITY).permutation(there)[:MOST_REAL])
        return Quality(self.dataset, chosen, spared, self.device, self.config.measure_kimg)

    # One step.

    def advance(self) -> None:
        try:
            super().advance()
        except TrainingDiverged as broken:
            verdict = Verdict("divergence", str(broken))
            if self.config.on_trouble == "ignore" or not self._turn_back(verdict, broken=True):
                raise
            return
        if self.crossed(RECORDED_EVERY):
            self._judge()

    def measured(self) -> dict[str, float]:
        values = self._diagnosed() if self.crossed(RECORDED_EVERY) else {}
        before = self.history[-1].images if self.history else 0
        if self.quality and self.quality.is_due(before, self.images):
            values |= self._kid(self.quality, values)
        return values

    def _diagnosed(self) -> dict[str, float]:
        made = self.samples()
        values: dict[str, float] = {}
        alike = diagnostics.likeness(diagnostics.features(made), diagnostics.features(self.images_at(self.compared)))
        if alike:
            values |= {"diversity": alike.diversity, "distance": alike.distance}
        if len(self.held_out):
            held_out, shown = self._logits_of(self.held_out), self._logits_of(self.compared)
            assert self.latents is not None
            values["held_out_score"] = float(held_out.mean())
            by_heart = diagnostics.overfitting(shown, held_out, self._logits(made, self.latents.labels))
            if by_heart is not None:
                values["overfitting"] = by_heart
        for name, player in self.players.items():
            values[f"{name}_gradient"] = diagnostics.gradient_norm(player.module)
        return values

    def _logits_of(self, indices: np.ndarray) -> Tensor:
        """What the discriminator says of real images: of as many as there are samples at most, and of a number that
        divides into groups, as a standard deviation over a minibatch asks for."""
        chosen = indices[: min(SAMPLES, len(indices) // 8 * 8)]
        return self._logits(self.images_at(chosen), self._labels_at(chosen))

    def _logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        discriminator = self.players["discriminator"].module
        with diagnostics.unmoved(discriminator), self.autocast():
            return discriminator(images, labels if labels is None else labels.to(self.device)).float()

    def _kid(self, quality: Quality, seen: Mapping[str, float]) -> dict[str, float]:
        """Measures it, and keeps the generator if it is the best so far. seen: what else this record says."""
        made = self.generator_now()
        try:
            found = quality.measure(made)
        except InputError as missing:
            self.quality = None
            self.remarks.append(f"KID is not measured in this run. {missing}")
            return {}
        if "kid" not in histories.columns(self.history):
            self.remarks.append(f"KID is that of {MADE} samples against {quality.against}.")
        values = {"kid": found.value, "kid_standard_error": found.standard_error}
        record = Record(self.images, {**seen, **values})
        if record in watch.counted([*self.history, record]) and (self.best is None or watch.better(values, self.best)):
            with self.remarking(BEST, "The best generator before it stays"):
                replace(made, card={**made.card, "metrics": quality.as_metrics(found)}).save(self.folder / BEST)
                self.best = {"images": self.images, **values}
        return values

    # What is seen, and what is done about it.

    def _judge(self) -> None:
        self.best = self.world.first(lambda: self.best)  # which alone measures
        before, self.verdict = self.verdict, watch.verdict(self.history, len(self.shown))
        policy = self.config.on_trouble
        if self.verdict is None:
            if policy != "ignore" and watch.sound(self.history) and self.images >= GROWTH * self.good:
                self.good = self.images
                contents = self.contents()
                if self.world.leads:
                    with self.remarking(GOOD, "The sound state before it stays"):
                        checkpoint.write(self.folder, *contents, name=GOOD)
            self._end_where_nothing_improves()
            return
        if before is None or before.kind != self.verdict.kind:
            self.remarks.append(f"At {self.images / 1000:.1f} kimg: {self.verdict}")
        if policy == "ignore":
            return
        if self.verdict.kind != "overfitting":
            self._turn_back(self.verdict, broken=False)
            return
        if policy == "soften" and self.recipe.augment == "none":
            self.with_ada = True
            self._take_softened_recipe()
            self.remarks.append(f"From {self.images / 1000:.1f} kimg on, images are augmented (ada).")
        elif watch.worsened(self.history):
            self._end(f"{self.verdict} KID has become worse since.")
        self._end_where_nothing_improves()

    def _end_where_nothing_improves(self) -> None:
        patience = self.config.patience_kimg
        if patience is None or self.ended or self.best is None:
            return
        if self.images - self.best["images"] >= 1000 * patience:
            self._end(f"KID has not improved for {patience:g} kimg.")

    def _turn_back(self, verdict: Verdict, broken: bool) -> bool:
        """Goes on from the last sound state, softly, or ends there. Says whether it could: where there is none, a run
        whose numbers are `broken` can only begin anew."""
        kept = self.found(GOOD)
        softens = self.config.on_trouble == "soften" and self.softened < MOST_SOFTENED
        if broken and not softens and kept is None:
            return False
        if softens or kept is not None:
            self._take_back(kept)
        if not softens:
            self.went_wrong = True
            self._end(str(verdict))
            return True
        self.softened, self.with_ada = self.softened + 1, True
        self._take_softened_recipe()
        self.remarks.append(
            f"Gone back to {self.images / 1000:.1f} kimg, and on from there with the learning rate "
            f"{at(self.recipe.learning_rate, self.images):.2g} and augmentation {self.recipe.augment}."
        )
        self.checkpoint()
        return True

    def _take_back(self, kept: Checkpoint | None) -> None:
        """Makes the run what it was: at a checkpoint, or at its beginning. What it found to be the best stays."""
        said = self.softened, self.with_ada, self.best
        now = self.images
        self.pending.clear()
        self.diverged, self.verdict = False, None
        if kept is None:
            self.images = self.steps = self.good = 0
            self.begin_anew()
        else:
            self.images, self.steps = kept.state["images"], kept.state["steps"]
            self.restore(kept)
        self.softened, self.with_ada, self.best = said
        self.images_at_start -= now - self.images  # so that images per second counts what was done in vain
        self.images_kept = -1

    def _take_softened_recipe(self) -> None:
        preset = self.config.recipe
        assert isinstance(preset, AdversarialRecipe)
        self.recipe = softened(preset, self.softened, self.with_ada)

    def _end(self, why: str) -> None:
        """Ends the run, with the best generator that there is."""
        made_at = self.images
        if self.best is not None:
            if self.world.leads:  # whose folder has it
                self.chosen = load(self.folder / BEST)
            made_at = self.best["images"]
        self.ended = f"{why} The run was stopped; its generator is the one of {made_at / 1000:.1f} kimg."
        self.remarks.append(self.ended)
        self.checkpoint()

    @property
    def finished(self) -> bool:
        return bool(self.ended) or super().finished

    @property
    def trouble(self) -> str:
        return self.ended or str(self.verdict or "")

    @property
    def failed(self) -> bool:
        return self.went_wrong

    def generator_now(self) -> Generator:
        """The best one, once the run has ended early and there is one; till then as it is now."""
        return self.chosen or super().generator_now()

    def samples(self) -> Tensor:
        """Those of generator_now."""
        if self.chosen is None:
            return super().samples()
        labels = self.labels_of_samples
        return self.chosen.decode(sample_noise(self.chosen, range(SAMPLES), labels=labels)).to(self.device)

    # What stays.

    def kept(self) -> dict[str, Any]:
        return {"softened": self.softened, "with_ada": self.with_ada, "best": self.best, "good": self.good}

    def restore_kept(self, state: Mapping[str, Any]) -> None:
        self.softened, self.with_ada = int(state.get("softened", 0)), bool(state.get("with_ada", False))
        self.good = int(state.get("good", 0))
        best = state.get("best")
        # Runs of before there were standard errors have none.
        self.best = best and {
            "images": int(best["images"]),
            "kid": float(best["kid"]),
            "kid_standard_error": float(best.get("kid_standard_error", 0.0)),
        }
        self._take_softened_recipe()


def softened(recipe: AdversarialRecipe, times: int, with_ada: bool) -> AdversarialRecipe:
    """The recipe with a learning rate that was lowered so many times, and with ada where nothing was augmented."""
    rate, factor = recipe.learning_rate, SOFTER**times
    if isinstance(rate, Schedule):
        rate = replace(rate, start=rate.start * factor, end=rate.end * factor)
    else:
        rate *= factor
    recipe = replace(recipe, learning_rate=rate)
    return replace(recipe, augment="ada", augment_p=None) if with_ada and recipe.augment == "none" else recipe
