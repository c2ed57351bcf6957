"""The settings of a training, each declared once: default, range, choices, unit and help stand with its field here, and
the checks, the options of the command line and the inputs of the nodes are made from them."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from .. import architectures
from ..errors import InputError
from ..losses.adversarial import OBJECTIVES
from ..losses.gradient_penalties import ESTIMATES, PENALTIES
from ..losses.reconstruction import LOSSES
from .augmentation import AUGMENTS
from .schedule import Schedule

PRECISIONS = ("auto", "fp32")


@dataclass(frozen=True)
class Setting:
    """What is known of a setting that a person may change."""

    help: str
    """One or two sentences for people."""
    minimum: float = -math.inf
    maximum: float = math.inf
    above: bool = False
    """Whether the value must be greater than the minimum, not just equal."""
    choices: tuple[str, ...] = ()
    """What a text can be."""
    unit: str = ""
    """Unit of a number, in the plural."""
    option: str = ""
    """Name of the command line's option, where it is not that of the field."""
    kind: type = float
    """int, float, str or bool: read from the field's annotation by `settings_of`."""

    def check(self, name: str, value: Any) -> None:
        """Raises InputError, in one sentence, for a value that is out of range or is not one of the choices."""
        if self.choices:
            fits = value in self.choices
        elif self.kind is bool:
            fits = isinstance(value, bool)
        elif self.kind is str:
            fits = isinstance(value, str)
        else:
            number = isinstance(value, Integral if self.kind is int else Real) and not isinstance(value, bool)
            fits = number and self._within(value)
        if not fits:
            raise InputError(f"{name} must be {self.allowed} (got {value!r}).")

    def _within(self, value: float) -> bool:
        # Written so that NaN, which compares with nothing, is refused too.
        return (value > self.minimum if self.above else value >= self.minimum) and value <= self.maximum

    @property
    def allowed(self) -> str:
        """What a value must be, as part of a sentence."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return "a text"
        number = "a whole number" if self.kind is int else "a number"
        lowest = f" greater than {self.minimum:g}" if self.above else f" of at least {self.minimum:g}"
        lowest = "" if math.isinf(self.minimum) else lowest
        highest = "" if math.isinf(self.maximum) else f"{' and' if lowest else ' of'} at most {self.maximum:.10g}"
        return number + lowest + highest + (f", in {self.unit}" if self.unit else "")


def setting(default: Any, help: str, **known: Any) -> Any:
    """A dataclass field that a person may set. known: further fields of Setting."""
    return field(default=default, metadata={"setting": Setting(help, **known)})


def settings_of(declared: type) -> dict[str, Setting]:
    """The settings that a dataclass declares, by name, in their order."""
    hints = get_type_hints(declared)
    return {
        each.name: replace(each.metadata["setting"], kind=_kind(hints[each.name]))
        for each in dataclasses.fields(declared)
        if "setting" in each.metadata
    }


def _kind(hint: Any) -> type:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next(kind for kind in kinds if kind in (bool, int, float, str))


@dataclass(frozen=True)
class Recipe:
    """How a network learns: everything that decides it, except the data and how long it lasts."""

    kind: ClassVar[str]
    """What it trains, in a sentence: "GAN" or "VAE"."""

    architecture: str | None
    """None for that of the generator that training starts from."""
    network: Mapping[str, int] = field(default_factory=dict)
    """Fields of the architecture's config that differ from its defaults."""
    learning_rate: float | Schedule = setting(
        5e-4,
        "Step size of Adam, constant throughout. Lower it if training is unstable.",
        minimum=0,
        above=True,
        maximum=1,
    )
    betas: tuple[float | Schedule, float | Schedule] = (0.5, 0.999)
    """Adam's decay rates of the first and second moments."""
    batch_size: int = setting(64, "Number of images per step.", minimum=2, maximum=4096, option="batch")
    ema_kimg: float | Schedule = 10.0
    """Half-life of the EMA of the weights, in thousands of images."""
    cpu_threads: int | None = None
    """Threads of a step on the CPU; None for torch's own choice. The threads of a small network wait for one another
    more than they work, and stall where another program, such as a browser, takes a core now and then."""
    precision: str = setting(
        "auto", "auto computes in bfloat16 where that is faster, fp32 in full precision.", choices=PRECISIONS
    )

    def changed(self, settings: Mapping[str, Any]) -> Recipe:
        """The recipe with these settings instead of its own. They must have been checked."""
        return replace(self, **settings)

    def network_settings(self) -> dict[str, int]:
        """What the architecture's config is built with, besides what the data decide."""
        return dict(self.network)


