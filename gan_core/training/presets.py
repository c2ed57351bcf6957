"""How a network is trained: presets that are known to work, and what a person may change of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import architectures
from ..errors import InputError
from ..latents import LAST_SEED
from ..losses.adversarial import OBJECTIVES
from ..losses.gradient_penalties import ESTIMATES, PENALTIES
from ..losses.reconstruction import LOSSES
from .augmentation import AUGMENTS
from .schedule import Schedule, at


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a network learns, but for the data and the length."""

    architecture: str | None
    """None for that of the generator that is gone on from."""
    network: Mapping[str, int] = field(default_factory=dict)
    """Fields of the architecture's config that differ from its defaults."""
    learning_rate: float | Schedule = 5e-4
    betas: tuple[float | Schedule, float | Schedule] = (0.5, 0.999)
    """Adam's."""
    batch_size: int = 64
    average_kimg: float | Schedule = 10.0
    """Half-life of the averaged (EMA) weights, in thousands of images."""
    cpu_threads: int | None = None
    """Threads of a step on the CPU; None for torch's own choice. A small network's threads wait for one another more
    than they work, and come to a halt where another program, such as a browser, takes a core now and then."""


@dataclass(frozen=True)
class AdversarialRecipe(Recipe):
    """How a GAN learns."""

    objective: str = "log"
    """One of OBJECTIVES."""
    penalty: str | None = None
    """One of PENALTIES; None for what goes with the objective: see `gradient_penalty`."""
    gamma: float | Schedule = 1.0
    """Weight of R1 and R2 at 64x64 pixels."""
    penalty_every: int = 1
    """Steps between two penalties. From 2 on, the discriminator takes a step of its own for one (lazily: Karras et al.
    2020, appendix B), so many times as heavy."""
    penalty_estimate: str = "exact"
    """One of ESTIMATES."""
    path_length: float = 0.0
    """Weight of a style-based generator's path length regularisation; 0 for none."""
    lecam: float = 0.0
    """Weight of LeCam's regularisation; 0 for none."""
    discriminator_steps: int | None = None
    """Batches that the discriminator learns from in a step; None for as many as go with the objective."""
    self_supervision: float = 0.0
    """Weight of what a discriminator that can supervise itself learns from real images beside the game."""
    augment: str = "none"
    """One of AUGMENTS: how images are changed before the discriminator sees them."""
    augment_p: float | Schedule | None = None
    """The p of ada; None for one that adapts itself."""

    @property
    def normalisation(self) -> str:
        """What the discriminator's layers are normalised with: what goes with the objective, or nothing where the
        recipe names a penalty; and its family's own where the family cannot have that."""
        wanted = OBJECTIVES[self.objective].normalisation if self.penalty in (None, "none") else "none"
        assert self.architecture, "a GAN begins with a network of its own"
        possible = architectures.by_name(self.architecture).normalisations
        return wanted if wanted in possible else possible[0]

    @property
    def gradient_penalty(self) -> str:
        """One of PENALTIES: the recipe's, else the objective's. An objective that counts on a normalisation which the
        family cannot have is given R1, as nothing else would keep its discriminator from growing ever steeper."""
        if self.penalty is not None:
            return self.penalty
        of_objective = OBJECTIVES[self.objective].penalty
        return "r1" if of_objective == self.normalisation == "none" else of_objective

    @property
    def turns(self) -> int:
        """Batches that the discriminator learns from in a step."""
        return self.discriminator_steps or OBJECTIVES[self.objective].discriminator_steps


@dataclass(frozen=True)
class VariationalRecipe(Recipe):
    """How a VAE learns."""

    betas: tuple[float, float] = (0.9, 0.999)
    reconstruction: str = "bernoulli"
    """One of gan_core.losses.reconstruction.LOSSES."""
    beta: float = 1.0
    """Weight of the KL divergence: above 1 fewer and plainer factors, below 1 sharper pictures of a less tidy z."""
    warm_up_kimg: float = 50.0
    """Images, in thousands, over which that weight grows from 0."""
    free_bits: float = 0.0
    """Nats that each dimension of z may take for nothing (Kingma et al. 2016)."""
    adversarial_kimg: float | None = None
    """Images, in thousands, after which a patch discriminator begins to judge reconstructions; None for never."""
    adversarial_weight: float = 0.5
    """Its weight, beside which it is adapted so that both pull alike (Esser et al. 2021, eq. 7)."""


