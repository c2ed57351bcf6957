"""Latents: points in the latent space of a generator, how they are sampled and mapped."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .errors import InputError

if TYPE_CHECKING:
    from .architectures.layers.mixture import GaussianMixture
    from .generator import Generator

LAST_SEED = 2**32 - 1
"""Largest seed, that of numpy's RandomState."""

MAX_SAMPLES = 100_000
"""Maximum number of images in one request; a longer range of seeds is most likely a typing error."""

PRIORS = ("normal", "mixture")
"""Distributions from which the latents of a VAE can be sampled."""


@dataclass(frozen=True)
class Latent:
    """A batch of points that a generator can decode."""

    samples: Tensor
    """[B, C, H, W], float32. A vector z of size n is [B, n, 1, 1]."""
    space: str = "z"
    """Latent space of the points: "z", the input noise; for a style-based generator also "w", one style for all layers,
    and "w+", a style for each layer. In both, samples are [B, w_dim, num_ws, 1]."""
    labels: Tensor | None = None
    """Class labels of points in z, for a generator with classes: int64 [B], or class weights [B, classes]."""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, part: slice) -> Latent:
        return Latent(self.samples[part], self.space, None if self.labels is None else self.labels[part])


def sample_noise(
    generator: Generator,
    seeds: Iterable[int],
    truncation: float = 1.0,
    labels: int | str | Sequence[int | str] | Tensor | None = None,
    space: str | None = None,
    cutoff: int | None = None,
    prior: str | None = None,
) -> Latent:
    """Samples one latent for each seed.

    Image i depends on seed i alone: z is `numpy.random.RandomState(seed).randn(n)`, a stream that numpy has frozen
    (NEP 19). The same seed therefore gives the same latent on every machine, in every version and in any batch.

    seeds: whole numbers from 0 to 2^32 - 1.
    truncation: psi. Below 1 it trades diversity for fidelity. It scales z; in a style-based generator it moves w
    towards its mean (Karras et al. 2019, app. B).
    labels: for a generator with classes: one label for all images or one for each, as a number or a name (see
    find_class), or class weights as a float tensor [classes] or [B, classes]. None samples them from the seeds.
    space: "z", or "w" for a style-based generator. None means z, unless a truncation needs w.
    cutoff: number of the first styles that are truncated; None for all. Fewer than all give a latent in w+.
    prior: distribution of a VAE's latents: "normal", the prior of training, or "mixture", a Gaussian mixture fitted to
    the posteriors of the training images. None means the mixture if the file has one.

    Raises InputError for seeds or labels out of range, for a truncation that is not finite, for labels that do not fit
    the seeds, and for a space, a cutoff or a prior that the generator does not have.
    """
    seeds = list(seeds)
    if not seeds:
        raise InputError("No seeds were given: give one for each image.")
    check_truncation(generator, truncation, cutoff)
    if space not in (None, "z", "w"):
        raise InputError(f'space must be z or w (got "{space}").')
    styled = generator.style_shape is not None
    if space == "z" and styled and truncation != 1:
        raise InputError(f"{generator.title} is style-based and truncates in w: set space to w, or truncation to 1.")
    bad = next((seed for seed in seeds if not 0 <= seed <= LAST_SEED), None)
    if bad is not None:
        raise InputError(f"seed must be a whole number from 0 to {LAST_SEED} (got {bad}).")

    streams = [np.random.RandomState(seed) for seed in seeds]
    z = np.stack([stream.randn(generator.config.latent_size) for stream in streams]).astype(np.float32)
    # Labels are drawn after z from the same stream, so that they never change z.
    drawn = [int(stream.randint(generator.classes)) for stream in streams] if generator.classes else None
    samples = torch.from_numpy(z) * (1 if styled else truncation)
    mixture = _mixture(generator, prior)
    if mixture:
        component = mixture.component(torch.tensor([stream.random_sample() for stream in streams]))
        samples = mixture.points(torch.from_numpy(z), component, truncation)
    latent = Latent(
        samples=samples.reshape(-1, *generator.latent_shape),
        labels=_labels(generator, len(seeds), drawn if labels is None else labels),
    )
    if space == "w" or (styled and truncation != 1):
        return to_styles(generator, latent, truncation, cutoff)
    return latent


def _mixture(generator: Generator, prior: str | None) -> GaussianMixture | None:
    """Mixture from which latents are sampled; None for the normal prior."""
    if prior not in (None, *PRIORS):
        raise InputError(f'prior must be {" or ".join(PRIORS)} (got "{prior}").')
    if prior == "mixture" and generator.mixture is None:
        raise InputError(
            f"{generator.title} has no mixture prior: set prior to normal. Only VAEs trained here have a mixture."
        )
    return None if prior == "normal" else generator.mixture