@dataclass(frozen=True)
class AdversarialRecipe(Recipe):
    """How a GAN learns."""

    kind: ClassVar[str] = "GAN"

    objective: str = setting(
        "log",
        "Adversarial loss: log is the non-saturating loss of the first GAN paper, hinge goes with spectral "
        "normalisation, relativistic (RpGAN) with gradient penalties (more stable, about 1.3 times as slow), wgan is "
        "WGAN-GP with five discriminator steps per generator step (slowest).",
        choices=tuple(OBJECTIVES),
    )
    penalty: str | None = None
    """One of PENALTIES; None for the one that goes with the objective: see `gradient_penalty`."""
    gamma: float | Schedule = setting(
        1.0,
        "Weight of the gradient penalties R1 and R2 at 64x64 pixels, constant throughout: higher is more stable, lower "
        "learns faster. For objectives and presets that have them.",
        minimum=0,
        maximum=1e6,
    )
    penalty_every: int = 1
    """Steps between two penalties. From 2 on, the discriminator takes a separate step for the penalty, with this many
    times its weight (lazy regularisation: Karras et al. 2020a, appendix B)."""
    penalty_estimate: str = "exact"
    """One of ESTIMATES."""
    path_length: float = 0.0
    """Weight of path length regularisation, for a style-based generator; 0 for none."""
    lecam: float = setting(
        0.0,
        "Weight of LeCam regularisation of the discriminator, for few images; 0.1 is a start, 0 turns it off.",
        minimum=0,
        maximum=1000,
    )
    discriminator_steps: int | None = None
    """Discriminator steps per generator step, each on a batch of its own; None for the objective's number."""
    self_supervision: float = 0.0
    """Weight of the discriminator's self-supervised reconstruction of real images, where its family has one."""
    augment: str = setting(
        "none",
        "Augmentation of the images that the discriminator sees, against overfitting to few images: diffaugment "
        "always, ada as much as proves to be needed.",
        choices=AUGMENTS,
    )
    augment_p: float | Schedule | None = None
    """Probability p of ada; None for one that adapts."""
    measure_kimg: float | None = setting(
        None,
        "Thousands of images between two measurements of KID. By default they take 1 % of the time.",
        minimum=0,
        above=True,
        unit="thousands of images",
    )
    patience_kimg: float | None = setting(
        None,
        "Early stopping: end the run, with its best generator, once KID has not improved for this many thousand "
        "images.",
        minimum=0,
        above=True,
        unit="thousands of images",
    )

    def changed(self, settings: Mapping[str, Any]) -> Recipe:
        """As in Recipe; another objective brings its own penalty along, and another augmentation adapts its p."""
        brought: dict[str, Any] = {}
        if settings.get("objective", self.objective) != self.objective:
            brought |= {"penalty": None, "penalty_every": 1, "discriminator_steps": None}
        if settings.get("augment", self.augment) != self.augment:
            brought["augment_p"] = None
        return replace(self, **brought, **settings)

    def __post_init__(self) -> None:
        if self.gradient_penalty not in PENALTIES or self.penalty_estimate not in ESTIMATES:
            raise InputError(
                f"A penalty must be one of {', '.join(PENALTIES)}, computed by {' or '.join(ESTIMATES)} (got "
                f"{self.penalty!r}, {self.penalty_estimate!r})."
            )

    @property
    def normalisation(self) -> str:
        """Normalisation of the discriminator's layers: the objective's, or none where the recipe names a penalty; the
        family's own where the family cannot have that."""
        wanted = OBJECTIVES[self.objective].normalisation if self.penalty in (None, "none") else "none"
        assert self.architecture, "a GAN begins with a network of its own"
        possible = architectures.by_name(self.architecture).normalisations
        return wanted if wanted in possible else possible[0]

    @property
    def gradient_penalty(self) -> str:
        """One of PENALTIES: the recipe's, else the objective's. An objective that counts on a normalisation which the
        family cannot have is given R1, as nothing else would bound its discriminator's gradient."""
        if self.penalty is not None:
            return self.penalty
        of_objective = OBJECTIVES[self.objective].penalty
        return "r1" if of_objective == self.normalisation == "none" else of_objective

    @property
    def batches_per_step(self) -> int:
        """Batches that a step shows: one for each discriminator step."""
        return self.discriminator_steps or OBJECTIVES[self.objective].discriminator_steps


@dataclass(frozen=True)
class VariationalRecipe(Recipe):
    """How a VAE learns."""

    kind: ClassVar[str] = "VAE"

    betas: tuple[float, float] = (0.9, 0.999)
    reconstruction: str = setting(
        "bernoulli",
        "Reconstruction loss: bernoulli (cross-entropy of black and white, conv_vae only), gaussian (squared error), "
        "laplace (absolute error), or multiscale (absolute error of the image and its half, quarter and eighth).",
        choices=tuple(LOSSES),
    )
    beta: float = setting(
        1.0,
        "Weight of the KL divergence (beta-VAE): above 1 a more disentangled latent space and blurrier images, below 1 "
        "sharper ones.",
        minimum=0,
        maximum=1e6,
    )
    latent_channels: int | None = setting(
        None, "Length of z (conv_vae) or channels of a spatial latent (taesd_vae).", minimum=1, maximum=4096
    )
    warm_up_kimg: float = 50.0
    """KL warm-up: thousands of images over which that weight grows from 0."""
    free_bits: float = setting(
        0.0,
        "KL divergence per latent dimension, in nats, that is exempt from the penalty; 0.1 helps if few units are "
        "active.",
        minimum=0,
        maximum=1000,
        unit="nats",
    )
    adversarial_kimg: float | None = setting(
        None,
        "Thousands of images after which a patch discriminator also judges the reconstructions. It sharpens them; "
        "too early, it ruins them.",
        minimum=0,
        unit="thousands of images",
    )
    adversarial_weight: float = 0.5
    """Weight of that loss, relative to equal gradient norms at the decoder's last layer (Esser et al. 2021, eq. 7)."""

    def network_settings(self) -> dict[str, int]:
        """As in Recipe. Raises InputError where the latent is that of the VAE that training starts from."""
        if self.latent_channels is None:
            return dict(self.network)
        if self.architecture is None:
            raise InputError("latent_channels cannot be set here: a fine-tuned decoder keeps the latent of its VAE.")
        name = "latent_channels" if architectures.by_name(self.architecture).spatial else "latent_size"
        return {**self.network, name: self.latent_channels}
