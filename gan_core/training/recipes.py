"""How a network is trained: presets that are known to work, and what a person may change of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError
from ..latents import LAST_SEED
from ..objectives import OBJECTIVES


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a network learns, but for the data and the length."""

    architecture: str
    network: Mapping[str, int] = field(default_factory=dict)
    """Fields of the architecture's config that differ from its defaults."""
    objective: str = "log"
    """One of OBJECTIVES."""
    learning_rate: float = 5e-4
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's."""
    batch_size: int = 64
    average_kimg: float = 10.0
    """Half-life of the averaged (EMA) weights, in thousands of images."""
    gamma: float = 1.0
    """Weight of R1 and R2 at 64x64 pixels, for objectives that have them."""
    cpu_threads: int | None = None
    """Threads of a step on the CPU; None for torch's own choice. A small network's threads wait for one another more
    than they work, and come to a halt where another program, such as a browser, takes a core now and then."""


PRESETS = {
    "dcgan": Recipe("dcgan", {"refine": 1}, learning_rate=2e-4),
    "dcgan_small": Recipe("dcgan", {"width": 32, "latent_size": 64, "refine": 1}, betas=(0.5, 0.99), average_kimg=20.0),
    "digits": Recipe(
        "dcgan", {"width": 24, "latent_size": 8, "refine": 1}, betas=(0.5, 0.99), average_kimg=20.0, cpu_threads=1
    ),
    "dcgan_classic": Recipe("dcgan", learning_rate=2e-4, average_kimg=0.0, batch_size=128),
}
"""Recipes by name, the best for most first. docs/recipes.md says what each is for and what was measured."""


@dataclass(frozen=True)
class TrainConfig:
    """One training: where it is kept, how long it may take, and where it leaves the preset."""

    folder: str | Path
    """The run's own folder. Its generator, checkpoint, history and samples are kept there."""
    preset: str = next(iter(PRESETS))
    """One of PRESETS."""
    kimg: float | None = None
    """Stop when this many thousand real images have been shown, over the whole life of the run."""
    minutes: float | None = None
    """Stop after so many minutes of this start."""
    batch_size: int | None = None
    learning_rate: float | None = None
    """Adam's step size."""
    objective: str | None = None
    """One of OBJECTIVES. These three are the preset's where None."""
    seed: int = 0
    """Decides the first weights, the noise and the order of the images. A resumed run keeps the one it has."""
    resume: bool = False
    """Continue the run in `folder`, if there is one."""
    precision: str = "auto"
    """"auto" computes in bfloat16 where that is faster; "fp32" in full precision everywhere."""
    title: str | None = None
    """What to call the generator; the folder's name where None."""

    @property
    def recipe(self) -> Recipe:
        """The preset with this config's changes. Raises InputError for a setting that cannot be."""
        if self.preset not in PRESETS:
            raise InputError(f'There is no preset "{self.preset}"; the presets are {", ".join(PRESETS)}.')
        changes = {
            name: getattr(self, name)
            for name in ("batch_size", "learning_rate", "objective")
            if getattr(self, name) is not None
        }
        return replace(PRESETS[self.preset], **changes)

    def check(self) -> None:
        """Raises InputError, in one sentence, for settings that no training can start with."""
        recipe = self.recipe
        if recipe.objective not in OBJECTIVES:
            raise InputError(f'There is no objective "{recipe.objective}"; the objectives are {", ".join(OBJECTIVES)}.')
        if recipe.batch_size < 2:
            raise InputError(f"A batch holds at least 2 images, not {recipe.batch_size}.")
        if not 0 < recipe.learning_rate <= 1:
            raise InputError(f"The learning rate is more than 0 and at most 1, not {recipe.learning_rate}.")
        if not 0 <= self.seed <= LAST_SEED:
            raise InputError(f"The seed lies between 0 and {LAST_SEED}; {self.seed} does not.")
        if self.precision not in ("auto", "fp32"):
            raise InputError(f'The precision is "auto" or "fp32", not "{self.precision}".')
        budgets = [budget for budget in (self.kimg, self.minutes) if budget is not None]
        if not budgets:
            raise InputError("Training needs an end: give a budget in kimg (thousand images), in minutes, or both.")
        bad = next((budget for budget in budgets if not 0 < budget < math.inf), None)
        if bad is not None:
            raise InputError(f"A budget is more than 0 kimg or minutes, not {bad:g}.")