GAN_PRESETS = {
    "dcgan": AdversarialRecipe("dcgan", {"refine": 1}, learning_rate=2e-4),
    "dcgan_small": AdversarialRecipe(
        "dcgan", {"width": 32, "latent_size": 64, "refine": 1}, betas=(0.5, 0.99), average_kimg=20.0
    ),
    "digits": AdversarialRecipe(
        "dcgan", {"width": 24, "latent_size": 8, "refine": 1}, betas=(0.5, 0.99), average_kimg=20.0, cpu_threads=1
    ),
    "dcgan_classic": AdversarialRecipe("dcgan", learning_rate=2e-4, average_kimg=0.0, batch_size=128),
    "few": AdversarialRecipe(
        "dcgan",
        {"width": 32, "latent_size": 64, "refine": 1},
        betas=(0.5, 0.99),
        average_kimg=20.0,
        batch_size=32,
        augment="ada",
    ),
    "r3gan_small": AdversarialRecipe(
        "r3gan",
        {"base": 512, "most": 128, "blocks": 1},
        learning_rate=Schedule(1e-3, 2e-4, kimg=80),
        betas=(0.0, Schedule(0.9, 0.99, kimg=80)),
        batch_size=32,
        average_kimg=Schedule(0, 5, kimg=80),
        cpu_threads=1,
        objective="relativistic",
        # Ten times the paper's for 32x32 and more: its batches are 16 times as large, and average the noise away.
        gamma=Schedule(4.0, 0.5, kimg=80),
    ),
    "r3gan": AdversarialRecipe(
        "r3gan",
        {"base": 16384, "most": 512},
        learning_rate=Schedule(2e-4, 5e-5, kimg=2000),
        betas=(0.0, Schedule(0.9, 0.99, kimg=2000)),
        batch_size=64,
        average_kimg=Schedule(0, 100, kimg=2000),
        objective="relativistic",
        gamma=Schedule(4.0, 0.4, kimg=2000),
        augment="ada",
        augment_p=Schedule(0.0, 0.3, kimg=2000),
    ),
    # The paper's for faces, whose gamma is 2 to 0.2 at 64x64 pixels and 9.4 to 0.94 in these units at 256x256.
    "r3gan_large": AdversarialRecipe(
        "r3gan",
        {"base": 24576, "most": 768},
        learning_rate=Schedule(2e-4, 5e-5, kimg=20_000),
        betas=(0.0, Schedule(0.9, 0.99, kimg=20_000)),
        batch_size=256,
        average_kimg=Schedule(0, 500, kimg=20_000),
        objective="relativistic",
        gamma=Schedule(4.0, 0.4, kimg=20_000),
        augment="ada",
        augment_p=Schedule(0.0, 0.3, kimg=20_000),
    ),
    "stylegan2_small": AdversarialRecipe(
        "stylegan2",
        {"base": 512, "largest": 128, "latent_size": 64, "w_dim": 64, "mapping_layers": 2},
        # Weights that are kept at unit scale need steps of this size to get anywhere within minutes.
        learning_rate=Schedule(8e-3, 2e-3, kimg=200.0),
        betas=(0.0, 0.99),
        batch_size=16,
        average_kimg=15.0,
        cpu_threads=1,
        # Under `log`, without labels, digits were of a few shapes only for the first 20 kimg.
        objective="relativistic",
        penalty="r1",
        gamma=2.0,
        penalty_every=16,
        augment="ada",
    ),
    # For one GPU (Karras et al. 2020, appendix; gamma as they begin with it: 2e-4 times pixels, over the batch).
    "stylegan2": AdversarialRecipe(
        "stylegan2",
        {"base": 16384, "mapping_layers": 2},
        learning_rate=2.5e-3,
        betas=(0.0, 0.99),
        batch_size=32,
        penalty="r1",
        gamma=2e-4 * 64**2 / 32,
        penalty_every=16,
        path_length=2.0,
        augment="ada",
    ),
    # For a few hundred images and one GPU (Liu et al. 2021).
    "fastgan": AdversarialRecipe(
        "fastgan",
        learning_rate=2e-4,
        batch_size=8,
        average_kimg=5.0,
        objective="hinge",
        self_supervision=1.0,
        augment="diffaugment",
    ),
    "fastgan_small": AdversarialRecipe(
        "fastgan",
        {"base": 8, "latent_size": 64},
        learning_rate=1e-3,
        batch_size=16,
        average_kimg=5.0,
        objective="hinge",
        self_supervision=1.0,
        augment="diffaugment",
    ),
}

VAE_PRESETS = {
    "conv_vae": VariationalRecipe("conv_vae", learning_rate=1e-3, batch_size=128, average_kimg=20.0, cpu_threads=1),
    "taesd_vae": VariationalRecipe(
        "taesd_vae",
        learning_rate=5e-4,
        batch_size=16,
        average_kimg=20.0,
        reconstruction="multiscale",
        beta=0.1,
        adversarial_kimg=2000.0,
    ),
    "finetune_decoder": VariationalRecipe(
        None, learning_rate=1e-4, batch_size=8, average_kimg=10.0, reconstruction="multiscale", adversarial_kimg=50.0
    ),
}

