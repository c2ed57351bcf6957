"""What is done about trouble, as `TrainConfig.on_trouble` says.

- "stop": A run that collapses or diverges ends there, with the files of its last healthy state and the best generator
  that there is. One whose discriminator overfits continues with a warning, as its images may be good all the same, and
  ends only if KID says that they have become worse.
- "rollback": It goes back to its last healthy state, or to its beginning, and on from there with a quarter of the
  learning rate, and with ada where nothing was augmented; MAX_ROLLBACKS times at most, then it stops as above.
  Overfitting is answered with ada alone, from where the run is.
- "ignore": It is only reported.

A loss or a weight that is no longer a finite number is a divergence that no run can recover from: such a run ends as
above if it has a healthy state, and raises TrainingDiverged if it has none, or is to ignore trouble.
"""

from __future__ import annotations

from ...errors import TrainingDiverged
from ...generator import load
from .. import checkpoint
from ..checkpoint import Checkpoint
from ..run import Run
from ..run_files import BEST, HEALTHY, RunFiles
from ..schedule import at
from ..settings import AdversarialRecipe
from . import verdict as verdicts
from .verdict import Verdict

GROWTH = 1.25
"""A healthy state is kept once this many times as many images were shown as at the one before: rarely, and by the
images alone, so that a run which was stopped and resumed has kept the same ones."""

MAX_ROLLBACKS = 3
"""After this many, the learning rate is 1/64; few are too high by more."""


class Policy:
    """Carries out what a run is to do about trouble."""

    def __init__(self, run: Run, files: RunFiles):
        self.run, self.files = run, files

    def respond(self, verdict: Verdict | None) -> None:
        """Keeps a healthy state, or does something about what is wrong."""
        run = self.run
        standing = run.standing
        standing.best = run.world.broadcast(lambda: standing.best)  # the main process alone measures
        before, run.verdict = run.verdict, verdict
        on_trouble = run.config.on_trouble
        if verdict is None:
            if on_trouble != "ignore" and verdicts.healthy(run.history) and self._grown():
                self._keep_healthy()
            self._stop_early()
            return
        if before is None or before.kind != verdict.kind:
            run.remarks.append(f"At {run.images / 1000:.1f} kimg: {verdict}")
        if on_trouble == "ignore":
            return
        if verdict.kind != "overfitting":
            self._roll_back(verdict, broken=False)
            return
        if on_trouble == "rollback" and isinstance(run.recipe, AdversarialRecipe) and run.recipe.augment == "none":
            standing.with_ada = True
            run.apply_standing()
            run.remarks.append(f"From {run.images / 1000:.1f} kimg on, images are augmented (ada).")
        elif verdicts.worsened(run.history):
            self._end(f"{verdict} KID has become worse since.")
        self._stop_early()

    def recover(self, error: TrainingDiverged) -> None:
        """Goes on after broken numbers, or ends the run. Raises the error where neither is possible."""
        verdict = Verdict("divergence", str(error))
        if self.run.config.on_trouble == "ignore" or not self._roll_back(verdict, broken=True):
            raise error

    def _grown(self) -> bool:
        return self.run.images >= GROWTH * self.run.standing.healthy_images

    def _keep_healthy(self) -> None:
        run = self.run
        run.standing.healthy_images = run.images
        contents = run.contents()
        if run.world.is_main:
            with self.files.remarking(HEALTHY, "The healthy state before it stays"):
                checkpoint.write(run.folder, *contents, name=HEALTHY)

    def _stop_early(self) -> None:
        """Ends a run whose KID has not improved for as long as its patience lasts."""
        run, best = self.run, self.run.standing.best
        patience = run.recipe.patience_kimg if isinstance(run.recipe, AdversarialRecipe) else None
        if patience is None or run.ended or best is None:
            return
        if run.images - best["images"] >= 1000 * patience:
            self._end(f"KID has not improved for {patience:g} kimg.")

    def _roll_back(self, verdict: Verdict, broken: bool) -> bool:
        """Continues from the last healthy state, or ends there. Returns whether it could: without one, a run whose
        numbers are `broken` can only start again."""
        run = self.run
        kept = checkpoint.shared(run.folder, run.world, HEALTHY)
        goes_on = run.config.on_trouble == "rollback" and run.standing.rollbacks < MAX_ROLLBACKS
        if broken and not goes_on and kept is None:
            return False
        if goes_on or kept is not None:
            self._return_to(kept)
        if not goes_on:
            run.failed = True
            self._end(str(verdict))
            return True
        run.standing.rollbacks += 1
        run.standing.with_ada = True
        run.apply_standing()
        augment = f" and augmentation {run.recipe.augment}" if isinstance(run.recipe, AdversarialRecipe) else ""
        run.remarks.append(
            f"Rolled back to {run.images / 1000:.1f} kimg, and on from there with the learning rate "
            f"{at(run.recipe.learning_rate, run.images):.2g}{augment}."
        )
        self.files.checkpoint()
        return True

    def _return_to(self, kept: Checkpoint | None) -> None:
        """Takes the run back; what it has been through, and the best that it had, stay."""
        run, before = self.run, self.run.standing
        run.return_to(kept)
        if run.world.is_main:
            self.files.film.cut(run.images)
        standing = run.standing
        standing.rollbacks, standing.with_ada, standing.best = before.rollbacks, before.with_ada, before.best
        self.files.kept_images = -1

    def _end(self, why: str) -> None:
        """Ends the run, with the best generator that there is."""
        run, best = self.run, self.run.standing.best
        images = run.images
        if best is not None:
            if run.world.is_main:  # whose folder has it
                run.chosen = load(run.folder / BEST)
            images = best["images"]
        run.ended = f"{why} The run was stopped; its generator is the one of {images / 1000:.1f} kimg."
        run.remarks.append(run.ended)
        self.files.checkpoint()
