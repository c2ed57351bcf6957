"""One training as a person asks for it: where it is kept, how long it takes, and how it differs from its preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..latents import LAST_SEED
from .presets import AUTO, PRESETS
from .settings import AdversarialRecipe, Recipe, VariationalRecipe, setting, settings_of

ON_TROUBLE = ("stop", "rollback", "ignore")
"""What a run can do about trouble: see gan_core.training.monitor.policy."""


@dataclass(frozen=True)
class TrainConfig:
    """One training: where it is kept, how long it may take, and how it differs from its preset."""

    folder: str | Path
    """The run's own folder. Its generator, checkpoint, history and samples are kept there."""
    preset: str = AUTO
    """One of PRESETS, or AUTO for the GAN that suits the data."""
    kimg: float | None = setting(
        None,
        "End once this many thousand images have been shown, over the whole life of the run. Digits need 200, "
        "photographs several thousand.",
        minimum=0,
        above=True,
        maximum=1e9,
        unit="thousands of images",
    )
    minutes: float | None = setting(
        None,
        "End this many minutes after this start, or when kimg is spent.",
        minimum=0,
        above=True,
        maximum=1e6,
        unit="minutes",
    )
    seed: int = setting(
        0,
        "Seed of the initial weights, the noise and the order of the images. A resumed run keeps its own.",
        minimum=0,
        maximum=LAST_SEED,
    )
    resume: bool = setting(False, "Resume the run in this folder, if there is one, instead of starting a new one.")
    title: str | None = None
    """Name of the generator in its card; the folder's name where None."""
    on_trouble: str = setting(
        "stop",
        "On mode collapse or divergence: stop with the best generator, rollback to the last healthy state and continue "
        "with a lower learning rate, or ignore it.",
        choices=ON_TROUBLE,
    )
    eager: bool = setting(
        False,
        "Launch every operator of a step by itself, where CUDA graphs would launch the whole step at once: slower, for "
        "comparison and for finding faults.",
    )
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the preset, by the names of the settings of AdversarialRecipe or VariationalRecipe."""

    @classmethod
    def of(cls, folder: str | Path, **options: Any) -> TrainConfig:
        """The config of options by name, whether they are the config's own or settings; None leaves one unset."""
        own = {each.name for each in fields(cls)}
        given = {name: value for name, value in options.items() if value is not None}
        changes = {name: value for name, value in given.items() if name not in own}
        return cls(folder, **{name: value for name, value in given.items() if name in own}, settings=changes)

    @property
    def recipe(self) -> Recipe:
        """The preset with this config's settings. Raises InputError for a preset or a setting that does not exist."""
        if self.preset not in PRESETS:
            raise InputError(f'There is no preset "{self.preset}": choose one of {", ".join([*PRESETS, AUTO])}.')
        preset = PRESETS[self.preset]
        check_settings(type(preset), self.settings, self.preset)
        return preset.changed(self.settings)

    def check(self) -> None:
        """Raises InputError, in one sentence, for settings that no training can start with."""
        for name, declared in settings_of(TrainConfig).items():
            value = getattr(self, name)
            if value is not None:
                declared.check(name, value)
        if self.kimg is None and self.minutes is None:
            raise InputError("Set a budget: kimg (thousands of images), minutes, or both.")
        if self.preset == AUTO:
            # The data decide which preset it will be, and it is checked again then.
            check_settings(AdversarialRecipe, self.settings, AUTO)
        elif isinstance(recipe := self.recipe, AdversarialRecipe):
            self._check_adversarial(recipe)
        elif isinstance(recipe, VariationalRecipe):
            recipe.network_settings()

    def _check_adversarial(self, recipe: AdversarialRecipe) -> None:
        if "gamma" in self.settings and recipe.gradient_penalty not in ("r1", "r1_r2"):
            raise InputError(
                f"gamma is the weight of R1 and R2, which {self.preset} does not have with the objective "
                f"{recipe.objective}: leave gamma unset, or choose relativistic."
            )


def check_settings(recipe: type[Recipe], settings: Mapping[str, Any], preset: str) -> None:
    """Raises InputError, in one sentence, for a setting that such a recipe does not have, or a value out of range."""
    declared = settings_of(recipe)
    for name, value in settings.items():
        if name not in declared:
            raise InputError(f"{preset} trains a {recipe.kind}, which has no setting {name}: leave it unset.")
        declared[name].check(name, value)
