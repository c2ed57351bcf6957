"""What a run's monitor has found so far, and what trouble has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .schedule import Schedule
from .settings import AdversarialRecipe, Recipe

GENTLER = 1 / 4
"""Factor of the learning rate at each rollback."""


@dataclass
class Standing:
    """Kept in checkpoints, under names that they have always had."""

    rollbacks: int = 0
    """How often the run went back to a healthy state and on with a lower learning rate."""
    with_ada: bool = False
    """Whether ada has been turned on since the start."""
    best: dict[str, Any] | None = None
    """The lowest KID: images, kid, kid_standard_error."""
    healthy_images: int = 0
    """Images that were shown when the last healthy state was kept."""
    measured_images: int | None = None
    """Images that were shown when it was last measured; None for a checkpoint that does not say."""

    def state(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "softened": self.rollbacks,
            "with_ada": self.with_ada,
            "best": self.best,
            "good": self.healthy_images,
            "measured": self.measured_images,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Standing:
        """The inverse of `state`. Raises KeyError, TypeError or ValueError for a damaged one."""
        best = state.get("best")
        return cls(
            int(state.get("softened", 0)),
            bool(state.get("with_ada", False)),
            # Runs from before there were standard errors have none.
            best
            and {
                "images": int(best["images"]),
                "kid": float(best["kid"]),
                "kid_standard_error": float(best.get("kid_standard_error", 0.0)),
            },
            int(state.get("good", 0)),
            None if state.get("measured") is None else int(state["measured"]),
        )

    def applied_to(self, recipe: Recipe) -> Recipe:
        """The recipe with a learning rate lowered at each rollback, and with ada where nothing was augmented."""
        rate, factor = recipe.learning_rate, GENTLER**self.rollbacks
        if isinstance(rate, Schedule):
            rate = replace(rate, start=rate.start * factor, end=rate.end * factor)
        else:
            rate *= factor
        recipe = replace(recipe, learning_rate=rate)
        if self.with_ada and isinstance(recipe, AdversarialRecipe) and recipe.augment == "none":
            return replace(recipe, augment="ada", augment_p=None)
        return recipe
