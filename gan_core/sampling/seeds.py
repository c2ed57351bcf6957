"""Noise: the latents that seeds stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..architectures.layers.mixture import GaussianMixture
from ..errors import InputError
from ..generator import Generator
from ..latents import LAST_SEED, Latent
from .labels import labels_for
from .spaces import check_truncation, to_styles

MAX_SAMPLES = 100_000
"""Maximum number of images in one request; a longer range of seeds is most likely a typing error."""


PRIORS = ("normal", "mixture")
"""Distributions from which the latents of a VAE can be sampled."""


def sample_noise(
    generator: Generator,
    seeds: Iterable[int],
    truncation: float = 1.0,
    labels: int | str | Sequence[int | str] | Tensor | None = None,
    space: str | None = None,
    cutoff: int | None = None,
    prior: str | None = None,
) -> Latent:
    """Samples one latent for each seed, on the device of the generator.

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
        labels=labels_for(generator, len(seeds), drawn if labels is None else labels),
    )
    if space == "w" or (styled and truncation != 1):
        return to_styles(generator, latent, truncation, cutoff)
    return generator.here(latent)


def _mixture(generator: Generator, prior: str | None) -> GaussianMixture | None:
    """Mixture from which latents are sampled; None for the normal prior."""
    if prior not in (None, *PRIORS):
        raise InputError(f'prior must be {" or ".join(PRIORS)} (got "{prior}").')
    if prior == "mixture" and generator.mixture is None:
        raise InputError(
            f"{generator.title} has no mixture prior: set prior to normal. Only VAEs trained here have a mixture."
        )
    return None if prior == "normal" else generator.mixture


def parse_seeds(text: str) -> list[int]:
    """ "3,8,20-22" -> [3, 8, 20, 21, 22]. Raises InputError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise InputError(f'Seeds are written like 0-127 or 3,8,20-30 (got "{text}").')
        # Longer numbers are out of range anyway, and int() rejects thousands of digits.
        span = range(int(first[:20]), int((last or first)[:20]) + 1)
        if not span or span[-1] > LAST_SEED:
            raise InputError(f'"{part.strip()}" is not a range of seeds: it must ascend, within 0 to {LAST_SEED}.')
        if len(seeds) + len(span) > MAX_SAMPLES:
            raise InputError(f"{text} are too many seeds: at most {MAX_SAMPLES:,} images are generated at a time.")
        seeds.extend(span)
    return seeds