def find_class(generator: Generator, label: str) -> int:
    """Number of a class, from its name or its number.

    A name has priority over a number: "10" is the class of that name, at any position. A number, from 0, is accepted
    only if no class has a number as its name. Raises InputError if there is no such class.
    """
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes and takes no label.")
    names = [comparable(name) for name in generator.class_names]
    wanted = comparable(label)
    if wanted in names:
        return names.index(wanted)
    alike = [i for i, name in enumerate(names) if name.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return alike[0]
    if re.fullmatch(r"[0-9]{1,9}", wanted) and not any(re.fullmatch(r"[0-9]+", name) for name in names):
        return _in_range(generator, int(wanted))
    raise InputError(f"{generator.title} has {generator.classes_in_words}, but no class {_quoted(label)}.")


def comparable(name: str) -> str:
    """The name of a class in a form in which equal names are equal."""
    # A letter with an accent is one code point or two, for example in file names of macOS.
    return unicodedata.normalize("NFC", name.strip())


def _quoted(label: str) -> str:
    return label.strip() if re.fullmatch(r"-?[0-9]{1,20}", label.strip()) else f'"{label}"'


def _in_range(generator: Generator, label: int) -> int:
    if not 0 <= label < generator.classes:
        raise InputError(f"{generator.title} has {generator.classes_in_words}, but no class {label}.")
    return label


def to_styles(generator: Generator, latent: Latent, truncation: float = 1.0, cutoff: int | None = None) -> Latent:
    """Maps latents of a style-based generator to w and truncates them towards the mean style.

    latent: in z, w or w+. truncation: psi; w becomes mean + psi (w - mean). cutoff: number of the first (coarse) styles
    that are truncated; None for all. Returns a latent in w, or in w+ if its styles differ between layers.

    Raises InputError for a generator that is not style-based, for latents of another generator, for a truncation that
    is not finite and for a cutoff beyond the number of styles.
    """
    check_truncation(generator, truncation, cutoff)
    if latent.space == "z":
        latent = generator.mapped(latent)
    mean = generator.average_style.to(latent.samples)[:, None, None]
    count = latent.samples.shape[2] if cutoff is None else cutoff
    samples = latent.samples.clone()
    samples[:, :, :count] = mean.lerp(samples[:, :, :count], truncation)
    space = latent.space if truncation == 1 or count in (0, samples.shape[2]) else "w+"
    return Latent(samples.to(generator.device), space)


def to_space(generator: Generator, latent: Latent, space: str | None = None) -> Latent:
    """Brings latents to the space in which they are edited: "z" or "w"; None for w if style-based, else z.

    Latents in w+ stay in w+. Raises InputError if they cannot be mapped to that space, and for latents of another
    generator.
    """
    if space not in (None, "z", "w"):
        raise InputError(f'space must be z or w (got "{space}").')
    generator.check(latent)
    if (space or ("w" if generator.style_shape else "z")) == "w":
        return to_styles(generator, latent)
    if latent.space != "z":
        raise InputError(f"This latent is in {latent.space} and cannot be mapped back to z: set space to w.")
    return latent


def noise_maps(sizes: Sequence[tuple[int, int]], seeds: Sequence[int]) -> list[Tensor]:
    """Noise maps for the layers of a style-based generator: [N, 1, h, w] of standard normal noise for each size.

    sizes: height and width of each map. seeds: one for each image; its maps depend on that seed alone. Without seeds
    the maps are zeros that broadcast to any number of images.
    """
    if not seeds:
        return [torch.zeros(1, 1, 1, 1) for _ in sizes]
    streams = [np.random.RandomState(seed) for seed in seeds]
    drawn = [[stream.randn(1, *size).astype(np.float32) for size in sizes] for stream in streams]
    return [torch.from_numpy(np.stack(maps)) for maps in zip(*drawn, strict=True)]


def check_truncation(generator: Generator, truncation: float, cutoff: int | None) -> None:
    """Raises InputError for a truncation that is not finite, and a cutoff that the generator does not have."""
    if not math.isfinite(truncation):
        raise InputError(f"truncation must be a finite number, usually from 0 to 1 (got {truncation}).")
    if cutoff is None:
        return
    if generator.style_shape is None:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator without styles: leave cutoff out."
        )
    if not 0 <= cutoff <= generator.style_shape[1]:
        raise InputError(
            f"{generator.title} has {generator.style_shape[1]} styles: cutoff must be 0 to "
            f"{generator.style_shape[1]} (got {cutoff})."
        )


def _labels(generator: Generator, count: int, labels: int | str | Sequence[int | str] | Tensor | None) -> Tensor | None:
    if labels is None:
        return None
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes and takes no label.")
    if isinstance(labels, Tensor) and labels.is_floating_point():
        return _class_weights(generator, count, labels)
    given = [labels] * count if isinstance(labels, (int, str)) else list(labels)
    chosen = [find_class(generator, label) if isinstance(label, str) else label for label in given]
    if len(chosen) != count:
        raise InputError(f"{len(chosen)} labels were given for {count} images: give one label, or one for each.")
    return torch.tensor([_in_range(generator, label) for label in chosen], dtype=torch.int64)


def _class_weights(generator: Generator, count: int, given: Tensor) -> Tensor:
    if given.shape not in ((generator.classes,), (count, generator.classes)) or not bool(given.isfinite().all()):
        raise InputError(
            f"{generator.title} has {generator.classes} classes: give one finite weight for each class, for all images "
            f"or for each of the {count}."
        )
    return given.float().expand(count, -1)