PRESETS: Mapping[str, Recipe] = {**GAN_PRESETS, **VAE_PRESETS}
"""Recipes by name, the best for most first. docs/recipes.md says what each is for and what was measured."""


AUTO = "auto"
"""The preset that stands for the one that a look at the data asks for: see probe.py."""

ON_TROUBLE = ("stop", "soften", "ignore")
"""What a run can do about trouble."""


@dataclass(frozen=True)
class TrainConfig:
    """One training: where it is kept, how long it may take, and where it leaves the preset."""

    folder: str | Path
    """The run's own folder. Its generator, checkpoint, history and samples are kept there."""
    preset: str = next(iter(PRESETS))
    """One of PRESETS, or AUTO for the GAN that the data ask for."""
    kimg: float | None = None
    """Stop when this many thousand real images have been shown, over the whole life of the run."""
    minutes: float | None = None
    """Stop after so many minutes of this start."""
    batch_size: int | None = None
    learning_rate: float | None = None
    """Adam's step size, which then stays as it is."""
    objective: str | None = None
    """One of OBJECTIVES, for a GAN. Another than the preset's brings its own penalty along. These three, and the last
    seven, are the preset's where None."""
    seed: int = 0
    """Decides the first weights, the noise and the order of the images. A resumed run keeps the one it has."""
    resume: bool = False
    """Continue the run in `folder`, if there is one."""
    precision: str = "auto"
    """"auto" computes in bfloat16 where that is faster; "fp32" in full precision everywhere."""
    title: str | None = None
    """What to call the generator; the folder's name where None."""
    reconstruction: str | None = None
    """One of gan_core.losses.reconstruction.LOSSES, for a VAE, as the others that follow."""
    beta: float | None = None
    """Weight of the KL divergence."""
    latent_channels: int | None = None
    """Length of z, or channels of a spatial one."""
    adversarial_kimg: float | None = None
    """Thousands of images after which a patch discriminator joins in; infinite for never."""
    free_bits: float | None = None
    """Nats that each dimension of z may take for nothing."""
    augment: str | None = None
    """One of AUGMENTS, for a GAN, as the others that follow. The p of another than the preset's adapts itself."""
    gamma: float | None = None
    """Weight of R1 and R2 at 64x64 pixels, which then stays as it is."""
    lecam: float | None = None
    """Weight of LeCam's regularisation."""
    on_trouble: str = "stop"
    """What a GAN's run does where its samples collapse or diverge: one of ON_TROUBLE, as told at WatchedRun."""
    measure_kimg: float | None = None
    """Thousands of images between two measurements of a GAN's KID: None for as often as costs 1 % of the time, infinite
    for never."""
    patience_kimg: float | None = None
    """Stop when a GAN's KID has not improved for so many thousand images; None for no such end."""
    compiled: bool = False
    """Whether a GAN's networks go through torch.compile, where no gradient of a gradient is taken: it has none. It
    needs a C++ compiler, or Triton on a GPU, and some minutes at the start. On a CPU, `dcgan_small` became slower by an
    eighth; on a GPU it is unmeasured. A resumed run is then no longer the same to the bit."""

    @property
    def recipe(self) -> Recipe:
        """The preset with this config's changes. Raises InputError for a setting that cannot be."""
        if self.preset not in PRESETS:
            raise InputError(f'There is no preset "{self.preset}"; the presets are {", ".join([*PRESETS, AUTO])}.')
        preset = PRESETS[self.preset]
        changes = {name: getattr(self, name) for name in _CHANGES if getattr(self, name) is not None}
        foreign = next((name for name in changes if not hasattr(preset, name)), None)
        if foreign is not None or (self.latent_channels is not None and not isinstance(preset, VariationalRecipe)):
            kind = "VAE" if isinstance(preset, VariationalRecipe) else "GAN"
            raise InputError(f"{self.preset} trains a {kind}, which has no {foreign or 'latent_channels'} to be set.")
        if self.latent_channels is not None:
            changes["network"] = {**preset.network, self._latent_field(preset): self.latent_channels}
        if isinstance(preset, AdversarialRecipe):
            if changes.get("objective", preset.objective) != preset.objective:
                changes |= {"penalty": None, "penalty_every": 1, "discriminator_steps": None}
            if changes.get("augment", preset.augment) != preset.augment:
                changes["augment_p"] = None
        return replace(preset, **changes)

    def _latent_field(self, preset: Recipe) -> str:
        if preset.architecture is None:
            raise InputError(f"{self.preset} keeps the latent of the VAE that it starts from: leave its channels.")
        return "latent_channels" if architectures.by_name(preset.architecture).spatial else "latent_size"

    def check(self) -> None:
        """Raises InputError, in one sentence, for settings that no training can start with."""
        if self.preset == AUTO:
            # Which preset it will be, the data say, and it is checked again; what none of them can have is said now.
            return replace(self, preset=next(iter(GAN_PRESETS)), gamma=None).check()
        recipe = self.recipe
        if isinstance(recipe, AdversarialRecipe):
            _check_adversarial(recipe)
            if self.compiled and recipe.gradient_penalty != "none" and recipe.penalty_every == 1:
                raise InputError(
                    f"{self.preset} takes the gradient of a gradient at every step, which torch.compile cannot: train "
                    "it without --compile, or with an objective that has no such penalty (log or hinge, on dcgan)."
                )
            if self.gamma is not None and recipe.gradient_penalty not in ("r1", "r1_r2"):
                raise InputError(
                    f"gamma is the weight of R1 and R2, which {self.preset} does not have with the objective "
                    f"{recipe.objective}: leave it, or choose relativistic."
                )
        if isinstance(recipe, VariationalRecipe):
            _check_variational(recipe)
            if self.compiled:
                raise InputError(f"{self.preset} trains a VAE, which is not compiled: leave --compile.")
        if recipe.batch_size < 2:
            raise InputError(f"A batch holds at least 2 images, not {recipe.batch_size}.")
        if not 0 < at(recipe.learning_rate, 0) <= 1:
            raise InputError(f"The learning rate is more than 0 and at most 1, not {recipe.learning_rate}.")
        if not 0 <= self.seed <= LAST_SEED:
            raise InputError(f"The seed lies between 0 and {LAST_SEED}; {self.seed} does not.")
        if self.precision not in ("auto", "fp32"):
            raise InputError(f'The precision is "auto" or "fp32", not "{self.precision}".')
        if self.on_trouble not in ON_TROUBLE:
            raise InputError(f'On trouble a run can {", ".join(ON_TROUBLE)}; "{self.on_trouble}" is none of them.')
        if isinstance(recipe, VariationalRecipe) and self.patience_kimg is not None:
            raise InputError(f"{self.preset} trains a VAE, which has no KID to be patient for: leave patience_kimg.")
        for name in ("measure_kimg", "patience_kimg"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is more than 0 thousand images, not {value:g}.")
        budgets = [budget for budget in (self.kimg, self.minutes) if budget is not None]
        if not budgets:
            raise InputError("Training needs an end: give a budget in kimg (thousand images), in minutes, or both.")
        bad = next((budget for budget in budgets if not 0 < budget < math.inf), None)
        if bad is not None:
            raise InputError(f"A budget is more than 0 kimg or minutes, not {bad:g}.")


_CHANGES = (
    "batch_size",
    "learning_rate",
    "objective",
    "reconstruction",
    "beta",
    "adversarial_kimg",
    "free_bits",
    "augment",
    "gamma",
    "lecam",
)
"""What a config may change of a recipe."""


def _check_adversarial(recipe: AdversarialRecipe) -> None:
    if recipe.objective not in OBJECTIVES:
        raise InputError(f'There is no objective "{recipe.objective}"; the objectives are {", ".join(OBJECTIVES)}.')
    if recipe.augment not in AUGMENTS:
        raise InputError(f'There is no augmentation "{recipe.augment}"; there are {", ".join(AUGMENTS)}.')
    if recipe.gradient_penalty not in PENALTIES or recipe.penalty_estimate not in ESTIMATES:
        raise InputError(
            f'There is no penalty "{recipe.penalty}", {recipe.penalty_estimate}; there are {", ".join(PENALTIES)}, '
            f"{' or '.join(ESTIMATES)}."
        )
    if not 0 <= at(recipe.gamma, 0) <= 1e6:
        raise InputError(f"gamma is from 0 to a million, and mostly from 0.01 to 100, not {recipe.gamma:g}.")
    if not 0 <= recipe.lecam <= 1000:
        raise InputError(f"The weight of LeCam is from 0 to 1000, and mostly from 0.01 to 1, not {recipe.lecam:g}.")


def _check_variational(recipe: VariationalRecipe) -> None:
    if recipe.reconstruction not in LOSSES:
        raise InputError(f'There is no reconstruction "{recipe.reconstruction}"; there are {", ".join(LOSSES)}.')
    if not 0 <= recipe.beta <= 1e6:
        raise InputError(f"beta is from 0 to a million, and mostly from 0.01 to 10, not {recipe.beta:g}.")
    if not 0 <= recipe.free_bits <= 1000:
        raise InputError(
            f"Free bits are 0 or more nats for each dimension of z, mostly below 1, not {recipe.free_bits:g}."
        )
    if recipe.adversarial_kimg is not None and not recipe.adversarial_kimg >= 0:
        raise InputError(f"The discriminator joins in after 0 kimg or more, not after {recipe.adversarial_kimg:g}.")
