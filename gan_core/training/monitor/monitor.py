"""What is looked at while a run learns: its diagnostics, the KID of its samples, and the health that both indicate.

What is measured depends on the images that were shown and on the run's seed, except KID: where its interval is not set,
it is measured by the clock, and so decides on no step of a run, only on its end and on which generator is the best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...errors import InputError
from .. import history as histories
from ..history import Record
from ..run import Run
from ..run_files import BEST, RunFiles
from ..settings import AdversarialRecipe
from ..streams import Stream
from . import verdict as verdicts
from .quality import GENERATED, MAX_REAL, MIN_HELD_OUT, Quality
from .verdict import Verdict


class Monitor:
    """Measures a run and judges it."""

    def __init__(self, run: Run, files: RunFiles):
        """Raises InputError where early stopping by KID was asked for and KID cannot be measured."""
        self.run, self.files = run, files
        recipe = run.recipe
        self.quality: Quality | None = None
        if isinstance(recipe, AdversarialRecipe):
            self.quality = self._quality(recipe.measure_kimg)
            if recipe.patience_kimg is not None and run.world.is_main:
                self.quality.prepare()

    def measure(self) -> dict[str, float]:
        """What has fallen due since it was last measured, for the record. The main process alone measures."""
        run = self.run
        since = run.standing.measured_images
        if since is None:
            since = run.history[-1].images if run.history else 0
        look = run.look(since)
        values = run.method.measure(look)
        if self.quality and self.quality.is_due(look.since, look.images):
            values |= self._kid(self.quality, values)
        return values

    def verdict(self) -> Verdict | None:
        """What is wrong with the run by its history; None where nothing is."""
        return verdicts.verdict(self.run.history, len(self.run.batches.shown))

    def _quality(self, measure_kimg: float | None) -> Quality:
        batches = self.run.batches
        held_out = len(batches.held_out) >= MIN_HELD_OUT
        real = batches.held_out if held_out else batches.shown
        chosen = np.sort(self.run.streams.numpy(Stream.QUALITY).permutation(real)[:MAX_REAL])
        return Quality(self.run.dataset, chosen, held_out, self.run.device, measure_kimg)

    def _kid(self, quality: Quality, seen: Mapping[str, float]) -> dict[str, float]:
        """Measures KID, and keeps the generator if it is the best so far. seen: what else this record says."""
        run = self.run
        generator = run.generator()
        try:
            kid = quality.measure(generator)
        except InputError as missing:
            self.quality = None
            run.remarks.append(f"KID is not measured in this run. {missing}")
            return {}
        if "kid" not in histories.columns(run.history):
            run.remarks.append(f"KID is that of {GENERATED} samples against {quality.against}.")
        values = {"kid": kid.value, "kid_standard_error": kid.standard_error}
        record, best = Record(run.images, {**seen, **values}), run.standing.best
        counts = record in verdicts.counted([*run.history, record])
        if counts and (best is None or verdicts.better(values, best)):
            with self.files.remarking(BEST, "The best generator before it stays"):
                card = replace(generator.card, metrics=quality.as_metrics(kid))
                replace(generator, card=card).save(run.folder / BEST)
                run.standing.best = {"images": run.images, **values}
        return values
